"""What a cache holds, what was wrong with it and what was deleted, for people."""

from __future__ import annotations

from pathlib import Path

from modelbuild.store import Checked, Collected, Stats
from modelbuild.wording.phrases import size, span


def render(found: Stats | Checked | Collected, root: Path) -> str:
    if _nothing(found):
        return f"{root}: nothing is stored there"
    if isinstance(found, Stats):
        return _stats(found, root)
    return _checked(found, root) if isinstance(found, Checked) else _collected(found, root)


def _nothing(found: Stats | Checked | Collected) -> bool:
    """Also of a folder that does not exist: its name may be mistyped."""
    if isinstance(found, Stats):
        return not (found.objects or found.entries or found.used.builds)
    if isinstance(found, Checked):
        return not (found.objects or found.entries or found.histories or found.damaged)
    return not (found.objects or found.left)


def _stats(found: Stats, root: Path) -> str:
    used = found.used
    asked = used.hits + used.misses
    share = f" ({100 * used.hits / asked:.0f} %)" if asked else ""
    return "\n".join(
        (
            str(root),
            f"  objects  {found.objects}, {size(found.object_bytes)}; with all the rest {size(found.bytes)}",
            f"  results  {found.entries}",
            f"  builds   {used.builds} that had something to do",
            f"  hits     {used.hits} of {asked} actions{share}",
            f"  saved    {span(used.seconds_saved)} of work, {size(used.bytes_reused)} not made again",
        )
    )


def _checked(found: Checked, root: Path) -> str:
    lines = [
        f"{d.what} {d.place}: {d.problem}" + ("" if d.removed else " (still there)") for d in found.damaged
    ]
    count = f"{found.objects} objects ({size(found.bytes)}), {found.entries} results"
    if not lines:
        return f"{root}: {count}: all as they were stored"
    aside = "what is damaged was taken out, and is made again when it is needed"
    return "\n".join((*lines, f"{root}: {count}; {len(lines)} damaged: {aside}"))


def _collected(found: Collected, root: Path) -> str:
    lines = [f"{root}: deleted {found.objects} objects, {size(found.bytes)}; {size(found.left)} left"]
    if found.needed:
        lines.append(f"  {size(found.needed)} over the limit stay: recipes that are there need them")
    if found.running:
        lines.append(f"  {size(found.running)} over the limit stay: builds at work use them")
    return "\n".join(lines)
