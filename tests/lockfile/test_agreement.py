"""`check --locked`: whether a lock file was made from its recipe and from the files that are there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from modelbuild import check, lockfile
from modelbuild.base.results import BuildResult
from modelbuild.lockfile import Lock, Onnx
from modelbuild.lockfile.agreement import definition
from modelbuild.recipe.loading import parse
from modelbuild.trace import facts
from tests.conftest import RECIPE, TINY, Project

FP32 = "rtol 0.001, atol 0.0001, relative_l2 0.001, mismatch 0.001"
HALF = "precision: {fp32: , fp16: }\n"
ROWS = {
    "net.fp32.onnx": FP32,
    "net.fp16.onnx": "relative_l2 0.01, cosine 0.999, mismatch 0.01",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A recipe with a lock file that was made from it."""
    (tmp_path / "net.yaml").write_text(RECIPE + HALF)
    (tmp_path / "net.py").write_text(TINY)
    (tmp_path / "table.bin").write_text("1")
    lock(tmp_path, "net.py", "table.bin")
    return tmp_path


def lock(folder: Path, *files: str) -> None:
    rows = {name: Onnx("0" * 64, 1, 18, {}, tolerance) for name, tolerance in ROWS.items()}
    digests = {name: str(facts.file_digest(folder / name)) for name in files}
    lockfile.save(Lock("net", rows, {}, {}, {}, digests, {}), folder / "net.lock.yaml")


def said(result: BuildResult) -> list[tuple[str, str]]:
    return [(d.code, d.message) for r in result.recipes for d in r.diagnostics]


def checked(folder: Path) -> BuildResult:
    return check(folder / "net.yaml", locked=True)


def test_a_lock_file_of_this_recipe_and_these_files_is_current(folder: Path) -> None:
    result = checked(folder)
    assert (result.exit_code, said(result)) == (0, [])


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        pytest.param(RECIPE + HALF + "name: other\n", "recipe net -> other", id="name"),
        pytest.param(RECIPE + HALF + "opset: 17\n", "opset 18 -> 17", id="opset"),
        pytest.param(RECIPE, "net.fp16.onnx is in the lock file alone", id="a-precision-less"),
        pytest.param(RECIPE + "precision: {fp32: , fp16: , bf16: }\n",
                     "net.bf16.onnx is not in the lock file", id="a-precision-more"),
        pytest.param(RECIPE + HALF + "static: [{batch: 1}]\n",
                     "net.fp32.batch1.onnx is not in the lock file", id="a-variant"),
        pytest.param(RECIPE + HALF + "engines: [{precision: fp16, backend: tensorrt}]\n",
                     "net.fp16.tensorrt.engine is not in the lock file", id="an-engine"),
        pytest.param(RECIPE + "precision: {fp32: {tolerance: {rtol: 0.1}}, fp16: }\n",
                     f"net.fp32.onnx: tolerance {FP32} -> rtol 0.1, atol 0",
                     id="a-tolerance"),
    ],
)  # fmt: skip
def test_a_recipe_that_asks_for_something_else_is_told(folder: Path, recipe: str, words: str) -> None:
    (folder / "net.yaml").write_text(recipe)
    result = checked(folder)
    (found,) = (d for d in result.recipes[0].diagnostics if d.level == "error")
    assert (result.exit_code, found.code) == (1, "lock-mismatch")
    assert words in found.message.removeprefix("the lock file is not of this recipe and these files: ")
    assert found.hint == "`modelbuild build --lock` writes the new one, to be reviewed"
    assert found.where == str(folder / "net.lock.yaml")


def test_a_recipe_that_says_the_same_otherwise_has_the_same_definition() -> None:
    lists = "precision: {fp32: , fp16: {op_block_list: %s, node_block_list: %s}}\n"
    first, second = (
        parse(RECIPE + said, "net.yaml", "net")
        for said in (lists % ("[A, B]", "[x, y]"), lists % ("[B, A, A]", "[y, x]") + "opset: 18\n")
    )
    assert definition(first) == definition(second)
    others = [
        lists % ("[A]", "[x, y]"),
        lists % ("[A, B]", "[x]"),
        lists % ("[A, B]", "[x, y]") + "opset: 19\n",
    ]
    found = {definition(parse(RECIPE + said, "net.yaml", "net")) for said in (*others, "")}
    assert len(found | {definition(first)}) == 5


def test_a_default_of_the_project_file_counts_as_the_recipes(folder: Path) -> None:
    (folder / "pyproject.toml").write_text("[tool.modelbuild.tolerance.fp32]\nrtol = 0.1\n")
    (row,) = said(checked(folder))
    assert f"net.fp32.onnx: tolerance {FP32} -> rtol 0.1, atol 0" in row[1]


