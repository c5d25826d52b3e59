"""A repository in which something is changed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from modelbuild import lockfile
from modelbuild.base.keys import canonical
from modelbuild.changes import selecting
from modelbuild.lockfile import Lock, Onnx
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import load
from modelbuild.steps.verify import Verify
from modelbuild.store import Store
from modelbuild.trace import facts, kinds
from tests.conftest import RECIPE, TINY

SOURCES = {
    "net.py": TINY,
    "parts.py": "def act(x): return x\n",
    "data/a.npz": "a",
    "other/b.txt": "b",
    "weights.pt": "w",
}


@dataclass
class Checkout:
    """A repository with one commit, and a store of its own."""

    folder: Path
    store: Store

    def git(self, *arguments: str) -> str:
        who = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(
            ["git", *who, *arguments], cwd=self.folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-qm", "more")
        return self.git("rev-parse", "HEAD")

    def built(self, *names: str, recipe: str = "net.yaml") -> None:
        """Remember a build of the recipe as it is, which discovered these facts."""
        path = self.folder / recipe
        seen = {name: kinds.current(name, None, path.parent) for name in names if "=" not in name}
        seen |= {n.partition("=")[0]: n.partition("=")[2] for n in names if "=" in n}
        actions = {
            action.id: {"facts": json.loads(canonical(action.step.knobs())), "discovered": seen}
            for action in plan(load(path)).actions
        }
        self.store.remember(str(path), actions)

    def locked(self, *files: str, recipe: str = "net.yaml") -> None:
        """Write a lock file for the recipe as it is, which names these files."""
        path = self.folder / recipe
        (tolerance,) = [
            step.tolerance for a in plan(load(path)).actions if isinstance(step := a.step, Verify)
        ]
        row = Onnx("0" * 64, 1, 18, {}, str(tolerance))
        digests = {name: str(facts.file_digest(path.parent / name)) for name in files}
        lock = Lock(path.stem, {f"{path.stem}.fp32.onnx": row}, {}, {}, {}, digests, {})
        lockfile.save(lock, lockfile.place(path))

    def touched(self, rev: str = "HEAD", *recipes: str) -> dict[str, str | None]:
        """What is said of each recipe that counts as touched; None where that is sure."""
        paths = [Path(r) for r in recipes] or [Path("net.yaml")]
        found = selecting.touched(paths, rev, self.store, Path("build"))
        assert set(found.notes) <= set(map(str, found.paths))
        return {str(p): n.message if (n := found.notes.get(str(p))) else None for p in found.paths}


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    folder = tmp_path / "repository"
    folder.mkdir()
    made = Checkout(folder, Store(tmp_path / "cache"))
    for name, text in SOURCES.items():
        made.write(name, text)
    made.write("net.yaml", RECIPE)
    made.git("init", "-q", "-b", "main")
    made.commit()
    monkeypatch.chdir(folder)
    return made
