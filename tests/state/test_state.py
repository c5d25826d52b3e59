"""The short way: an answer from stat rows, never a stale one. One real project, and many small ones."""

from __future__ import annotations

import configparser
import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild import quick
from modelbuild.base import stat_rows
from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import ArtifactResult, BuildResult, RecipeResult
from modelbuild.cli.terminal import summary
from modelbuild.machine import home, untimely
from modelbuild.recipe.finding import find
from modelbuild.recipe.loading import load
from modelbuild.state import format as state
from modelbuild.state import keeping
from modelbuild.store import hash_file
from modelbuild.trace import facts, kinds
from tests.conftest import RECIPE, Answer, Project

HEAVY = {"argparse", "dataclasses", "hashlib", "json", "numpy", "onnx", "pathlib", "pydantic", "re", "rich",
         "torch", "typing", "yaml"}  # fmt: skip
AGED = 0.04  # seconds: two ticks, after which what was written is not young


# ---- a real project ----------------------------------------------------------------------------


def quickly(project: Project, *arguments: str) -> tuple[int | None, str, set[str]]:
    """The short way alone: its exit code, what it printed, and the modules that it imported."""
    code = (
        "import sys; before = set(sys.modules); from modelbuild import quick;"
        f"print('\\n' + repr(quick.answer({['build', *arguments]!r})), *set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, env=project.environ(), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    text, _, last = done.stdout.rstrip("\n").rpartition("\n")
    result, *modules = last.split()
    return None if result == "None" else int(result), text.rstrip("\n"), set(modules)


@pytest.fixture
def kept(warm: Project) -> Project:
    """A project with nothing to do, whose state has been looked at since."""
    time.sleep(AGED)
    warm.build()
    time.sleep(AGED)
    assert quickly(warm, "net.yaml")[0] == 0
    return warm


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"MODELBUILD_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/modelbuild"),
        ({"HOME": "/h"}, "/h/.cache/modelbuild"),
    ],
    ids=["named", "xdg", "home"],
)
def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], root: str
) -> None:
    for name in ("MODELBUILD_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(home.default_root()) == root


def test_a_fresh_build_imports_next_to_nothing(kept: Project) -> None:
    code, text, modules = quickly(kept, "net.yaml")
    assert code == 0
    assert "net.fp32.onnx  cached" in text
    assert modules & HEAVY == set()
    assert {m for m in modules if m.startswith("modelbuild")} == {
        "modelbuild", "modelbuild.quick", "modelbuild.settings", "modelbuild.state",
        "modelbuild.state.recalling", "modelbuild.state.format", "modelbuild.machine",
        "modelbuild.machine.home",
        "modelbuild.base", "modelbuild.base.stat_rows",
    }  # fmt: skip


def test_a_recipe_whose_own_function_judges_goes_the_short_way(warm: Project) -> None:
    """Its process imports other modules than the model's does, and asks the same folders for them."""
    warm.write("near.py", "import numpy\n\n\ndef near(ours, theirs):\n    return True\n")
    warm.recipe(base=RECIPE.replace("samples: 2", 'samples: 2, function: "near:near"'))
    time.sleep(AGED)  # of a recipe that is saved just now, nothing is kept
    assert warm.build().code == 0
    time.sleep(AGED)
    code, text, _ = quickly(warm, "net.yaml")
    assert (code, "1 cached" in text or "cached" in text) == (0, True)
    warm.write("numpy.py", "raise ImportError('another')\n")
    assert quickly(warm, "net.yaml")[0] is None


def test_both_ways_say_the_same(kept: Project) -> None:
    kept.write("other.yaml", (kept.folder / "net.yaml").read_text() + "name: other\n")
    for arguments in (["net.yaml"], ["./net.yaml", "--format=json"], ["."], [".", "--format", "json"],
                      ["net.yaml", str(kept.folder / "other.yaml"), "-j2"]):  # fmt: skip
        kept.run("build", "net.yaml", "other.yaml")
        time.sleep(AGED)
        code, text, _ = quickly(kept, *arguments)
        assert code == 0, arguments
        for path in (kept.folder / "cache/state").iterdir():
            path.unlink()
        assert kept.run("build", *arguments).stdout.rstrip("\n") == text


def test_several_recipes_with_nothing_to_do_take_a_line_each(kept: Project) -> None:
    kept.write("a.yaml", (kept.folder / "net.yaml").read_text() + "name: other\n")
    kept.run("build", "a.yaml")
    time.sleep(AGED)
    assert kept.run("build", ".").stdout == (
        "a.yaml: other: 1 artifact, nothing to do\nnet.yaml: net: 1 artifact, nothing to do\n\n"
        "2 recipes: 2 artifacts cached, nothing to do\n"
    )


def test_a_reader_that_leaves_is_no_reason_for_a_traceback(kept: Project) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        kept.command("build", "net.yaml"), cwd=kept.folder, env=kept.environ(), stdout=writer,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


def _same_size_and_times(path: Path, old: str, new: str) -> None:
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("old", "new"), [("torch.relu", "torch.tanh"), ("width=8", "width=9")])
def test_an_edit_of_equal_size_with_its_time_put_back_is_noticed(kept: Project, old: str, new: str) -> None:
    _same_size_and_times(kept.folder / "net.py", old, new)
    again = kept.build()
    assert again.artifacts["net.fp32.onnx"]["status"] == "built"
    assert "net.py" in again.artifacts["net.fp32.onnx"]["reason"]


