"""Small projects: what writes a state file and what reads it, both in this process."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from modelbuild import quick
from modelbuild.base import stat_rows
from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import ArtifactResult, RecipeResult
from modelbuild.recipe.loading import load
from modelbuild.state import keeping
from modelbuild.store import hash_file
from tests.conftest import RECIPE

AGED = 0.04  # seconds: two ticks, after which what was written is not young


def same_size_and_times(path: Path, old: str, new: str) -> None:
    before = path.stat()
    path.write_text(path.read_text().replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@dataclass
class Small:
    """A recipe that was built, as far as the fast path can see."""

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
