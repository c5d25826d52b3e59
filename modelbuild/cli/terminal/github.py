"""Where it runs as a step of GitHub Actions: diagnostics beside the lines that they are about, a summary
of a build, and nothing printed that the runner would take for a command.

The runner reads both streams. A line that begins with ``::``, also after spaces, is a command to it
(``::add-mask::``, ``::stop-commands::``), and so is ``##[`` anywhere in a line: text that others wrote, a
file's name or a model's error, must not become one.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from modelbuild.base.catalogue import Level
from modelbuild.base.errors import Diagnostic
from modelbuild.base.escaping import visible
from modelbuild.wording import output, phrases
from modelbuild.wording.phrases import plural

if TYPE_CHECKING:
    from modelbuild.base.results import ArtifactResult, BuildResult, RecipeResult

_KINDS: dict[Level, str] = {"error": "error", "warning": "warning", "info": "notice"}
_MOST = 10  # of each kind are shown for a step
_LONGEST = 4000  # characters of a message; 4 KiB are shown
_MOST_ROWS = 100
_MOST_BYTES = 1 << 19  # of a step's summary, which has at most 1 MiB

# A line's start and white space, as .NET trims it; it reads lines that end in CR, LF or both.
_COMMAND = re.compile(r"(^|[\r\n])([^\S\r\n]*)(?=::)")
_OLD_COMMAND = "##["


def wanted() -> bool:
    """Whether this is a step of GitHub Actions."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


# ---- diagnostics -------------------------------------------------------------------------------


def tell(result: BuildResult) -> None:
    """Annotate all that a command found, on standard error."""
    rows = [(r.recipe, d) for r in result.recipes for d in r.diagnostics]
    rows += [(r.recipe, d) for r in result.recipes for a in r.artifacts for d in a.diagnostics]
    annotate(rows)


def annotate(found: Iterable[tuple[str, Diagnostic]]) -> None:
    """Annotate diagnostics, each with the recipe that it is of, on standard error; elsewhere do nothing.

    Of each kind only as many as are shown; then the last one says how many there are.
    """
    if not wanted():
        return
    rows = list(dict.fromkeys(found))
    for level, kind in _KINDS.items():
        of_kind = [row for row in rows if row[1].level == level]
        for recipe, diagnostic in of_kind[: _MOST if len(of_kind) <= _MOST else _MOST - 1]:
            _command(_annotation(kind, recipe, diagnostic))
        if len(of_kind) > _MOST:
            left = len(of_kind) - _MOST + 1
            _command(f"::{kind} title=modelbuild::and {left} more of this kind: the log has them")


def _annotation(kind: str, recipe: str, found: Diagnostic) -> str:
    file, line, column = _place(found.where, recipe)
    said = f"{found.where}: {found.message}" if file is None and found.where else found.message
    if found.hint:
        said += f"\nhint: {found.hint}"
    if len(said) > _LONGEST:
        said = said[: _LONGEST - 1] + "…"
    properties = {"file": _from_workspace(file or recipe), "line": line, "col": column, "title": found.code}
    named = ",".join(f"{name}={_escaped(value, ':,')}" for name, value in properties.items() if value)
    return f"::{kind} {named}::{_escaped(said)}"


def _place(where: str | None, recipe: str) -> tuple[str | None, str, str]:
    """File, line and column of a diagnostic, if it is about a file that is there; code is named from its
    recipe's folder."""
    match = re.fullmatch(r"(.+?)(?::(\d{1,9}))?(?::(\d{1,9}))?", where or "", re.DOTALL)
    beside = os.path.join(os.path.dirname(recipe), match[1]) if match else ""
    file = next((path for path in (match[1], beside) if _is_file(path)), None) if match else None
    if match is None or file is None:
        return None, "", ""
    return file, match[2] or "", match[3] or ""


def _is_file(path: str) -> bool:
    try:
        return os.path.isfile(path)
    except ValueError:
        return False


def _from_workspace(path: str) -> str:
    """As GitHub names files: from the repository on."""
    workspace = os.environ.get("GITHUB_WORKSPACE")
    if not path or not workspace:
        return path
    whole, root = os.path.abspath(path), os.path.abspath(workspace)
    return os.path.relpath(whole, root) if whole.startswith(root.rstrip("/") + "/") else path


def _escaped(text: str, more: str = "") -> str:
    """As the runner reads it back; what a terminal would obey is shown."""
    shown = visible(text, keep="\r\n")
    for c in "%\r\n" + more:
        shown = shown.replace(c, f"%{ord(c):02X}")
    return shown


def _command(line: str) -> None:
    sys.stdout.flush()
    stream: Any = sys.stderr
    if isinstance(stream, _Guarded):
        stream.flush()
        stream = stream.stream
    output.write(line.replace(_OLD_COMMAND, "##%5B"), stream, flush=True)