def test_a_touch_costs_one_look(kept: Project) -> None:
    (kept.folder / "net.py").touch()
    time.sleep(AGED)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, True)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, False)


def test_a_fresh_checkout_costs_one_look(kept: Project) -> None:
    for path in (kept.folder / "net.py", kept.folder / "net.yaml"):
        text = path.read_text()
        path.unlink()
        path.write_text(text)
    time.sleep(AGED)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, True)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, False)


def test_a_missing_output_comes_back(kept: Project) -> None:
    kept.output("net.fp32.onnx").unlink()
    assert kept.build().statuses == {"net.fp32.onnx": "cached"}
    assert kept.output("net.fp32.onnx").is_file()


@pytest.mark.parametrize("damage", ["", "{", "modelbuild state 1 00000000\n"])
def test_a_damaged_state_file_is_as_good_as_none(kept: Project, damage: str) -> None:
    for path in (kept.folder / "cache/state").iterdir():
        path.write_text(damage)
    assert quickly(kept, "net.yaml")[0] is None
    assert kept.build().statuses == {"net.fp32.onnx": "cached"}


def test_the_state_is_safe_to_delete(kept: Project) -> None:
    for path in (kept.folder / "cache/state").iterdir():
        path.unlink()
    answer: Answer = kept.build()
    assert answer.statuses == {"net.fp32.onnx": "cached"}
    assert list((kept.folder / "cache/state").iterdir())


# ---- small projects: the writer and the reader in this process ---------------------------------


@dataclass
class Small:
    """A recipe that was built, as far as the short way can see."""

    folder: Path
    name: str = "net"
    said: tuple[Diagnostic, ...] = ()
    read: dict[str, str | None] = field(default_factory=dict)
    skipped: int = 0
    large: bool = False

    def __post_init__(self) -> None:
        self.recipe.write_text(RECIPE + f"name: {self.name}\n")
        self.source.write_text("width = 8\n" + "#" * (keeping._SMALL if self.large else 0))
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text("weights")
        time.sleep(AGED)

    @property
    def recipe(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    @property
    def source(self) -> Path:
        return self.folder / "source.py"

    @property
    def output(self) -> Path:
        return self.folder / "build" / self.name / f"{self.name}.fp32.onnx"

    def result(self) -> RecipeResult:
        built = ArtifactResult(self.output.name, "onnx", "fp32", {}, "built", "never built",
                               f"build/{self.name}/{self.output.name}", "00", 7, "key", 2.5)  # fmt: skip
        missing = ArtifactResult(
            f"{self.name}.engine", "engine", "fp32", {}, "skipped", diagnostics=self.said
        )
        return RecipeResult(self.recipe.name, self.name, "ok", (), (built, *[missing] * self.skipped))

    def idle(self) -> RecipeResult:
        result = self.result()
        cached = replace(result.artifacts[0], status="cached", reason=None, seconds=0.0)
        return replace(result, artifacts=(cached, *result.artifacts[1:]))

    def keep(self, started: tuple[int, int] | None = None, **more: str) -> None:
        read = {"file source.py": f"sha256:{hash_file(self.source).sha256}", **self.read, **more}
        published = {Path("build") / self.name / self.output.name: hash_file(self.output).sha256}
        keeping.keep(self.folder / "cache", self.recipe, self.recipe.name, Path("build"), self.result(),
                     read.items(), published, load(self.recipe), started or stat_rows.now())  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELBUILD_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def small(here: Path) -> Small:
    made = Small(here)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    return made


def _rewritten(path: Path) -> None:
    path.write_text(path.read_text().replace("8", "9").replace("weights", "WEIGHTS").replace("net", "ten"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: _rewritten(s.source), id="a source"),
        pytest.param(lambda s: _rewritten(s.recipe), id="the recipe"),
        pytest.param(lambda s: _rewritten(s.output), id="an output"),
        pytest.param(lambda s: s.source.unlink(), id="no source"),
        pytest.param(lambda s: s.output.unlink(), id="no output"),
        pytest.param(lambda s: s.recipe.unlink(), id="no recipe"),
        pytest.param(lambda s: (s.source.unlink(), s.source.mkdir()), id="a folder for a source"),
    ],
)
def test_a_change_is_noticed(small: Small, change: Callable[[Small], object]) -> None:
    change(small)
    assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize("touched", ["source", "recipe", "output"])
