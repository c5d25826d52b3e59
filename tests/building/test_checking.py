"""What `check` sees of the code that a recipe names, of files and of the machine; nothing of it is run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import BuildResult
from modelbuild.building import checking
from modelbuild.building.checks import source
from modelbuild.building.request import Request
from tests.conftest import RECIPE

NET = "raise SystemExit('run')\nimport torch\nfrom parts.layers import Block\n\nclass Net: ...\n"
NO_SUCH = "nowhere_to_be_found"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe, its model, and a package beside it, which would raise if they were run."""
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text("")
    (tmp_path / "parts" / "layers.py").write_text("from . import sizes\n\nclass Block: ...\n")
    (tmp_path / "parts" / "sizes.py").write_text("raise SystemExit('run')\nWIDTH, DEPTH = 1, 2\n")
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "net.yaml").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _checked(*recipes: str, out: str = "build") -> BuildResult:
    return checking.check(Request(recipes or ["net.yaml"], out=Path(out)))


def _found(result: BuildResult) -> list[Diagnostic]:
    return [d for r in result.recipes for d in r.diagnostics]


def test_a_recipe_whose_code_is_there_is_right_and_none_of_it_is_run(folder: Path) -> None:
    assert (_checked().exit_code, _found(_checked())) == (0, [])


@pytest.mark.parametrize(
    ("file", "text", "said", "hint"),
    [
        pytest.param(
            "net.yaml",
            RECIPE.replace("net:Net", "nets:Net"),
            "there is no module `nets`, which `nets:Net` names",
            "did you mean `net`?",
            id="no-module",
        ),
        pytest.param(
            "net.yaml",
            RECIPE.replace("net:Net", f"{NO_SUCH}.models:Net"),
            f"there is no module `{NO_SUCH}`, which `{NO_SUCH}.models:Net` names",
            "modules beside the recipe and in the current folder are found; others must be installed: "
            f"`pip install {NO_SUCH}`",
            id="no-package",
        ),
        pytest.param(
            "net.yaml",
            RECIPE.replace("net:Net", "parts.layer:Block"),
            "there is no module `parts.layer`, which `parts.layer:Block` names",
            None,
            id="no-submodule",
        ),
        pytest.param(
            "net.yaml",
            RECIPE.replace("net:Net", "net:Nett"),
            "module `net` has no attribute `Nett`",
            "did you mean `Net`?",
            id="no-attribute",
        ),
        pytest.param(
            "net.yaml",
            RECIPE.replace('"net:Net"', '"net:Net", kwargs: {part: [{import: "parts.layers:Blok"}]}'),
            "module `parts.layers` has no attribute `Blok`",
            "did you mean `Block`?",
            id="no-attribute-of-an-argument",
        ),
        pytest.param(
            "net.yaml",
            RECIPE.replace("verify: {", 'verify: {function: "net:close", '),
            "module `net` has no attribute `close`",
            "check the spelling after the colon",
            id="no-function",
        ),
        pytest.param(
            "net.py",
            "x = 1\ndef f(:\n",
            "importing `net:Net` fails: SyntaxError: invalid syntax (net.py:2)",
            "mend that line",
            id="no-python",
        ),
        pytest.param(
            "parts/sizes.py",
            "x = (\n",
            "importing `net:Net` fails: SyntaxError: '(' was never closed (sizes.py:1)",
            "mend that line",
            id="no-python-farther-on",
        ),
        pytest.param(
            "parts/sizes.py",
            f"import os.path\nimport {NO_SUCH}.nn as nn\n",
            f"importing `net:Net` fails: there is no module `{NO_SUCH}` (sizes.py:2)",
            f"install it where modelbuild is installed: `pip install {NO_SUCH}`",
            id="not-installed",
        ),
        pytest.param(
            "parts/layers.py",
            "from .size import WIDTH\nclass Block: ...\n",
            "importing `net:Net` fails: there is no module `parts.size` (layers.py:1)",
            None,
            id="no-relative-module",
        ),
        pytest.param(
            "parts/layers.py",
            "from .sizes import WIDHT\nclass Block: ...\n",
            "importing `net:Net` fails: `parts.sizes` has no `WIDHT` (layers.py:1)",
            "did you mean `WIDTH`?",
            id="no-such-name",
        ),
    ],
)
def test_code_that_is_not_there_is_an_error_at_its_place(
    folder: Path, file: str, text: str, said: str, hint: str | None
) -> None:
    (folder / file).write_text(text)

    (found,) = _found(_checked())

    assert (found.level, found.code, found.message) == ("error", "import-failed", said)
    assert hint is None or found.hint == hint
    assert found.where is not None
    line, column = map(int, found.where.removeprefix("net.yaml:").split(":"))
    there = (folder / "net.yaml").read_text().splitlines()[line - 1][column - 1 :]
    assert there.removeprefix('"').startswith(said.partition("`")[2].partition("`")[0][:3])
    assert found.excerpt
    assert _checked().exit_code == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("def __getattr__(name): ...\n", id="getattr"),
        pytest.param("globals()['Net'] = int\n", id="globals"),
        pytest.param("from parts.layers import *\n", id="star"),
        pytest.param("import sys\nsys.modules[__name__] = object()\n", id="replaced"),
        pytest.param("for Net in (int, str): ...\n", id="a-loop"),
        pytest.param("if 1:\n    class Net: ...\n", id="a-branch"),
        pytest.param("with open('x') as Net: ...\n", id="with"),
        pytest.param("def f():\n    global Net\n    Net = 1\n", id="global"),
        pytest.param("(Net := 3)\n", id="walrus"),
        pytest.param("import parts.layers as Net\n", id="alias"),
        pytest.param(f"try:\n    import {NO_SUCH}\nexcept ImportError:\n    pass\nNet = 1\n", id="guarded"),
        pytest.param(f"if __name__ == '__main__':\n    import {NO_SUCH}\nNet = 1\n", id="conditional"),
        pytest.param(f"def f():\n    import {NO_SUCH}\nNet = 1\n", id="late"),
        pytest.param(
            f"import sys\nsys.path.insert(0, 'lib')\nfrom {NO_SUCH} import x\nNet = 1\n", id="a-path"
        ),
        pytest.param(
            "class Net:\n    def eval(self): return [m.eval() for m in self.modules()]\n", id="eval"
        ),
        pytest.param("#" * (source.LARGEST + 1), id="too-large"),
        pytest.param("-" * 100_000 + "1", id="too-deep"),
    ],
)
def test_what_only_running_it_would_show_is_no_error(folder: Path, text: str) -> None:
    (folder / "net.py").write_text(text)

    assert _found(_checked()) == []


