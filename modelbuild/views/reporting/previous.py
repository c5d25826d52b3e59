"""What a report carries for the next one, and what has changed since the last.

The page holds its own figures as JSON, and those that it was compared with. The next report reads them out
of the file that it is about to replace. One that is written anew without a change is compared with the
same as before, and so has the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbuild.base import shapes
from modelbuild.inspection.published import content
from modelbuild.views.reporting.html import Html, data, tag
from modelbuild.views.reporting.values import ShownArtifact, ShownModel
from modelbuild.wording.phrases import plural, size

Figures = Mapping[str, Any]
"""``{model: {"built": seconds since 1970 or None, "artifacts": {name: figures}}}``."""

_MARK = "modelbuild-report"
_VERSION = 1
_MOST_BYTES = 400_000  # of a page's 5 MB: of very many artifacts less is carried, or nothing

_ARTIFACT = shapes.record(
    {"status": shapes.text, "bytes": shapes.maybe(shapes.count), "sha256": shapes.maybe(shapes.text),
     "headroom": shapes.maybe(shapes.text)}
)  # fmt: skip
_LATEST = 253402300799  # the end of the year 9999, in seconds since 1970
_MODEL = shapes.record(
    {
        "built": shapes.maybe(lambda v: shapes.seconds(v) and v <= _LATEST),
        "artifacts": shapes.mapping(_ARTIFACT),
    }
)
_FIGURES = shapes.mapping(_MODEL)
_PAGE = shapes.record({"version": shapes.one_of(_VERSION), "now": _FIGURES, "before": shapes.maybe(_FIGURES)})


@dataclass(frozen=True)
class Carried:
    """The figures of a report, and those that they are compared with: None if there are none."""

    now: Figures
    before: Figures | None = None

    def element(self) -> Html | None:
        """As the page carries it: without ``before`` where both are too much, or None where one is."""
        for before in (self.before, None):
            rows = data({"version": _VERSION, "now": self.now, "before": before})
            if len(rows) <= _MOST_BYTES:
                return tag("script", rows, id=_MARK, type="application/json")
        return None


@dataclass(frozen=True)
class ShownChange:
    """What is another than it was, of a model or one of its artifacts; ``bad``: it is not proven any more."""

    model: str
    artifact: str | None
    told: str
    bad: bool = False


def read(path: Path) -> Carried | None:
    """What the report in this file carries; None if there is none, or it is not what a report writes."""
    try:
        page = content(path).decode()
        found = json.loads(_carried(page), parse_constant=_refused)
    except (OSError, ValueError, RecursionError):
        return None
    return Carried(found["now"], found["before"]) if _PAGE(found) else None


def _carried(page: str) -> str:
    """The text of the element; nothing that is shown can look like it, as no ``<`` of others is in a page."""
    _, _, rest = page.partition(f'<script id="{_MARK}" type="application/json">')
    return rest.partition("</script>")[0]


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def following(models: Sequence[ShownModel], last: Carried | None) -> Carried:
    """What a report of these models carries, where ``last`` was what the file has carried so far."""
    now: Figures = json.loads(data({m.name: _figures(m) for m in models}))
    if last is None:
        return Carried(now)
    return Carried(now, last.before if not list(_changes(last.now, now)) else last.now)


def _figures(model: ShownModel) -> Figures:
    return {"built": model.built, "artifacts": {a.name: _of(a) for a in model.artifacts}}


def _of(artifact: ShownArtifact) -> Figures:
    worst = artifact.worst()
    return {
        "status": "built" if artifact.good else artifact.status,
        "bytes": artifact.bytes,
        "sha256": artifact.sha256,
        "headroom": worst[1].told() if worst else None,
    }


def changes(carried: Carried) -> list[ShownChange]:
    """By model and artifact, in the order of the report; what is gone comes last."""
    return [] if carried.before is None else list(_changes(carried.before, carried.now))


def since(carried: Carried) -> float | None:
    """When the last of the builds was, that are compared with, in seconds since 1970."""
    return max((m["built"] for m in (carried.before or {}).values() if m["built"]), default=None)


def _changes(before: Figures, now: Figures) -> Iterator[ShownChange]:
    for name, model in now.items():
        if name not in before:
            yield ShownChange(name, None, f"new, with {plural(len(model['artifacts']), 'artifact')}")
            continue
        yield from _moved(name, before[name]["artifacts"], model["artifacts"])
    for name in before:
        if name not in now:
            yield ShownChange(name, None, "not in this report any more")


def _moved(model: str, before: Figures, now: Figures) -> Iterator[ShownChange]:
    for name, new in now.items():
        bad = new["status"] in ("failed", "blocked")
        old = before.get(name)
        if old is None:
            told = [new["status"], size(new["bytes"]), _headroom(new)]
            yield ShownChange(model, name, "new: " + ", ".join(filter(None, told)), bad)
        elif words := list(_words(old, new)):
            yield ShownChange(model, name, ", ".join(words), bad and new["status"] != old["status"])
    for name in before:
        if name not in now:
            yield ShownChange(model, name, "gone")


def _words(old: Figures, new: Figures) -> Iterator[str]:
    if old["status"] != new["status"]:
        yield f"{old['status']} -> {new['status']}"
    if None not in (old["bytes"], new["bytes"]) and old["bytes"] != new["bytes"]:
        told = f"{size(old['bytes'])} -> {size(new['bytes'])}"
        yield told if size(old["bytes"]) != size(new["bytes"]) else f"{new['bytes'] - old['bytes']:+,} bytes"
    elif None not in (old["sha256"], new["sha256"]) and old["sha256"] != new["sha256"]:
        yield "other bytes of the same size"
    if old["headroom"] != new["headroom"] and new["headroom"] is not None:
        yield f"headroom {old['headroom']} -> {new['headroom']}" if old["headroom"] else _headroom(new)


def _headroom(figures: Figures) -> str:
    return f"headroom {figures['headroom']}" if figures["headroom"] else ""