def test_a_touch_is_looked_at_once(small: Small, touched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    getattr(small, touched).touch()
    time.sleep(AGED)
    assert quick.answer(["build", "net.yaml"]) == 0
    monkeypatch.setattr(kinds, "current", None)
    assert quick.answer(["build", "net.yaml"]) == 0


def test_what_was_written_just_now_is_looked_at_until_it_has_aged(small: Small) -> None:
    small.source.touch()
    assert quick.answer(["build", "net.yaml"]) == 0
    _same_size_and_times(small.source, "8", "9")  # perhaps within one tick of the clock
    assert quick.answer(["build", "net.yaml"]) is None


def test_a_file_that_was_looked_for_and_comes_is_noticed(here: Path) -> None:
    made = Small(here, read={"absent source.json": None})
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    (here / "source.json").touch()
    assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize(
    ("was", "now", "code"),
    [("1", "1", 0), ("1", "2", None), ("1", None, None), (None, None, 0), (None, "", None),
     ("a\tb\\n\n", "a\tb\\n\n", 0)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["WIDTH", "WIDTH_TOKEN"])
def test_a_variable_counts(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, was: str | None, now: str | None, code: int | None
) -> None:
    made = Small(here, read={f"env {name}": facts.variable(name, was)})
    made.keep()
    monkeypatch.delenv(name, raising=False)
    if now is not None:
        monkeypatch.setenv(name, now)
    assert quick.answer(["build", "net.yaml"]) == code


def test_a_source_that_is_not_what_was_read_leaves_no_state(here: Path) -> None:
    made = Small(here)
    started = stat_rows.now()
    made.source.write_text("width = 9\n")  # while the build ran, after it was read
    made.keep(started, **{"file source.py": "sha256:" + "0" * 64})
    assert quick.answer(["build", "net.yaml"]) is None


def test_a_recipe_that_was_saved_while_it_was_built_leaves_no_state(here: Path) -> None:
    made = Small(here)
    started = stat_rows.now()
    with made.recipe.open("a") as file:
        file.write("# what was loaded had no comment\n")
    made.keep(started)
    assert quick.answer(["build", "net.yaml"]) is None


TOLERANT = "[tool.modelbuild.tolerance]\nfp32 = {rtol = 0.1}\n"
STRICT = TOLERANT.replace("0.1", "0.2")


def _under(here: Path, text: str | None, inner: str = "") -> Small:
    """A recipe two folders below a project file, built, and asked for from there."""
    folder = here / "models" / "inner"
    folder.mkdir(parents=True)
    if text is not None:
        (here / "pyproject.toml").write_text(text)
    if inner:
        (here / "models" / "pyproject.toml").write_text(inner)
    os.chdir(folder)
    made = Small(folder)
    made.keep()
    return made


@pytest.mark.parametrize(
    ("before", "inner", "change"),
    [
        pytest.param(TOLERANT, "", lambda h: (h / "pyproject.toml").write_text(STRICT), id="changed"),
        pytest.param(TOLERANT, "", lambda h: (h / "pyproject.toml").unlink(), id="removed"),
        pytest.param(None, "", lambda h: (h / "pyproject.toml").write_text(STRICT), id="new"),
        pytest.param(
            TOLERANT, "", lambda h: (h / "models/pyproject.toml").write_text(STRICT), id="new-and-nearer"
        ),
        pytest.param(
            TOLERANT,
            "",
            lambda h: (h / "models/inner/pyproject.toml").write_text(STRICT),
            id="new-and-beside",
        ),
        pytest.param(
            TOLERANT, "[project]\n", lambda h: (h / "models/pyproject.toml").write_text(STRICT),
            id="a-table-in-a-nearer-one",
        ),
        pytest.param(
            TOLERANT, STRICT, lambda h: (h / "models/pyproject.toml").write_text("[project]\n"),
            id="no-table-any-more-in-the-nearer-one",
        ),
        pytest.param(
            TOLERANT, "", lambda h: _same_size_and_times(h / "pyproject.toml", "0.1", "0.2"),
            id="of-equal-size-with-its-time-put-back",
        ),
    ],
)  # fmt: skip
def test_a_project_file_that_matters_is_noticed(
    here: Path, before: str | None, inner: str, change: Callable[[Path], object]
) -> None:
    _under(here, before, inner)
    assert quick.answer(["build", "net.yaml", "--cache-dir", str(here / "models/inner/cache")]) == 0
    change(here)
    assert quick.answer(["build", "net.yaml", "--cache-dir", str(here / "models/inner/cache")]) is None


def test_a_project_file_beyond_the_one_that_counts_does_not_matter(here: Path) -> None:
    _under(here, TOLERANT, STRICT)
    (here / "pyproject.toml").unlink()
    assert quick.answer(["build", "net.yaml", "--cache-dir", "cache"]) == 0


@pytest.mark.parametrize(("text", "code"), [(STRICT, None), (TOLERANT, 0)], ids=["another", "the-same"])
def test_the_project_file_behind_a_link_that_leads_elsewhere_now_counts(
    here: Path, text: str, code: int | None
) -> None:
    """Two releases with one recipe, and only the project files above it differ."""
    for name, project in (("one", TOLERANT), ("two", text)):
        (here / name / "models").mkdir(parents=True)
        (here / name / "pyproject.toml").write_text(project)
        (here / name / "models/net.yaml").write_text(RECIPE)
    link = here / "current"
    link.symlink_to(here / "one/models")
    made = Small(here)
    time.sleep(AGED)
    recipe = link / "net.yaml"
    published = {Path("build/net/net.fp32.onnx"): hash_file(made.output).sha256}
    keeping.keep(here / "cache", recipe, "current/net.yaml", Path("build"), made.result(), {}, published,
                 load(recipe), stat_rows.now())  # fmt: skip
    assert quick.answer(["build", "current/net.yaml"]) == 0
    link.unlink()
    link.symlink_to(here / "two/models")
    assert quick.answer(["build", "current/net.yaml"]) == code


def test_a_project_file_that_changed_during_the_build_leaves_no_state(here: Path) -> None:
    """The recipe means something else at the end than what was built."""
    (here / "pyproject.toml").write_text(TOLERANT)
    made = Small(here)
    meant = load(made.recipe)
    (here / "pyproject.toml").unlink()
    keeping.keep(here / "cache", made.recipe, "net.yaml", Path("build"), made.result(), {}, {}, meant,
                 stat_rows.now())  # fmt: skip
    assert not list(here.glob("cache/state/*"))


@pytest.mark.parametrize("key", ["out", "cache"])
def test_the_short_way_looks_where_the_project_file_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.delenv("MODELBUILD_CACHE_DIR")
    other = "cache" if key == "out" else "out"
    real = {"out": "build", "cache": "cache"}
    project = here / "pyproject.toml"
    project.write_text(f'[tool.modelbuild]\n{key} = "{real[key]}"\n{other} = "{real[other]}"\n')
    Small(here).keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    project.write_text(project.read_text().replace(f'{key} = "{real[key]}"', f'{key} = "elsewhere"'))
    assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("MODELBUILD_OUT", "build", 0), ("MODELBUILD_OUT", "elsewhere", None), ("MODELBUILD_JOBS", "2", 0),
        ("MODELBUILD_JOBS", "two", None), ("MODELBUILD_FORMAT", "text", 0),
        ("MODELBUILD_FORMAT", "xml", None),
        ("MODELBUILD_CACHE_DIR", "elsewhere", None), ("MODELBUILD_VERBOSE", "1", None),
        ("MODELBUILD_QUIET", "", 0), ("MODELBUILD_QUIET", "yes", None),
    ],
)  # fmt: skip
def test_the_short_way_heeds_the_environment(
    small: Small, monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: int | None
) -> None:
    monkeypatch.setenv(name, value)
    assert quick.answer(["build", "net.yaml"]) == code


