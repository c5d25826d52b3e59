"""``modelbuild cache``: what it holds and saved, hashed again, and made smaller."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Answer, Project

NET = "net.fp32.onnx"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project that is built. Not to be touched: ``built`` is a copy of it."""
    made = Project(tmp_path_factory.mktemp("used"))
    made.write("net.py", TINY)
    made.recipe()
    assert made.build().code == 0
    return made


@pytest.fixture
def built(used: Project, tmp_path: Path) -> Project:
    shutil.copytree(used.folder, tmp_path / "copy")
    project = Project(tmp_path / "copy")
    shutil.rmtree(project.folder / "cache/history")  # there, the first project's recipe needs it all
    assert project.build().statuses == {NET: "cached"}
    return project


def _cache(project: Project, *arguments: str) -> Answer:
    return project.run("cache", *arguments)


def _told(project: Project, *arguments: str) -> dict[str, Any]:
    answer = _cache(project, *arguments, "--format", "json")
    assert answer.report["schema"] == 1
    assert answer.report["cache"] == str(project.folder / "cache")
    assert answer.report["ok"] is (answer.code == 0)
    return answer.report


def _damage(project: Project) -> Path:
    """One bit of the artifact in the store is flipped; the object's folder."""
    (stored,) = project.folder.glob(f"cache/objects/*/*/{NET}")
    stored.chmod(0o644)
    stored.write_bytes(stored.read_bytes()[:-1] + bytes([stored.read_bytes()[-1] ^ 1]))
    return stored.parent


# ---- stats -------------------------------------------------------------------------------------


def test_stats_say_what_is_held_and_what_every_build_was_spared(built: Project) -> None:
    before = _told(built, "stats")
    assert before["used"]["misses"] == before["objects"] == 4
    assert before["entries"] == 5  # one for each, and what the proof has measured
    assert before["object_bytes"] == sum(
        p.stat().st_size for p in built.folder.glob("cache/objects/*/*/*") if p.is_file()
    )
    built.output(NET).unlink()
    assert built.build().code == 0
    after = _told(built, "stats")
    assert after["used"]["builds"] == before["used"]["builds"] + 1
    assert after["used"]["hits"] == before["used"]["hits"] + 4
    assert after["used"]["misses"] == before["used"]["misses"]
    assert after["used"]["seconds_saved"] > before["used"]["seconds_saved"] + 0.1
    assert after["used"]["bytes_reused"] == before["used"]["bytes_reused"] + after["object_bytes"]


def test_stats_for_people(built: Project) -> None:
    lines = _cache(built, "stats").stdout.splitlines()
    assert lines[0] == str(built.folder / "cache")
    assert [line.split()[0] for line in lines[1:]] == ["objects", "results", "builds", "hits", "saved"]
    assert lines[1].startswith("  objects  4, ")
    assert lines[2] == "  results  5"


# ---- verify ------------------------------------------------------------------------------------


def test_a_whole_cache_is_said_to_be_whole(built: Project) -> None:
    answer = _cache(built, "verify")
    assert answer.code == 0
    assert answer.stdout.startswith(f"{built.folder / 'cache'}: 4 objects (")
    assert answer.stdout.endswith("), 5 results: all as they were stored\n")
    assert _told(built, "verify")["damaged"] == []


def test_damage_is_found_taken_out_and_made_again(built: Project) -> None:
    good = built.output(NET).read_bytes()
    place = _damage(built)
    answer = _cache(built, "verify", "--format", "json")
    assert answer.code == 1
    assert answer.report["ok"] is False
    (damage,) = answer.report["damaged"]
    assert damage == {
        "what": "object",
        "place": str(place),
        "problem": f"{NET} has other bytes",
        "removed": True,
    }
    assert (built.folder / "cache/aside" / place.name / NET).is_file()
    assert _cache(built, "verify").code == 0
    built.output(NET).unlink()
    assert built.build().statuses == {NET: "built"}
    assert built.output(NET).read_bytes() == good


def test_damage_for_people(built: Project) -> None:
    place = _damage(built)
    answer = _cache(built, "verify")
    assert answer.code == 1
    first, last = answer.stdout.splitlines()
    assert first == f"object {place}: {NET} has other bytes"
    assert last.endswith("1 damaged: what is damaged was taken out, and is made again when it is needed")


# ---- gc ----------------------------------------------------------------------------------------


