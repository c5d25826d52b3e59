"""Results that are right each for itself and of different weights: they are never compared.

The weights of the model here are other ones each time it is made, as those of a seeded model are on a
processor with another instruction set; no fact tells of it.
"""

from __future__ import annotations

import shutil

import pytest

from modelbuild.base.keys import digest
from modelbuild.store import Entry, Store
from tests.conftest import RECIPE, TINY, Project

ANY_WEIGHTS = TINY.replace("class Net", "import time\n\ntorch.manual_seed(time.time_ns())\n\n\nclass Net", 1)
FP16 = "precision: {fp32: {}, fp16: {method: convert}}"


@pytest.fixture
def drawn(project: Project) -> Project:
    """A project that is built, with weights that no later process draws again."""
    project.write("net.py", ANY_WEIGHTS)
    project.recipe(FP16)
    assert project.build().code == 0
    return project


def _made_beside_the_model(project: Project) -> dict[str, Entry]:
    """By step: what the ledger has last of what ran beside the model."""
    store = Store(project.folder / "cache")
    found = {}
    files = (project.folder / "cache/ledger").rglob("*.json")
    for file in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        for entry in store.entries(f"sha256:{file.parent.name}"):
            if entry.facts.get("step") in ("export", "reference"):
                found[str(entry.facts["step"])] = entry
    return found


def _lend(step: str, there: Project, here: Project) -> None:
    """Have the result of a step that another machine has made, as a cache that both write to has it."""
    entry = _made_beside_the_model(there)[step]
    store = Store(here.folder / "cache")
    folder = store.workspace()
    shutil.copytree(Store(there.folder / "cache").folder(entry.tree) or "", folder, dirs_exist_ok=True)
    assert store.put(folder) == entry.tree
    store.record(digest(entry.facts), entry)


def test_what_runs_beside_a_model_says_which_weights_it_has(drawn: Project) -> None:
    made = _made_beside_the_model(drawn)
    assert made["export"].data["weights"] == made["reference"].data["weights"]
    assert made["export"].data["weights"].startswith("sha256:")


def test_an_export_of_other_weights_than_the_new_reference_is_made_again(drawn: Project) -> None:
    before = drawn.output("net.fp16.onnx").read_bytes()
    drawn.recipe(FP16, "static: [{batch: 1}]", base=RECIPE.replace("samples: 2", "samples: 3"))
    again = drawn.build()
    assert (again.code, again.diagnostics) == (0, [])
    assert set(again.statuses.values()) == {"built"}
    assert drawn.output("net.fp16.onnx").read_bytes() != before
    made = _made_beside_the_model(drawn)
    assert made["export"].data["weights"] == made["reference"].data["weights"]


def test_an_export_is_a_miss_beside_a_reference_from_another_machine(
    drawn: Project, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = Project(tmp_path_factory.mktemp("other"))
    shutil.copytree(
        drawn.folder, other.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache", "build")
    )
    assert other.build().code == 0
    _lend("reference", other, drawn)
    shutil.rmtree(drawn.folder / "cache/state")
    told = drawn.run("why", "net.fp32.onnx", "net.yaml")
    assert "weights-differ: it was made with other weights than `reference`" in told.stdout
    again = drawn.build()
    assert (again.code, again.diagnostics) == (0, [])
    made = _made_beside_the_model(drawn)
    assert made["export"].data["weights"] == made["reference"].data["weights"]
    assert drawn.build().statuses == dict.fromkeys(again.statuses, "cached")
