"""A tiny project that was built, and what a report gathers of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import modelbuild
from modelbuild.building.request import Request
from modelbuild.views.reporting.gathering import gather
from modelbuild.views.reporting.page import render
from modelbuild.views.reporting.values import ShownModel

MORE = "precision: {fp32: , fp16: }\nstatic: [{batch: 1}]\n"
ROWS = {1: 2, 2: 2, 3: 2, 8: 2}  # batch -> samples


@dataclass
class Heard:
    """A reporter that keeps what was started."""

    actions: list[str] = field(default_factory=list)

    def begun(self, course: Any) -> None: ...
    def started(self, recipe: str, action: str, why: str | None) -> None:
        self.actions.append(action)

    def ended(self, recipe: str, action: str, ended: Any) -> None: ...
    def told(self, recipe: str, action: str, word: str) -> None: ...
    def tick(self) -> None: ...


@dataclass
class Place:
    folder: Path

    @property
    def out(self) -> Path:
        return self.folder / "build"

    @property
    def manifest(self) -> Path:
        return self.out / "net" / "manifest.json"

    @property
    def recipe(self) -> Path:
        return self.folder / "net.yaml"

    def request(self, *recipes: Path, cache: str = "cache") -> Request:
        return Request([str(r) for r in recipes], self.out, self.folder / cache)

    def models(self, *recipes: Path, cache: str = "cache") -> tuple[list[ShownModel], list[str]]:
        """What is gathered, and the actions that ran for it."""
        heard = Heard()
        return gather(self.request(*recipes, cache=cache), heard), heard.actions

    def model(self, *recipes: Path, cache: str = "cache") -> ShownModel:
        (found,) = self.models(*recipes, cache=cache)[0]
        render([found])
        return found

    def build(self, **more: Any) -> modelbuild.BuildResult:
        return modelbuild.build(self.recipe, self.out, self.folder / "cache", **more)
