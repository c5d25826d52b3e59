"""What was sent to a remote, what it holds, and what was wrong with it, for people."""

from __future__ import annotations

from pathlib import Path

from modelbuild.base.escaping import line
from modelbuild.building.pushing import PushedRecipe
from modelbuild.remote.checking import RemoteChecked
from modelbuild.remote.collecting import RemoteCollected
from modelbuild.remote.inventory import RemoteStats
from modelbuild.wording.phrases import few, plural, size


def key_pair(path: Path, public: str) -> str:
    """What to do with a new key."""
    return "\n".join(
        (
            f"{line(str(path))}: the secret key: keep it out of git, and give it to what pushes alone",
            "in pyproject.toml, for who reads what it signs:",
            "",
            "  [tool.modelbuild.remote]",
            f'  trust = ["{public}"]',
        )
    )


def pushed(recipe: PushedRecipe) -> str:
    """One recipe's line, and one for each thing that did not go up."""
    sent = recipe.pushed
    words = [f"{plural(sent.sent, 'result')} sent ({plural(sent.files, 'file')}, {size(sent.bytes)})"]
    words += [f"{sent.there} there"] if sent.there else []
    if sent.between_bytes:
        words.append(f"{size(sent.between_bytes)} of them are intermediate")
    if sent.bare_bytes:
        words.append(f"{size(sent.bare_bytes)} of intermediate files left out")
    if sent.withheld:
        words.append(f"{sent.withheld} that this key may not sign left out")
    place = line(recipe.recipe)
    lines = [f"{place}: {', '.join(words)}" if recipe.results else f"{place}: nothing of it is built"]
    if recipe.stale:
        named = [f"{action} ({reason})" for action, reason in recipe.stale]
        lines.append(f"  not built, not sent: {line(few(named, 2))}")
    lines += [f"  damaged, not sent: object {name}" for name in sent.damaged]
    return "\n".join(lines)


def render(found: RemoteStats | RemoteChecked | RemoteCollected, url: str) -> str:
    """What an owner asked of the remote."""
    place = line(url)
    if isinstance(found, RemoteStats):
        return _stats(found, place)
    if isinstance(found, RemoteChecked):
        return _checked(found, place)
    return (
        f"{place}: deleted {plural(found.entries, 'result')} and {plural(found.files, 'file')}, "
        f"{size(found.bytes)}; {size(found.left)} left"
    )


def _stats(found: RemoteStats, place: str) -> str:
    signers = ", ".join(f"{plural(count, 'result')} by {keyid}" for keyid, count in found.signers.items())
    return "\n".join(
        (
            place,
            f"  results  {found.entries}, {size(found.entry_bytes)}{': ' if signers else ''}{signers}",
            f"  files    {found.files}, {size(found.file_bytes)}",
        )
    )


def _checked(found: RemoteChecked, place: str) -> str:
    lines = [f"{line(d.name)}: {line(d.problem)}" for d in found.damaged]
    count = f"{plural(found.files, 'file')} ({size(found.bytes)}), {plural(found.entries, 'result')}"
    if not lines:
        return f"{place}: {count}: all as they were sent"
    todo = "nobody takes it; delete what is named, and push again"
    return "\n".join((*lines, f"{place}: {count}; {len(lines)} damaged: {todo}"))