def test_what_a_recipe_that_is_there_needs_stays(built: Project) -> None:
    found = _told(built, "gc", "--max-size", "0B")
    assert (found["objects"], found["bytes"]) == (0, 0)
    assert found["left"] == found["needed"] > 0
    assert (
        "over the limit stay: recipes that are there need them" in _cache(built, "gc", "--max-age=0s").stdout
    )
    built.output(NET).unlink()
    assert built.build().statuses == {NET: "cached"}


def test_what_no_recipe_needs_goes_down_to_the_limit_and_is_built_again(built: Project) -> None:
    held = _told(built, "stats")["object_bytes"]
    (built.folder / "net.yaml").rename(built.folder / "kept.txt")
    text = _cache(built, "gc", "--max-size", "1GiB").stdout
    assert text.startswith(f"{built.folder / 'cache'}: deleted 0 objects, 0 B; ")
    found = _told(built, "gc", "--max-size", "0B")
    assert (found["bytes"], found["left"], found["needed"]) == (held, 0, 0)
    (built.folder / "kept.txt").rename(built.folder / "net.yaml")
    built.output(NET).unlink()
    assert built.build().statuses == {NET: "built"}


def test_what_was_not_used_for_long_goes(built: Project) -> None:
    (built.folder / "net.yaml").unlink()
    for place in built.folder.glob("cache/objects/*/*"):
        os.utime(place, (1e9, 1e9))
    assert _told(built, "gc", "--max-age", "30d")["objects"] == 4
    assert _told(built, "stats")["objects"] == 0


# ---- wrong arguments, and caches that are not there ----------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "the following arguments are required: job"),
        (
            ("empty",),
            "argument job: invalid choice: 'empty' (choose from 'stats', 'verify', 'gc', 'push', 'keygen')",
        ),
        (("stats", "--max-size", "3"), "`cache stats` takes no limit"),
        (("verify", "--max-age", "3d"), "`cache verify` takes no limit"),
        (("stats", "--cache-dir", "net.yaml"), "net.yaml is not a folder"),
        (("gc",), "gc needs a limit"),
        (("gc", "--max-size", "much"), "argument --max-size: 'much' is not a size: 500MiB, 20GiB"),
        (("gc", "--max-size", "-1GiB"), "argument --max-size: expected one argument"),
        (("gc", "--max-size", "nan"), "argument --max-size: 'nan' is not a size: 500MiB, 20GiB"),
        (("gc", "--max-age", "3y"), "argument --max-age: '3y' is not an age: 12h, 30d"),
    ],
)
def test_wrong_arguments_are_told(project: Project, arguments: tuple[str, ...], said: str) -> None:
    answer = _cache(project, *arguments)
    assert answer.code == 2
    assert said in answer.stderr
    assert (
        _cache(project, *arguments, "--format=json").report["recipes"][0]["diagnostics"][0]["message"] == said
    )


@pytest.mark.parametrize("arguments", [("stats",), ("verify",), ("gc", "--max-size", "0")])
@pytest.mark.parametrize("there", [True, False], ids=["empty", "missing"])
def test_a_cache_that_holds_nothing_is_said_to(
    project: Project, arguments: tuple[str, ...], there: bool
) -> None:
    if there:
        (project.folder / "cache").mkdir()
    answer = _cache(project, *arguments)
    assert (answer.code, answer.stderr) == (0, "")
    assert answer.stdout == f"{project.folder / 'cache'}: nothing is stored there\n"


@pytest.fixture
def unwritable(built: Project) -> Iterator[Project]:
    """The built project, with its cache on a file system that is mounted read-only."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    cache, kept = built.folder / "cache", built.folder / "kept"
    cache.rename(kept)
    cache.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(cache)], capture_output=True).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        shutil.copytree(kept, cache, dirs_exist_ok=True)
        (place,) = cache.glob(f"objects/*/*/{NET}")
        place.chmod(0o644)
        place.write_bytes(b"rotten")
        subprocess.run(["mount", "-o", "remount,ro", "tmpfs", str(cache)], check=True)
        yield built
    finally:
        subprocess.run(["umount", str(cache)], check=True)


def test_a_cache_that_cannot_be_written_is_counted_verified_and_not_collected(
    unwritable: Project,
) -> None:
    assert _told(unwritable, "stats")["objects"] == 4
    answer = _cache(unwritable, "verify")
    assert answer.code == 1
    assert f"{NET} has 6 bytes, not " in answer.stdout
    assert "(still there)" in answer.stdout
    (unwritable.folder / "net.yaml").unlink()
    answer = _cache(unwritable, "gc", "--max-size", "0B")
    assert answer.code == 1
    assert "Read-only file system" in answer.stderr
    assert answer.stderr.startswith("error[system-error]: ")