# ---- the summary of a step ---------------------------------------------------------------------


def summarise(result: BuildResult) -> None:
    """Append a table of what was built to the summary of this step, if there is such a file."""
    path = os.environ.get("GITHUB_STEP_SUMMARY")
    if not path or not wanted() or not result.recipes:
        return
    with contextlib.suppress(OSError, ValueError), Path(path).open("a", encoding="utf-8") as file:
        file.write("\n".join(_table(result)) + "\n\n")


def _table(result: BuildResult) -> Iterator[str]:
    rows = [(r.name, a) for r in result.recipes for a in r.artifacts]
    wrong = [r for r in result.recipes if r.exit_code]
    counts = {"recipe": len(result.recipes), "artifact": len(rows)}
    words = [plural(count, what) for what, count in counts.items()]
    words += [f"**{len(wrong)} failed**"] if wrong else []
    yield f"### modelbuild: {', '.join(words)}\n"
    if rows:
        yield "| recipe | artifact | status | size | headroom |"
        yield "|---|---|---|--:|--:|"
    # What failed is never below the cut.
    rows.sort(key=lambda row: row[1].status in ("cached", "built", "fetched", "skipped"))
    for name, artifact in rows[:_MOST_ROWS]:
        yield "| " + " | ".join(map(_markdown, (name, *_cells(artifact)))) + " |"
    if len(rows) > _MOST_ROWS:
        yield f"\nand {len(rows) - _MOST_ROWS} more"
    yield from _cut(f"\n- {': '.join(map(_markdown, row))}" for r in wrong for row in _failures(r))


def _failures(recipe: RecipeResult) -> Iterator[tuple[str, ...]]:
    """What is wrong with a recipe, and each artifact that failed with the first of its errors."""
    for found in [d for d in recipe.diagnostics if d.level == "error"][:_MOST]:
        yield (found.where or recipe.recipe, found.code, found.message)
    for artifact in recipe.artifacts:
        first = next((d for d in artifact.diagnostics if d.level == "error"), None)
        if first is not None:
            yield (first.where or recipe.recipe, artifact.name, first.code, first.message)
        elif artifact.status == "failed":
            yield (recipe.recipe, artifact.name, "failed")


def _cut(rows: Iterable[str]) -> Iterator[str]:
    """As many as a summary may hold beside its table."""
    every, size = list(rows), 0
    for number, row in enumerate(every):
        size += len(row.encode())
        if size > _MOST_BYTES:
            yield f"\nand {len(every) - number} more"
            return
        yield row


def _cells(artifact: ArtifactResult) -> Sequence[str]:
    outputs = (artifact.parity or {}).get("outputs") or {}
    first = next(iter(outputs.values()), None)  # the worst is the first
    told = "" if first is None else phrases.headroom(first["headroom"])
    return artifact.name, artifact.status, phrases.size(artifact.bytes), told


def _markdown(text: str) -> str:
    """Text in which nothing is markup, a link or a mention."""
    cut = text if len(text) <= 300 else text[:299] + "…"
    return "".join(
        c if c.isalnum() or c in " -/" else f"&#{ord(c)};" if c.isprintable() else "&#65533;" for c in cut
    )


# ---- what is printed ---------------------------------------------------------------------------


@contextlib.contextmanager
def guarded(json: bool) -> Iterator[None]:
    """While it lasts, nothing that is printed is a command to the runner; elsewhere do nothing.

    With ``json`` standard output is an object, and stays one.
    """
    if not wanted():
        yield
        return
    before = sys.stdout, sys.stderr
    guards = _Guarded(sys.stdout, json), _Guarded(sys.stderr)
    sys.stdout, sys.stderr = guards
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for guard in guards:
            with contextlib.suppress(BrokenPipeError):
                guard.release()


class _Guarded:
    """A stream whose lines are no commands. It holds a line back until it is whole."""

    def __init__(self, stream: TextIO, json: bool = False) -> None:
        self.stream = stream
        # In an object ``##[`` is part of a string, and no line of it begins with a colon.
        self._instead = "##\\u005b" if json else "##\\["
        self._held = ""

    def write(self, text: str) -> int:
        whole, end, self._held = (self._held + text).rpartition("\n")
        if end:
            self.stream.write(self._harmless(whole + end))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self.stream.flush()

    def release(self) -> None:
        """Print the end of what was written, which has no end of line."""
        held, self._held = self._held, ""
        if held:
            self.stream.write(self._harmless(held))

    def _harmless(self, text: str) -> str:
        return _COMMAND.sub(r"\1\2\\", text).replace(_OLD_COMMAND, self._instead)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)
