"""A small repository with recipes, for tests of what a change in it means."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from modelbuild.changes.review.asking import ReviewRequest
from modelbuild.changes.review.reviewing import review
from modelbuild.changes.review.values import RecipeReview, Review

RECIPE = """\
name: net
model: {import: "net:Net", weights: w.pt, kwargs: {width: 8}}
inputs: {x: {shape: [batch, 6]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
precision:
  fp32:
  fp16: {method: convert, node_block_list: [/a, /b], tolerance: {relative_l2: 0.01}}
static: [{batch: 1}]
engines: [{precision: fp16}]
verify: {samples: 4}
"""


@dataclass(frozen=True)
class Repo:
    folder: Path

    def git(self, *arguments: str) -> str:
        who = ["-c", "user.name=n", "-c", "user.email=e@e"]
        done = subprocess.run(
            ["git", *who, *arguments], cwd=self.folder, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def edit(self, old: str, new: str, name: str = "net.yaml") -> None:
        path = self.folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def commit(self) -> str:
        self.git("add", "-A")
        self.git("commit", "-qm", "x", "--allow-empty")
        return self.git("rev-parse", "HEAD")

    def review(self, base: str = "HEAD", head: str | None = None, *paths: str, folder: str = "") -> Review:
        place = self.folder / folder
        cache = self.folder.parent / "cache"
        return review(ReviewRequest(base, head, paths, place, out=self.folder / "build", cache=cache))

    def one(self, base: str = "HEAD", head: str | None = None) -> RecipeReview:
        (found,) = self.review(base, head).recipes
        return found

    def said(self) -> list[str]:
        return [change.said for change in self.one().changes]


def made(folder: Path) -> Repo:
    folder.mkdir(parents=True)
    repo = Repo(folder)
    repo.git("init", "-q", "-b", "main")
    repo.write("net.yaml", RECIPE)
    repo.write("net.py", "class Net:\n    width = 1\n")
    repo.write("w.pt", "weights")
    repo.commit()
    return repo
