"""One recipe's result in the words and rows that a person reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from modelbuild.base.catalogue import Level
from modelbuild.base.errors import Diagnostic
from modelbuild.base.escaping import line
from modelbuild.base.results import ArtifactResult, RecipeResult
from modelbuild.wording.fitting import Column, columns, elided
from modelbuild.wording.phrases import headroom, plural, size

_TELLING = ("built", "cached", "fetched", "remote", "stale")  # a failure has its own words
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


def folder(results: Iterable[RecipeResult]) -> str | None:
    """Where the files of these results are; None if there are none."""
    every = list(results)
    place = next((os.path.dirname(a.path) for r in every for a in r.artifacts if a.path), None)
    return place if place is None or len(every) == 1 else os.path.dirname(place) or "."


def standing(results: Iterable[RecipeResult]) -> int:
    """How many warnings came with what was there already, and are not told again."""
    return sum(d.again and d.level == "warning" for r in results for d in _every(r))


def said(
    result: RecipeResult, levels: Iterable[Level] = ("error", "warning", "info"), again: bool = True
) -> str:
    """What is wrong, or worth knowing; errors last so that they are in view.

    Without ``again`` only what was not told when a result was made that is from the cache.
    """
    found = [d for d in _every(result) if d.level in levels and (again or not d.again)]
    found.sort(key=lambda d: -_RANK[d.level])
    return "\n".join(d.render() for d in found)


def _every(result: RecipeResult) -> list[Diagnostic]:
    return [*result.diagnostics, *(d for a in result.artifacts for d in _placed(a))]


def _placed(artifact: ArtifactResult) -> Iterable[Diagnostic]:
    for d in artifact.diagnostics:
        yield replace(d, where=artifact.name + (f", {d.where}" if d.where else ""))


_HEAD = (
    Column("artifact", least=24, tail=True),
    Column("status"),
    Column("size", rank=2, right=True),
    Column("time", rank=6, right=True),
    Column("worst error", rank=4, least=28, tail=True),
    Column("headroom", rank=1, right=True),
    Column("proof", rank=5),
    Column("why", rank=3, least=16),
)


def table(artifacts: Iterable[ArtifactResult], room: int | None = None, whole: bool = False) -> str:
    """What became of each artifact, and its worst output's error against the bound that decides.

    Each line has at most ``room`` characters, and long reasons are cut short, unless the ``whole`` is
    asked for.
    """
    rows = []
    for a in artifacts:
        told = a.reason and a.status in _TELLING and a.reason != "never built"
        why = line(str(a.reason)) if told else ""
        seconds = f"{a.seconds:.1f} s" if a.seconds else ""
        rows.append(
            (a.name, a.status, size(a.bytes), seconds, *_error(a.parity), why if whole else _clip(why))
        )
    return "\n".join(columns(_HEAD, rows, None if whole else room))


def _error(parity: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """The worst output's error beside its bound, its headroom, and what kind of proof it is."""
    if not parity or not parity["outputs"]:
        return "", "", ""
    name, worst = next(iter(parity["outputs"].items()))
    proof = f"{parity['evidence']}, {plural(len(parity['shapes']), 'shape')}"
    return (
        f"{line(name)}: {against(worst.get('judged'), worst['headroom'])}",
        headroom(worst["headroom"]),
        proof,
    )


def against(judged: Mapping[str, Any] | None, headroom: float | None) -> str:
    """An error beside the bound that decides: ``relative_l2 6.3e-04 of 0.01``.

    Where nothing was judged by a number: ``equal`` where nothing differs (a headroom of None), ``not
    finite`` where one side alone is; nothing for a proof that was made before bounds were recorded.
    """
    if judged is None:
        return "equal" if headroom is None else "" if headroom else "not finite"
    measure, value, bound = judged["measure"], judged["value"], judged["bound"]
    if measure == "cosine":
        return f"cosine {value:.6g}, least {bound:g}"
    if measure == "sqnr":
        return f"sqnr {value:.1f} dB, least {bound:g}"
    if measure == "mismatch":
        return f"mismatch {value:.2g} of {bound:g}"
    return f"{measure} {_short(value)} of {_short(bound)}"


def _short(number: float) -> str:
    return f"{number:.1e}" if number < 1e-3 else f"{number:.2g}"


def _clip(text: str, limit: int = 72) -> str:
    return elided(text, limit)
