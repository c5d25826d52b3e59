"""What is asked of every look at a pull request from a stranger."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import ClassVar

import modelbuild
from modelbuild.changes.review import markdown, plain
from modelbuild.changes.review.values import Review
from tests.changes.review.repositories import Repo
from tests.program.conftest import SECRET

# Escape sequences, ends of lines, bidirectional overrides: a terminal would obey them.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def looked_at(repo: Repo) -> tuple[Review, str]:
    """The review of what is not committed, and everything that is printed of it."""
    with watching() as opened:
        found = modelbuild.diff("HEAD")
    outside = [p for p in opened if os.path.realpath(p).startswith(str(repo.folder.parent / "outside"))]
    assert not outside
    texts = [plain.render(found), markdown.render(found)]
    assert json.loads(json.dumps(found.as_json()))["recipes"] is not None
    assert len(markdown.render(found)) < 65536
    for text in texts:
        assert not OBEYED.search(text), OBEYED.search(text)
        assert SECRET not in text
        assert len(text) < 300_000
    return found, texts[0]


class watching:
    """The files and folders that this process opens; an audit hook stays for ever, so there is one."""

    heard: ClassVar[list[list[str]]] = []
    hooked: ClassVar[bool] = False

    def __enter__(self) -> list[str]:
        if not watching.hooked:
            sys.addaudithook(watching.hear)
            watching.hooked = True
        watching.heard.append([])
        return watching.heard[-1]

    def __exit__(self, *_: object) -> None:
        watching.heard.pop()

    @staticmethod
    def hear(event: str, arguments: tuple[object, ...]) -> None:
        opens = event in ("open", "os.listdir", "os.scandir")
        if watching.heard and opens and isinstance(arguments[0], str | os.PathLike | bytes):
            watching.heard[-1].append(os.fsdecode(arguments[0]))


def codes(review: Review) -> set[tuple[str, str]]:
    return {(d.level, d.code) for d in review.every()}
