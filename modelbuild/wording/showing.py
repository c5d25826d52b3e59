"""One recipe's result in the words and rows that a person reads. The short way keeps them as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modelbuild.base.catalogue import Level
from modelbuild.base.errors import Diagnostic
from modelbuild.base.escaping import line
from modelbuild.base.results import ArtifactResult, RecipeResult
from modelbuild.wording.phrases import plural, size

_TELLING = ("built", "cached", "stale")  # a failure has its own words
_RANK = {"error": 0, "warning": 1, "info": 2}


def idle(result: RecipeResult) -> bool:
    """Whether there was nothing to do: among other recipes, that is one line."""
    done = result.artifacts and not result.exit_code
    return bool(done) and all(
        a.status == "skipped" or (a.status == "cached" and not a.reason and not a.seconds)
        for a in result.artifacts
    )


def counted(result: RecipeResult) -> str:
    """The artifacts of a recipe with nothing to do: ``6 artifacts, 1 skipped, nothing to do``."""
    skipped = sum(a.status == "skipped" for a in result.artifacts)
    words = [plural(len(result.artifacts), "artifact"), f"{skipped} skipped" if skipped else ""]
    return ", ".join(filter(None, [*words, "nothing to do"]))


def said(result: RecipeResult, levels: Iterable[Level] = ("error", "warning", "info")) -> str:
    """What is wrong, or worth knowing; errors last so that they are in view."""
    every = [*result.diagnostics, *(d for a in result.artifacts for d in _placed(a))]
    found = [d for d in every if d.level in levels]
    found.sort(key=lambda d: -_RANK[d.level])
    return "\n".join(d.render() for d in found)


def _placed(artifact: ArtifactResult) -> Iterable[Diagnostic]:
    for d in artifact.diagnostics:
        place = artifact.name + (f", {d.where}" if d.where else "")
        yield Diagnostic(d.code, d.message, d.hint, place, d.level, d.excerpt)


def table(artifacts: Iterable[ArtifactResult], whole: bool = False) -> str:
    """What became of each artifact, and its worst output's error against the tolerance.

    Long reasons are cut short, unless the ``whole`` of them is asked for.
    """
    rows = [("artifact", "status", "size", "time", "worst output", "tolerance", "headroom", "proof")]
    for a in artifacts:
        told = a.reason and a.status in _TELLING and a.reason != "never built"
        status = line(f"{a.status} ({a.reason if whole else _clip(str(a.reason))})") if told else a.status
        seconds = f"{a.seconds:.1f} s" if a.seconds else ""
        rows.append((a.name, status, size(a.bytes), seconds, *_error(a.parity)))
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    right = {2, 3, 6}
    lines = []
    for number, row in enumerate(rows):
        cells = [
            c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
        if number == 0:
            lines.append("  " + "  ".join("─" * w for w in widths))
    return "\n".join(lines)


def _error(parity: Mapping[str, Any] | None) -> tuple[str, str, str, str]:
    if not parity or not parity["outputs"]:
        return "", "", "", ""
    name, worst = next(iter(parity["outputs"].items()))
    error = name if worst["relative_l2"] is None else f"{name}: L2 {worst['relative_l2']:.1e}"
    proof = f"{parity['evidence']}, {plural(len(parity['shapes']), 'shape')}"
    headroom = worst["headroom"]
    bounds = parity["tolerance"]
    if name in parity.get("spread", ()) and ";" not in bounds:  # of floats: nothing in it is counted
        bounds = bounds.partition(", mismatch ")[0]
    return error, bounds, "exact" if headroom is None else f"x{headroom:.3g}", proof


def _clip(text: str, limit: int = 48) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