def test_a_module_that_a_link_leads_to_is_not_quoted(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret.py"
    secret.write_text("Nest = 1\nx = (\n")
    (folder / "net.py").unlink()
    (folder / "net.py").symlink_to(secret)

    assert _found(_checked()) == []


def test_a_pattern_that_matches_nothing_is_an_error(folder: Path) -> None:
    (folder / "net.yaml").write_text(RECIPE.replace("verify: {", 'verify: {data: ["net.*", "data/*.npz"], '))

    (found,) = _found(_checked())

    assert (found.code, found.where) == ("recipe-invalid", "net.yaml:5:26")
    assert found.message == f"`verify.data`: `data/*.npz` matches no file in {folder}"
    (folder / "data").mkdir()
    (folder / "data" / "one.npz").touch()
    assert _found(_checked()) == []


def test_two_recipes_of_one_name_are_told_at_the_second(folder: Path) -> None:
    (folder / "other.yaml").write_text(RECIPE + "name: net\n")

    (found,) = _found(_checked("net.yaml", "other.yaml"))

    assert (found.code, found.where) == ("recipe-invalid", "other.yaml:6:7")
    assert found.message == "net.yaml has the name `net`, too, and both would write into one folder"


def test_a_target_that_no_release_has_is_told_with_the_one_that_was_meant(folder: Path) -> None:
    (folder / "net.yaml").write_text(RECIPE + "engines: [{precision: fp32, targets: [sm86, sm99]}]\n")

    found = [d for d in _found(_checked()) if d.level == "error"]

    assert [(d.code, d.message, d.where) for d in found] == [
        ("recipe-invalid", "TensorRT-RTX has no target `sm99`", "net.yaml:6:45")
    ]
    assert found[0].hint == "did you mean `sm89`?"


def test_a_pointer_of_git_lfs_is_not_taken_for_weights(folder: Path) -> None:
    (folder / "w.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    (folder / "net.yaml").write_text(RECIPE.replace('"net:Net"', '"net:Net", weights: w.pt'))

    (found,) = _found(_checked())

    assert found.message == "`model.weights`: `w.pt` is a pointer of git-lfs, and not the file itself"
    assert found.hint == "run `git lfs pull`"


def test_what_the_machine_lacks_is_told_with_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as where it is not installed
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    checking._missing_backend.cache_clear()
    (folder / "net.yaml").write_text(RECIPE + "engines: [{precision: fp32, backend: tensorrt}]\n")

    result = _checked()

    assert result.exit_code == 4
    assert [(d.level, d.code, d.where, d.message.partition(":")[0]) for d in _found(result)] == [
        ("error", "backend-missing", "net.yaml:1:1",
         "onnxruntime is not installed, without which nothing can be proven"),
        ("info", "backend-missing", "net.yaml:6:29", "no engine of it is built here"),
    ]  # fmt: skip
    checking._missing_backend.cache_clear()


def test_an_output_folder_that_cannot_be_written_is_told(folder: Path) -> None:
    (folder / "taken").write_text("a file")

    result = _checked(out="taken/here")

    assert result.exit_code == 1
    (found,) = _found(result)
    assert (found.code, found.hint) == ("publish-failed", "check the folder; `--out` names another one")
    assert found.message == f"taken/here/net cannot be written: {folder}/taken is no folder"


def test_a_recipe_of_very_many_imports_is_not_followed_to_its_end(folder: Path) -> None:
    many = ", ".join('{import: "parts.layers:Block"}' for _ in range(300))
    last = '{import: "parts.layers:Last"}'
    (folder / "net.yaml").write_text(RECIPE.replace('"net:Net"', f'"net:Net", args: [{many}, {last}]'))

    assert _found(_checked()) == []


def test_no_more_is_read_than_there_is_patience_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "MOST", len(NET) + 10)
    (folder / "parts" / "layers.py").write_text("x = (" + " " * 100)

    assert _found(_checked()) == []
