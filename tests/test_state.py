"""The short way: an answer from stat rows, never a stale one."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from modelbuild import state
from tests.conftest import TINY, Project

HEAVY = ("yaml", "pydantic", "numpy", "onnx", "torch", "rich")


@pytest.fixture
def kept(project: Project) -> Project:
    """A project with nothing to do, whose last build kept its state."""
    project.build()
    time.sleep(0.05)
    assert project.build().statuses == {"net.fp32.onnx": "cached"}
    assert list((project.folder / "cache/state").iterdir())
    return project


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
    assert str(state.default_root()) == root


def test_a_fresh_build_imports_nothing_heavy(kept: Project) -> None:
    code = (
        "import sys; from modelbuild.cli import main; code = main(['build', 'net.yaml']);"
        f"assert code == 0; print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [*kept.command()[:1], "-c", code], cwd=kept.folder, env=kept.environ(),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]"
    assert "net.fp32.onnx" in done.stdout


def _same_size_and_times(path: Path, old: str, new: str) -> None:
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("old", "new"), [("torch.relu", "torch.tanh"), ("width=8", "width=9")])
def test_an_edit_of_equal_size_with_its_time_put_back_is_noticed(kept: Project, old: str, new: str) -> None:
    _same_size_and_times(kept.folder / "net.py", old, new)
    again = kept.build()
    assert again.artifacts["net.fp32.onnx"]["reason"] == "net.py changed"


def test_a_touch_builds_nothing_and_is_forgotten(kept: Project) -> None:
    (kept.folder / "net.py").touch()
    assert kept.build().statuses == {"net.fp32.onnx": "cached"}


def test_a_missing_output_comes_back(kept: Project) -> None:
    kept.output("net.fp32.onnx").unlink()
    assert kept.build().statuses == {"net.fp32.onnx": "cached"}
    assert kept.output("net.fp32.onnx").is_file()


def test_a_file_written_while_the_build_ran_is_not_trusted(tmp_path: Path) -> None:
    source = tmp_path / "net.py"
    source.write_text(TINY)
    out, cache = tmp_path / "out", tmp_path / "cache"
    state.keep(cache, "r.yaml", out, {"a": 1}, [str(source)], [], started=time.time_ns())
    assert state.recall(cache, "r.yaml", out) is None
    later = time.time_ns() + 10**9
    state.keep(cache, "r.yaml", out, {"a": 1}, [str(source)], [], started=later)
    assert state.recall(cache, "r.yaml", out) == {"a": 1}


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"program": 1}'])
def test_a_damaged_state_file_is_as_good_as_none(kept: Project, damage: str) -> None:
    for path in (kept.folder / "cache/state").iterdir():
        path.write_text(damage)
    assert kept.build().statuses == {"net.fp32.onnx": "cached"}
