"""Logs: each project has its own, and those of the projects built longest ago go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modelbuild.store import Store, logs

DAY = 86400


def _project(folder: Path, sign: str = ".git") -> Path:
    folder.mkdir(parents=True)
    (folder / sign).mkdir()
    return folder


def test_recipes_of_one_name_in_two_projects_have_logs_of_their_own(store: Store, tmp_path: Path) -> None:
    one, two = _project(tmp_path / "a/shop"), _project(tmp_path / "b/shop", "pyproject.toml")
    (one / "configs").mkdir()
    places = [store.log(base, "net", "export") for base in (one, one / "configs", two)]
    assert len(set(places)) == 3
    for place in places:
        project, recipe, log = place.relative_to(store.root / "logs").parts
        assert (project.rpartition("-")[0], recipe, log) == ("shop", "net", "export.log")
        assert place.parent.is_dir()
    assert store.log_path(two, "net", "export") == places[2]
    assert store.log(one, "net", "verify fp16").name == "verify-fp16.log"
    assert store.log(one, "net", "verify fp16").parent == places[0].parent


def test_a_recipe_in_no_project_has_its_logs_under_its_folders_name(store: Store) -> None:
    """A name may be anything that a file system takes; the folder of the logs is plain."""
    assert logs.project(Path("/nowhere/my models\n")).startswith("my_models_-")
    assert logs.project(Path("/nowhere/.hidden")).startswith("hidden-")
    assert logs.project(Path("/")).startswith("project-")
    assert len(logs.project(Path("/nowhere") / ("x" * 200))) == 49
    assert logs.project(Path("/nowhere/\udcff")) != logs.project(Path("/nowhere/\udcfe"))


def test_only_so_many_projects_have_logs_and_none_goes_while_it_is_built(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "MOST_PROJECTS", 3)
    places = [store.log(tmp_path / str(n), "net", "export") for n in range(5)]
    assert all(place.parent.is_dir() for place in places)  # all of today
    newest = places[-1].parent.stat().st_mtime
    for days, place in zip((5, 4, 3, 2, 0), places, strict=True):
        for folder in (place.parent, place.parent.parent):
            os.utime(folder, (newest - days * DAY,) * 2)
    os.utime(places[0].parent, (newest, newest))  # one recipe of the oldest project was built just now
    last = store.log(tmp_path / "last", "net", "export")
    assert [place.parent.is_dir() for place in (*places, last)] == [True, False, False, False, True, True]
