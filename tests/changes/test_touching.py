"""What a change touches, `diff` and `--changed-since` know by the same evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from modelbuild.changes import selecting
from modelbuild.git import Repository
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import load
from modelbuild.store import Store
from modelbuild.trace import kinds
from tests.changes.review.repositories import Repo, made
from tests.changes.review.test_reviewing import lock

PLACE = "models/net.yaml"
RECIPE = """\
name: net
model: {import: "net:Net"}
inputs: {x: {shape: [2, 6]}}
outputs: [y]
verify: {samples: 2}
"""
ONNX = RECIPE.replace('import: "net:Net"', "onnx: net.onnx")


def model(more: str) -> str:
    return RECIPE.replace('"net:Net"', f'"net:Net", {more}')


def verify(more: str) -> str:
    return RECIPE.replace("samples: 2", f"samples: 2, {more}")


def calibrated(pattern: str) -> str:
    return RECIPE + f"precision: {{int8: {{calibration: {{data: '{pattern}'}}}}}}\n"


def saved(arguments: str) -> str:
    return RECIPE.replace('import: "net:Net"', f'import: "torch.jit:load", {arguments}')


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repo:
    repo = made(tmp_path / "repository")
    (repo.folder / "net.yaml").unlink()
    monkeypatch.chdir(repo.folder)
    return repo


def answers(repo: Repo) -> tuple[bool, bool]:
    """Whether ``diff`` tells of the recipe, and whether ``--changed-since`` knows why it counts.

    A file that is gone makes the recipe a wrong one, which counts as it is.
    """
    told = {recipe.recipe for recipe in repo.review().recipes}
    since = selecting.touched([Path(PLACE)], "HEAD", Store(repo.folder.parent / "cache"), Path("build"))
    assert told <= {PLACE}
    wrong = any("the recipe cannot be read" in note.message for note in since.notes.values())
    return bool(told), bool(since.paths) and (wrong or not since.notes)


@pytest.mark.parametrize(
    ("recipe", "there", "change"),
    [
        pytest.param(model("weights: w.pt"), {"models/w.pt": "w"}, "models/w.pt", id="weights"),
        pytest.param(model("weights: ../w.pt"), {}, "w.pt", id="weights-in-a-folder-above"),
        pytest.param(ONNX, {"models/net.onnx": "o"}, "models/net.onnx", id="an-onnx-file"),
        pytest.param(ONNX, {"models/net.onnx": "o", "models/net.onnx.data": "d"}, "models/net.onnx.data",
                     id="the-data-beside-an-onnx-file"),
        pytest.param(saved("args: [jit.pt]"), {"models/jit.pt": "j"}, "models/jit.pt", id="a-saved-model"),
        pytest.param(saved("kwargs: {f: jit.pt}"), {"models/jit.pt": "j"}, "models/jit.pt",
                     id="a-saved-model-by-name"),
        pytest.param(model("args: [{import: 'torch.jit:load', args: [jit.pt]}]"), {"models/jit.pt": "j"},
                     "models/jit.pt", id="a-saved-model-within-another"),
        pytest.param(model("files: [v.txt]"), {"models/v.txt": "v"}, "models/v.txt", id="a-file-by-name"),
        pytest.param(model("files: ['v/*.txt']"), {"models/v/a.txt": "v"}, "models/v/b.txt", id="a-match"),
        pytest.param(model("files: ['v[12]']"), {"models/v1": "v"}, "models/v1", id="a-class-of-characters"),
        pytest.param(model("files: [cfg.yaml]"), {"models/cfg.yaml": "a: 1"}, "models/cfg.yaml",
                     id="yaml-that-is-no-recipe"),
        pytest.param(verify("data: 's/*.npz'"), {"models/s/a.npz": "s"}, "models/s/a.npz", id="real-inputs"),
        pytest.param(calibrated("c/*.npz"), {"models/c/a.npz": "c"}, "models/c/a.npz", id="calibration-data"),
        pytest.param(calibrated("c/*.npz"), {"models/c/a.npz": "c"}, "models/c/b.npz",
                     id="a-match-of-calibration-data"),
        pytest.param(verify('function: "checks.near:close"'), {"models/checks/near.py": "a = 1"},
                     "models/checks/near.py", id="the-users-check"),
        pytest.param(RECIPE, {"models/net.py": "a = 1"}, "models/net.py", id="a-module-beside-the-recipe"),
        pytest.param(RECIPE, {}, "net.py", id="a-module-at-the-root"),
        pytest.param(RECIPE, {"net.py": "import helper", "helper.py": "a = 1"}, "helper.py",
                     id="what-a-module-imports"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("gone", [False, True], ids=["edited", "deleted"])
def test_what_a_recipe_names_counts_in_both(
    repo: Repo, recipe: str, there: Mapping[str, str], change: str, gone: bool
) -> None:
    repo.write(PLACE, recipe)
    for name, text in there.items():
        repo.write(name, text)
    repo.commit()
    assert answers(repo) == (False, False)
    if gone and (repo.folder / change).exists():
        (repo.folder / change).unlink()
    else:
        repo.write(change, "b = 2")
    assert answers(repo) == (True, True)


@pytest.mark.parametrize(
    ("names", "change", "counts"),
    [
        pytest.param(["blocks.py"], "models/blocks.py", True, id="a-file"),
        pytest.param(["parts/*"], "models/parts/a.py", True, id="one-in-a-folder"),
        pytest.param(["parts/*"], "models/parts/deep/a.py", False, id="one-deeper-than-a-folder"),
        pytest.param([".../hub.py"], "elsewhere/hub.py", True, id="one-of-that-name-anywhere"),
        pytest.param([".../hub.py"], "elsewhere/hubs.py", False, id="one-of-another-name"),
    ],
)
def test_what_a_lock_file_names_counts_in_both(
    repo: Repo, names: Sequence[str], change: str, counts: bool
) -> None:
    repo.write(PLACE, RECIPE)
    repo.write("models/net.lock.yaml", lock(files=dict.fromkeys(names, "sha256:0")))
    repo.write(change, "a = 1\n")
    repo.commit()
    repo.write(change, "a = 2\n")
    told, sure = answers(repo)
    assert (told, sure) == (counts, counts)


@pytest.mark.parametrize(
    ("fact", "change"),
    [
        pytest.param("file table.bin", "models/table.bin", id="a-file-that-was-read"),
        pytest.param("absent net.json", "models/net.json", id="one-that-was-looked-for"),
        pytest.param("listing data", "models/data/new", id="one-in-a-folder-that-was-listed"),
        pytest.param("modules .=torch", "models/torch.py", id="one-that-would-be-imported-instead"),
        pytest.param("file cfg.yaml", "models/cfg.yaml", id="yaml-that-was-read"),
    ],
)
def test_what_the_last_build_saw_counts_in_both(repo: Repo, fact: str, change: str) -> None:
    repo.write(PLACE, RECIPE)
    repo.write("models/table.bin", "1")
    repo.write("models/cfg.yaml", "a: 1\n")
    repo.write("models/data/old", "1")
    repo.commit()
    path = repo.folder.resolve() / PLACE
    name, _, value = fact.partition("=")
    known = value or kinds.current(name, None, path.parent)
    rows = {action.id: {"facts": {}, "discovered": {name: known}} for action in plan(load(path)).actions}
    Store(repo.folder.parent / "cache").remember(str(path), rows)
    assert answers(repo) == (False, False)
    repo.write(change, "2")
    assert answers(repo) == (True, True)
    (one,) = repo.review().recipes
    assert [file.path for file in one.files] == [change.removeprefix("models/")]


@pytest.mark.parametrize(
    ("readers", "fates"),
    [
        pytest.param(["export", "reference"], {"rebuild"}, id="the-export"),
        pytest.param(["reference"], {"prove"}, id="the-reference-alone"),
        pytest.param(["verify fp32"], {"prove"}, id="the-check-alone"),
    ],
)
def test_a_file_that_a_build_read_rebuilds_what_its_readers_make(
    repo: Repo, readers: Sequence[str], fates: set[str]
) -> None:
    repo.write(PLACE, verify('function: "net:close"'))
    repo.write("models/table.bin", "1")
    repo.commit()
    path = repo.folder.resolve() / PLACE
    assert set(readers) <= plan(load(path)).by_id.keys()
    seen = {"facts": {}, "discovered": {"file table.bin": "sha256:0"}}
    Store(repo.folder.parent / "cache").remember(str(path), dict.fromkeys(readers, seen))
    repo.write("models/table.bin", "2")
    assert {effect.fate for effect in repo.one().artifacts} == fates


def test_what_is_neither_named_nor_seen_touches_nothing(repo: Repo) -> None:
    repo.write(PLACE, RECIPE)
    repo.write("unused.py", "a = 1\n")
    repo.commit()
    repo.write("unused.py", "a = 2\n")
    assert Repository.at(repo.folder).edits("HEAD").keys() == {"unused.py"}
    assert answers(repo) == (False, False)
