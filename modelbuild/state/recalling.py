"""What the last build of a recipe said, if everything that it saw is as it was.

Imported by every command: see ``state.format`` for what that asks of a module.
"""

import os

from modelbuild.base import stat_rows
from modelbuild.state import format as state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Recall:
    """Answers for one command, into ``out`` and from ``cwd``; all paths are absolute."""

    def __init__(self, cache: str, out: str, cwd: str) -> None:
        self.cache = cache
        self.out = out
        self.cwd = cwd
        self.look = stat_rows.Look()
        self._program = state.program(state.program_rows())

    def known(self, recipe: str) -> state.State | None:
        """The state of a recipe that has nothing to do; None if it has, or nobody can tell."""
        whose = (recipe, self.out, self.cwd)
        place = state.place(self.cache, *whose)
        data = state.load(place)
        known = state.unpacked(data) if data is not None else None
        if known is None or known.program != self._program or known.whose != whose:
            return None
        return known if self._holds(known, place) else None

    def answer(self, known: state.State, given: str, out: str) -> "dict[str, Any] | None":
        """What ``build --format json`` says of the recipe; None if it is not there any more.

        ``given`` and ``out`` are the recipe and the output folder as this command names them.
        """
        import json
        import zlib

        data = state.load(state.place(self.cache, *known.whose) + ".json")
        if data is None or f"{zlib.crc32(data):08x}" != known.answer:
            return None
        found: dict[str, Any] = json.loads(data)
        if given != known.given and _speaks_of(known.given, found):
            return None
        found["recipe"] = given
        for artifact in found["artifacts"]:
            if artifact["path"]:
                front = "" if out == "." else f"{out}/"
                artifact["path"] = f"{front}{known.name}/{artifact['name']}"
        return found

    def _holds(self, known: state.State, place: str) -> bool:
        """Whether everything that a build saw is as it was."""
        for name, value in known.environment:
            now = os.environ.get(name)
            if now != value and not _same_digest(name, value, now):
                return False
        moved = self.look.moved(known.rows)
        if not moved:
            return True
        from modelbuild.state.refreshing import refreshed

        return refreshed(known, moved, self.look, place)


def _speaks_of(recipe: str, answer: "dict[str, Any]") -> bool:
    """Whether the diagnostics name the recipe: by a path that it has no more."""
    said = [*answer["diagnostics"], *(d for a in answer["artifacts"] for d in a["diagnostics"])]
    return any(recipe in text for d in said for text in d.values() if text)


def _same_digest(name: str, value: str | None, now: str | None) -> bool:
    """A variable that may be a secret, or is long, is known by its digest."""
    if value is None or not value.startswith("sha256:"):
        return False
    from modelbuild.trace import facts

    return facts.variable(name, now) == value
