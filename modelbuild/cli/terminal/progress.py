"""Progress: a live picture on a terminal, one line per event elsewhere. Always on standard error."""

from __future__ import annotations

import math
import sys
import time
from typing import TYPE_CHECKING, TextIO

from modelbuild import settings
from modelbuild.base.escaping import line
from modelbuild.building.request import Request
from modelbuild.building.scheduling.runs import Course, Ended, Reporter, Silent
from modelbuild.wording import colours, output
from modelbuild.wording.fitting import elided
from modelbuild.wording.phrases import span

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_LONGEST = 300  # characters of a reason


class Lines:
    """One line when an action starts and one when it ends; nothing for what was cached."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self._course: Course | None = None

    def begun(self, course: Course) -> None:
        self._course = course

    def started(self, recipe: str, action: str, why: str | None) -> None:
        self._say(f"{recipe}: {action}" + (f" ({why})" if why else ""))

    def ended(self, recipe: str, action: str, ended: Ended) -> None:
        if ended.status in ("built", "failed"):
            done = "done" if ended.status == "built" else "FAILED"
            said = f": {why}" if (why := reason(ended)) else ""
            self._say(f"{recipe}: {action} {done} in {ended.seconds:.1f} s{said}")

    def told(self, recipe: str, action: str, word: str) -> None:
        self._say(f"{recipe}: {action}: {word}")

    def tick(self) -> None:
        pass

    def _say(self, text: str) -> None:
        count = f"{counted(self._course)} " if self._course is not None else ""
        output.write(line(count + text), self.stream, flush=True)


class Live:
    """How far it is, what runs and for how long, redrawn in place; what is done scrolls by above it.

    With ``reasons`` it scrolls by why something runs, too.
    """

    def __init__(self, reasons: bool = False, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live as Display

        self._console = console or Console(stderr=True, highlight=False)
        self._reasons = reasons
        self._course: Course | None = None
        self._head = ""
        self._headed = -math.inf  # when that was said last
        self._running: dict[tuple[str, str], float] = {}
        self._words: dict[tuple[str, str], str] = {}
        self._display = Display(console=self._console, transient=True, refresh_per_second=8)
        self._display.start()

    def begun(self, course: Course) -> None:
        self._course, self._headed = course, -math.inf

    def started(self, recipe: str, action: str, why: str | None) -> None:
        self._running[recipe, action] = time.monotonic()
        if self._reasons and why:
            self._print(f"{recipe}: {action} ({why})", "dim")
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
        if why := reason(ended):
            self._print(f"  {why}", "red")
        self._headed = -math.inf
        self.tick()

    def tick(self) -> None:
        from rich.text import Text

        self._display.update(Text("\n").join(self.picture()))

    def picture(self) -> list[Text]:
        """What is drawn: no line is wider than the terminal, and there are no more than it has."""
        from rich.text import Text

        now = time.monotonic()
        rows = [
            f"  {recipe}: {action} {now - start:.0f} s  {self._words.get((recipe, action), '')}"
            for (recipe, action), start in self._running.items()
        ]
        head = [Text(self._said(now), "bold")] if self._course is not None and rows else []
        most = max(1, self._console.size.height - len(head) - 1)  # the cursor's line stays free
        if len(rows) > most:
            rows = [*rows[: most - 1], f"  and {len(rows) - most + 1} more"]
        drawn = [*head, *(Text(line(row).rstrip(), "cyan") for row in rows)]
        for row in drawn:
            row.truncate(self._console.size.width, overflow="ellipsis")
        return drawn

    def told(self, recipe: str, action: str, word: str) -> None:
        self._words[recipe, action] = word
        self.tick()

    def close(self) -> None:
        self._display.stop()

    def _said(self, now: float) -> str:
        """Asked once a second: it goes over all that is left."""
        if self._course is not None and now - self._headed >= 1:
            self._head, self._headed = (
                " ".join(filter(None, (counted(self._course), left(self._course)))),
                now,
            )
        return self._head

    def _print(self, text: str, style: str) -> None:
        from rich.text import Text

        self._console.print(Text(line(text), style))


def counted(course: Course) -> str:
    """``[7/18]``."""
    done, total = course.count()
    return f"[{done}/{total}]"


def left(course: Course) -> str:
    """``about 40 s left``; ``at least`` where some of it is not known, and nothing where all is not."""
    found = course.left()
    if found is None:
        return ""
    return f"{'about' if found.whole else 'at least'} {span(max(1.0, found.seconds))} left"


def reason(ended: Ended) -> str:
    """Why it failed, in a line: all of it is told at the end."""
    if ended.status != "failed":
        return ""
    wrong = next((d for d in ended.diagnostics if d.level == "error"), None)
    return "" if wrong is None else elided(wrong.render().partition("\n")[0], _LONGEST)


def reporter(volume: int, shared: bool = False) -> Reporter:
    """The one that suits standard error, which may be ``shared`` with a step that has the terminal, too. A
    picture in place needs more of a terminal than colour."""
    if volume == settings.QUIET:
        return Silent()
    if shared or not colours.wanted(sys.stderr):
        return Lines()
    return Live(reasons=volume == settings.VERBOSE)


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
