"""Progress: a live picture on a terminal, one line per event elsewhere. Always on standard error."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from modelbuild import settings
from modelbuild.base.escaping import line
from modelbuild.building.request import Request
from modelbuild.building.scheduling.runs import Ended, Reporter, Silent
from modelbuild.wording import colours, output


class Lines:
    """One line when an action starts and one when it ends; nothing for what was cached."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr

    def started(self, recipe: str, action: str, why: str | None) -> None:
        self._say(f"{recipe}: {action}" + (f" ({why})" if why else ""))

    def ended(self, recipe: str, action: str, ended: Ended) -> None:
        if ended.status in ("built", "failed"):
            done = "done" if ended.status == "built" else "FAILED"
            self._say(f"{recipe}: {action} {done} in {ended.seconds:.1f} s")

    def told(self, recipe: str, action: str, word: str) -> None:
        self._say(f"{recipe}: {action}: {word}")

    def tick(self) -> None:
        pass

    def _say(self, text: str) -> None:
        output.write(line(text), self.stream, flush=True)


class Live:
    """What runs and for how long, redrawn in place; what is done scrolls by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live as Display

        self._console = Console(stderr=True, highlight=False)
        self._running: dict[tuple[str, str], float] = {}
        self._words: dict[tuple[str, str], str] = {}
        self._display = Display(console=self._console, transient=True, refresh_per_second=8)
        self._display.start()

    def started(self, recipe: str, action: str, why: str | None) -> None:
        self._running[recipe, action] = time.monotonic()
        self.tick()

    def ended(self, recipe: str, action: str, ended: Ended) -> None:
        from rich.text import Text

        self._running.pop((recipe, action), None)
        self._words.pop((recipe, action), None)
        if ended.status in ("built", "failed"):
            mark, style = ("✓", "green") if ended.status == "built" else ("✗", "red")
            said = Text.assemble(
                (f"{mark} ", style), line(f"{recipe}: {action} "), (f"{ended.seconds:.1f} s", "dim")
            )
            self._console.print(said)
        self.tick()

    def tick(self) -> None:
        from rich.text import Text

        now = time.monotonic()
        lines = [
            line(
                f"  {recipe}: {action} {now - start:.0f} s  {self._words.get((recipe, action), '')}"
            ).rstrip()
            for (recipe, action), start in self._running.items()
        ]
        self._display.update(Text("\n".join(lines), style="cyan"))

    def told(self, recipe: str, action: str, word: str) -> None:
        self._words[recipe, action] = word
        self.tick()

    def close(self) -> None:
        self._display.stop()


def reporter(volume: int, shared: bool = False) -> Reporter:
    """The one that suits standard error, which may be ``shared`` with a step that has the terminal, too. A
    picture in place needs more of a terminal than colour."""
    if volume == settings.QUIET:
        return Silent()
    return Live() if colours.wanted(sys.stderr) and volume == settings.NORMAL and not shared else Lines()


def places(request: Request) -> str:
    """Where things are and come from, before a build."""
    root = request.store().root
    return "\n".join(
        (
            f"artifacts: {request.out}",
            f"cache: {root}",
            f"logs: {root}/logs, in a folder per project and recipe",
            f"actions side by side: {request.job_count()}",
        )
    )