@pytest.mark.parametrize("quiet", [["-q"], ["--quiet"], []])
def test_quietly_nothing_is_said_when_there_is_nothing_to_do(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet: list[str]
) -> None:
    if not quiet:
        monkeypatch.setenv("MODELBUILD_QUIET", "1")
    capsys.readouterr()
    assert quick.answer(["build", "net.yaml", *quiet]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_large_file_from_during_the_build_is_looked_at_the_next_time(here: Path) -> None:
    made = Small(here, large=True)
    started = stat_rows.now()
    made.source.touch()
    made.keep(started)
    time.sleep(AGED)
    assert "?\t" + str(made.source) in next((here / "cache/state").glob("*[!n]")).read_text()
    assert quick.answer(["build", "net.yaml"]) == 0
    assert "?\t" not in next((here / "cache/state").glob("*[!n]")).read_text()
    _rewritten(made.source)
    assert quick.answer(["build", "net.yaml"]) is None


def test_what_is_written_through_a_mapping_is_looked_at(here: Path) -> None:
    """The first write moves the times, the next ones do not."""
    made = Small(here)
    with made.source.open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        page[:5] = b"WIDTH"
        time.sleep(AGED)
        made.keep()
        assert quick.answer(["build", "net.yaml"]) == 0
        before = stat_rows.row(str(made.source))
        page[:5] = b"DEPTH"
        if stat_rows.row(str(made.source)) != before:
            pytest.skip("here, every write moves the times")
        assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_file_server_whose_clock_is_behind_hides_no_change(
    here: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """All of its times are from long before the build began."""
    monkeypatch.setattr(untimely, "_is_of_another_clock", lambda folder: True)
    made = Small(here, large=large)
    read = f"sha256:{hash_file(made.source).sha256}"
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)
    started = stat_rows.now()
    _same_size_and_times(made.source, "8", "9")
    made.keep(started, **{"file source.py": read})
    assert quick.answer(["build", "net.yaml"]) is None


def test_a_file_server_costs_one_look(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untimely, "_is_of_another_clock", lambda folder: True)
    made = Small(here, large=True)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0  # here, the large file is hashed
    monkeypatch.setattr(kinds, "current", None)
    assert quick.answer(["build", "net.yaml"]) == 0


def test_a_clock_that_was_set_back_during_the_build_leaves_no_state(here: Path) -> None:
    made = Small(here)
    wall, steady = stat_rows.now()
    made.keep((wall + 10**9, steady))
    assert quick.answer(["build", "net.yaml"]) is None


def test_another_search_path_is_another_program(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(small.folder)
    sys.path.insert(0, "")  # the first entry is that of the script
    assert quick.answer(["build", "net.yaml"]) is None


def _rows_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setattr(state, "__file__", str(home / "state" / "format.py"))
    paths = [Path(row.partition("\t")[2]) for row in state.program_rows()]
    return {str(path.relative_to(home)) for path in paths if path.is_relative_to(home)}


def test_what_is_above_a_build_is_no_part_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("quick.py", "state/format.py", "building/cli/x.py", "cli/main.py", "cli/commands/build.py",
                 "views/drawing/dot.py", "setup/ci/files.py", "base/__pycache__/old.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert _rows_of(tmp_path, monkeypatch) == {"quick.py", "state/format.py", "building/cli/x.py"}


def test_the_wings_that_are_not_looked_at_are_those_above_what_builds() -> None:
    rules = configparser.ConfigParser()
    rules.read(Path(__file__).parents[1] / ".importlinter")
    layers = rules["importlinter:contract:wings"]["layers"].split("building")[0].replace("|", " ").split()
    assert set(layers) - set(state._ABOVE) == {"__main__", "quick"}
    assert set(state._ABOVE) < set(layers)


SCRIPT = "import sys; from modelbuild.quick import main; sys.exit(main())"


def ended(kept: Project, script: str) -> tuple[int, str]:
    """How a script ends that has nothing to do, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, "build", "net.yaml"], cwd=kept.folder, env=kept.environ(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.cold
def test_a_script_with_nothing_to_do_ends_without_taking_python_down(kept: Project) -> None:
    """What would die with Python does not, and all that was said is there."""
    asks = subprocess.run(
        [sys.executable, "-c", "import sys; sys.exit('atexit' in sys.modules)"], check=False
    )
    if asks.returncode:
        pytest.skip("something in this Python's site-packages asks for its end")
    code, text = ended(kept, f"class Last:\n  def __del__(self): print('dead')\nlast = Last()\n{SCRIPT}")
    assert (code, text) == (0, kept.run("build", "net.yaml").stdout)


@pytest.mark.cold
@pytest.mark.parametrize(
    ("script", "told"),
    [
        (f"import atexit; atexit.register(print, 'told'); {SCRIPT}", "told"),
        (
            "from modelbuild.quick import main\ndef caller():\n  main()\n  print('goes on')\ncaller()",
            "goes on",
        ),
    ],
    ids=["asked for the end", "a caller"],
)
def test_whoever_waits_for_the_end_is_told_of_it(kept: Project, script: str, told: str) -> None:
    code, text = ended(kept, script)
    assert (code, text.splitlines()[-1]) == (0, told)


def test_no_bit_of_a_state_file_may_flip(small: Small) -> None:
    path = next((small.folder / "cache/state").glob("*[!n]"))
    data = path.read_bytes()
    assert state.unpacked(data) is not None
    for i in range(len(data)):
        flipped = data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :]
        assert state.unpacked(flipped) is None
        assert state.unpacked(data[:i]) is None


def test_a_state_file_of_another_recipe_answers_nothing(small: Small) -> None:
    """Two recipes may share a place: its name is a checksum of the folder."""
    path = next((small.folder / "cache/state").glob("*[!n]"))
    inner = small.folder / "inner"
    inner.mkdir()
    small.recipe.rename(inner / "net.yaml")
    other = state.place(str(small.folder / "cache"), str(inner / "net.yaml"), str(small.folder / "build"),
                        str(small.folder))  # fmt: skip
    path.rename(other)
    assert quick.answer(["build", "inner/net.yaml"]) is None


def test_a_cache_that_cannot_be_written_keeps_nothing_and_says_nothing(here: Path) -> None:
    (here / "cache").write_text("a file, not a folder")
    made = Small(here)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) is None


def test_ctrl_c_is_130(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(_: str) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "load", pressed)
    assert quick.answer(["build", "net.yaml"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


# ---- what is said ------------------------------------------------------------------------------

MISSING = Diagnostic("backend-missing", "tensorrt-rtx is not installed", None, level="info")
WARNING = Diagnostic("engine-unproven", "built, and not run", "run it", "a node", level="warning")


def test_a_name_that_is_no_unicode_is_kept_as_it_is_printed(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = replace(WARNING, message="b\udcff.npz has a large value")
    made = Small(here, said=(said,), skipped=1)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    assert "b\\udcff.npz has a large value" in capsys.readouterr().out


@pytest.mark.parametrize("json_wanted", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_short_way_says_what_the_long_way_says(
    here: Path, capsys: pytest.CaptureFixture[str], count: int, json_wanted: bool
) -> None:
    every = [Small(here, "abc"[i], (MISSING, WARNING)[: i + 1], skipped=i) for i in range(count)]
    for made in every:
        made.keep()
    result = BuildResult(tuple(made.idle() for made in every))
    assert quick.answer(["build", ".", "--format", "json" if json_wanted else "text"]) == 0
    said = capsys.readouterr().out
    if json_wanted:
        assert json.loads(said) == result.as_json()
    else:
        assert said == summary.render(result) + "\n"
    if count > 1 and not json_wanted:
        assert "b.yaml: b: 2 artifacts, 1 skipped, nothing to do\n" in said
        assert "info[backend-missing]: b.engine: tensorrt-rtx is not installed" in said


def test_an_engine_that_is_required_is_not_skipped_in_silence(here: Path) -> None:
    made = Small(here, said=(MISSING,), skipped=1)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    assert quick.answer(["build", "net.yaml", "--require-engines"]) is None


def test_idle_recipes_stand_together_and_apart_from_tables(here: Path) -> None:
    every = [Small(here, name) for name in "abcd"]
    results = [s.result() if s.name == "c" else s.idle() for s in every]
    blocks = summary.render(BuildResult(tuple(results))).split("\n\n")
    assert [b.splitlines()[0] for b in blocks] == [
        "a.yaml: a: 1 artifact, nothing to do", "c.yaml: c", "d.yaml: d: 1 artifact, nothing to do",
        "4 recipes: 3 artifacts cached, 1 built",
    ]  # fmt: skip
    assert blocks[0].splitlines()[1] == "b.yaml: b: 1 artifact, nothing to do"


@pytest.mark.parametrize(
    "arguments",
    [
        ["net.yaml", "--dry-run"], ["net.yaml", "--force"], ["net.yaml", "--only", "*"], ["*.yaml"], [],
        ["net.yaml", "--jobs", "0"], ["net.yaml", "-j"], ["net.yaml", "--out"], ["net.yaml", "--out="],
        ["net.yaml", "--format", "xml"], ["net.yaml", "--write-back"], ["net.yaml", "--lock"], ["--"],
        ["net.yaml", "net.yaml"], ["net.yaml", "./net.yaml"], ["missing.yaml"], ["net.lock.yaml"], [""],
        ["net.yaml", "--out", "elsewhere"], ["net.yaml", "--cache-dir", "elsewhere"], ["source.py"],
    ],
)  # fmt: skip
def test_what_it_does_not_understand_it_leaves_to_the_long_way(
    small: Small, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    capsys.readouterr()
    assert quick.answer(["build", *arguments]) is None
    assert quick.answer(["check", *arguments]) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["./net.yaml"], ["."], ["./"], [".//net.yaml"], ["net.yaml", "--out", "build/"], ["net.yaml", "-j8"],
        ["net.yaml", "--out=./build", "--jobs=2", "--keep-going", "--require-engines"],
        ["-j", "4", "net.yaml"], ["net.yaml", "--cache-dir=cache", "--format=text"],
    ],
)  # fmt: skip
def test_it_understands_the_usual_command_lines(
    small: Small, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    capsys.readouterr()
    assert quick.answer(["build", *arguments]) == 0
    assert capsys.readouterr().out == summary.render(BuildResult((small.idle(),))) + "\n"


def test_the_absolute_path_is_said_as_it_was_given(small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert quick.answer(["build", str(small.recipe)]) == 0
    assert capsys.readouterr().out.startswith(f"{small.recipe}: net\n")


def test_two_recipes_of_one_name_are_left_to_the_long_way(here: Path) -> None:
    for name in ("a", "b"):
        made = Small(here, name)
        result = replace(made.result(), name="same")
        keeping.keep(here / "cache", made.recipe, made.recipe.name, Path("build"), result, {}, {},
                     load(made.recipe), stat_rows.now())  # fmt: skip
    assert quick.answer(["build", "a.yaml"]) == 0
    assert quick.answer(["build", "b.yaml"]) == 0
    assert quick.answer(["build", "."]) is None


@given(st.lists(st.sampled_from(["a", "b.yaml", ".", "..", "", " ", "…"]), max_size=6))
def test_a_path_is_written_as_pathlib_writes_it(parts: list[str]) -> None:
    path = "/".join(parts)
    if path and not path.startswith("//"):
        assert quick.plain(path) == str(Path(path))


def test_a_folder_has_the_same_recipes_both_ways(here: Path) -> None:
    for name in ("b.yaml", "a.yml", "a.lock.yaml", ".yaml", ".hidden.yaml", "c.txt", "Z.yaml"):
        (here / name).touch()
    (here / "sub").mkdir()
    (here / "sub" / "x.yaml").touch()
    for arguments in (["."], ["./"], [str(here)], ["sub", "."], ["b.yaml", "sub/"]):
        assert quick._recipes(arguments) == [str(p) for p in find(arguments)]
