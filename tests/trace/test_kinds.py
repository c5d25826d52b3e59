"""The table of kinds: every row is whole, and a fact that travels is the same in a clone elsewhere."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from pathlib import Path

import pytest

from modelbuild.trace import kinds
from modelbuild.trace.kinds import KINDS, Kind, current, guards, is_far, parted, question, variables

# One fact of each kind, as the project below has it, with what a value has to hold for it to be asked.
EXAMPLES: dict[str, tuple[str, str | None]] = {
    "file": ("file net.py", None),
    "absent": ("absent net.json", None),
    "present": ("present data", None),
    "made": ("made net.py", None),
    "link": ("link current", None),
    "size": ("size net.py", None),
    "executable": ("executable run.sh", None),
    "journal": ("journal data.db", None),
    "order": ("order of-times", '["run.sh", "net.py"]'),
    "which": ("which sh", None),
    "listing": ("listing data", "sha256:0/build"),
    "modules": ("modules .", "late net:net.py"),
    "search": ("search", "late net:../net.py"),
    "cwd": ("cwd", None),
    "glob": ("glob data/*.npz", None),
    "env": ("env WIDTH", None),
    "torch-env": ("torch-env WIDTH", None),
    "package": ("package numpy", None),
    "distribution": ("distribution numpy", None),
    "entry-points": ("entry-points console_scripts", None),
    "installed": ("installed distributions", None),
}
COLUMNS = sorted(set(inspect.signature(Kind.__init__).parameters) - {"self", "name"})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here/project"
    (folder / "data/build").mkdir(parents=True)
    (folder / "net.py").write_text("import late\n")
    (folder / "run.sh").touch(0o755)
    (folder / "data/a.npz").write_text("a")
    (folder / "current").symlink_to("data")
    (folder / "data.db").touch()
    (folder / "data.db-wal").write_text("written")
    monkeypatch.setenv("WIDTH", "8")
    monkeypatch.chdir(folder)
    return folder


def test_every_kind_has_an_example_here() -> None:
    assert set(EXAMPLES) == set(KINDS)


def test_the_page_about_freshness_tells_of_every_kind() -> None:
    page = (Path(__file__).parents[2] / "docs/freshness.md").read_text()
    rows = {line.split("`")[1].partition(" ")[0] for line in page.splitlines() if line.startswith("| `")}
    assert set(KINDS) <= rows


@pytest.mark.parametrize("column", COLUMNS)
def test_a_row_without_one_of_its_columns_is_none(column: str) -> None:
    given = {name: getattr(kinds.FILE, name) for name in COLUMNS if name != column}
    with pytest.raises(TypeError, match=f"'{column}'"):
        Kind("shade", **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_fact_is_taken_apart_and_put_together_by_its_row(name: str) -> None:
    fact = EXAMPLES[name][0]
    kind, rest = parted(fact)
    assert kind is KINDS[name]
    assert kind.fact(rest) == fact


@pytest.mark.parametrize("name", EXAMPLES)
def test_something_stands_for_every_fact_on_the_fast_path(project: Path, name: str) -> None:
    fact, value = EXAMPLES[name]
    value = current(fact, value, project)
    paths = guards(fact, value, project)
    assert paths is not None
    assert all(map(os.path.isabs, paths))
    # What is installed shows in the rows of the program itself.
    assert paths or variables(fact, value) or KINDS[name].travels == "version"


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.travels != "stays"])
def test_a_fact_that_travels_is_the_same_in_a_clone_in_another_folder(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    clone = shutil.copytree(project, tmp_path / "on/another/disk", symlinks=True)
    fact, value = EXAMPLES[name]
    assert not is_far(fact)
    here = current(fact, value, project)
    monkeypatch.chdir(clone)
    assert current(fact, value, clone) == here
    assert str(tmp_path) not in f"{fact} {here}"
    assert question(fact, here) == question(fact, value)


@pytest.mark.parametrize("fact", ["file /usr/lib/x.json", "absent ../x.json", "glob /data/*.npz"])
def test_a_file_outside_of_the_project_is_far(fact: str) -> None:
    assert is_far(fact)


@pytest.mark.parametrize("value", [None, "unknown", "blue", ""])
def test_a_kind_that_this_version_does_not_know_is_never_what_it_was(
    tmp_path: Path, value: str | None
) -> None:
    assert current("shade of-the-sky", value, tmp_path) != value
    assert guards("shade of-the-sky", value, tmp_path) is None
    kind, rest = parted("shade of-the-sky")
    assert kind.words(rest, value, None, lambda: None) == "shade of-the-sky changed"


def test_two_runs_that_asked_a_folder_for_other_names_have_asked_other_questions(project: Path) -> None:
    asked = {value: question("modules .", value) for value in ("net:net.py late", "net:other.py late", "net")}
    assert asked["net:net.py late"] == asked["net:other.py late"] != asked["net"]
    assert question("listing data", "sha256:0/build") != question("listing data", "sha256:0")
    orders = [question("order of-times", json.dumps(names)) for names in (["a", "b"], ["b", "a"], ["a"])]
    assert orders[0] == orders[1] != orders[2]