@pytest.mark.parametrize(("opset", "code"), [(22, 0), (18, 0), (17, 1)])
def test_a_bf16_file_may_have_a_higher_opset_than_the_recipe_asks_for(
    folder: Path, opset: int, code: int
) -> None:
    (folder / "net.yaml").write_text(RECIPE + "precision: {bf16: }\n")
    row = Onnx("0" * 64, 1, opset, {}, "relative_l2 0.05, cosine 0.99, mismatch 0.05")
    lockfile.save(Lock("net", {"net.bf16.onnx": row}, {}, {}, {}, {}, {}), folder / "net.lock.yaml")
    assert checked(folder).exit_code == code


def test_files_that_changed_or_are_gone_are_told(folder: Path) -> None:
    (folder / "net.py").write_text(f"# another\n{TINY}")
    (folder / "table.bin").unlink()
    result = checked(folder)
    words = "net.py changed; table.bin is in the lock file, and not there"
    assert result.exit_code == 1
    assert said(result) == [
        ("lock-mismatch", f"the lock file is not of this recipe and these files: {words}")
    ]


def test_a_recipe_without_a_lock_file_is_told(folder: Path) -> None:
    (folder / "net.lock.yaml").unlink()
    result = checked(folder)
    assert (result.exit_code, said(result)) == (1, [("lock-missing", "there is no lock file")])


def test_a_damaged_lock_file_is_told_with_its_place(folder: Path) -> None:
    (folder / "net.lock.yaml").write_text("lock: 1\nrecipe: [\n")
    result = checked(folder)
    assert (result.exit_code, {code for code, _ in said(result)}) == (2, {"lock-invalid"})


def test_a_recipe_that_is_wrong_is_told_alone(folder: Path) -> None:
    (folder / "net.yaml").write_text(RECIPE + "opsets: 17\n")
    result = checked(folder)
    assert (result.exit_code, [code for code, _ in said(result)]) == (2, ["recipe-invalid"])


def test_nothing_outside_the_repository_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    folder = tmp_path / "repository"
    (folder / "configs").mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    configs = folder / "configs"
    (configs / "net.yaml").write_text(RECIPE + HALF)
    (folder / "net.py").write_text(TINY)
    (configs / "way").symlink_to("../..")
    names = ["../net.py", "../../secret.txt", "way/secret.txt", str(tmp_path / "secret.txt")]
    lock(configs, *names)
    read: list[str] = []
    kept = facts.file_digest
    monkeypatch.setattr(facts, "file_digest", lambda path: (read.append(str(path)), kept(path))[1])
    (tmp_path / "secret.txt").write_text("another")
    monkeypatch.chdir(folder)
    assert said(checked(configs)) == []
    assert read == [str(configs / "../net.py")]


def test_what_a_lock_file_says_is_shown_short(folder: Path) -> None:
    place = folder / "net.lock.yaml"
    place.write_text(place.read_text().replace("recipe: net", f"recipe: {'x' * 100_000}"))
    (found,) = checked(folder).recipes[0].diagnostics
    assert found.code == "lock-mismatch"
    assert len(found.message) < 2000


def test_a_lock_file_that_leads_elsewhere_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret: word\n")
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "net.yaml").write_text(RECIPE)
    (folder / "net.py").write_text(TINY)
    (folder / "net.lock.yaml").symlink_to("../secret.txt")
    result = checked(folder)
    assert said(result) == [("lock-invalid", "the lock file is a link that leads elsewhere")]
    assert "word" not in str(result.as_json())


def test_a_lock_file_that_a_build_wrote_is_current_until_a_definition_changes(project: Project) -> None:
    project.recipe(HALF, "static: [{batch: 1}]")
    project.write("table.txt", "1\n")
    project.write("net.py", TINY + "\n\nopen(__file__.replace('net.py', 'table.txt')).read()\n")
    assert project.build("--lock").code == 0
    assert project.run("check", "net.yaml", "--locked").stdout == "net.yaml: ok\n"
    project.write("net.py", "# a comment\n" + (project.folder / "net.py").read_text())
    assert said(checked(project.folder)) == []
    project.write("net.py", (project.folder / "net.py").read_text().replace("relu", "tanh"))
    project.write("table.txt", "2\n")
    (found,) = said(checked(project.folder))
    assert found[1].endswith("these files: net.py changed; table.txt changed")


def test_a_keyword_of_the_model_is_seen_and_another_layout_is_not(warm: Project) -> None:
    assert warm.build("--lock").code == 0
    warm.write("net.yaml", "# the same\n" + RECIPE + "simplify: true\n")
    assert said(checked(warm.folder)) == []
    warm.write("net.yaml", RECIPE.replace('"net:Net"', '"net:Net", kwargs: {width: 9}'))
    (found,) = said(checked(warm.folder))
    assert found[1].endswith("these files: the recipe is another one")
