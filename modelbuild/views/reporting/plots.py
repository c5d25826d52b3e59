"""The plots of a model, as Vega-Lite specs: plain data, drawn by the page.

Colours are named, ``var(--bad)``, and the page puts in those of its theme. Names that come from
users are values of the data and nothing else: an expression or a field is never made of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelbuild.views.reporting.html import clipped
from modelbuild.views.reporting.values import ErrorsAt, ShownAction, ShownArtifact, ShownModel
from modelbuild.wording.phrases import size

Spec = dict[str, Any]
Row = dict[str, Any]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name; nothing is fetched
_PRECISIONS = {"fp32": "var(--blue)", "fp16": "var(--teal)", "bf16": "var(--violet)", "int8": "var(--pink)"}
_ENGINE = "var(--amber)"
_CATEGORIES = ["var(--blue)", "var(--teal)", "var(--amber)", "var(--violet)", "var(--pink)", "var(--slate)"]
_HEADROOMS = (1e-6, 1e12)  # less is drawn at the left end, more as what is exact, at the right one
# Names before an axis; of one that is too long both ends are shown, which is where names differ. The page
# has fewer letters for them on a phone.
_LETTERS = 36
LABELS = {
    "labelLimit": 300,
    "labelExpr": "length(datum.label) > letters "
    "? slice(datum.label, 0, letters / 2) + '…' + slice(datum.label, -letters / 2) : datum.label",
}
_DECADES = 1e-13  # of the largest error: what is smaller is not drawn


def sizes(model: ShownModel) -> Spec | None:
    """The bytes of each artifact, as bars."""
    rows: list[Row] = [
        {
            "name": _label(model, a),
            "size": a.bytes,
            "text": size(a.bytes),
            "kind": "engine" if a.kind == "engine" else a.precision,
        }
        for a in model.artifacts
        if a.bytes
    ]
    if not rows:
        return None
    kinds = [k for k in (*_PRECISIONS, "engine") if any(r["kind"] == k for r in rows)]
    colours = [_PRECISIONS.get(k, _ENGINE) for k in kinds]
    most = max(r["size"] for r in rows)
    base = {"y": {"field": "name", "type": "nominal", "sort": None, "title": None, "axis": LABELS}}
    x = {
        "field": "size",
        "type": "quantitative",
        "axis": None,
        "scale": {"domain": [0, most * 1.25]},  # room for the text behind the longest
    }
    colour = {**legend("kind", kinds, colours), "legend": None}
    bars = {
        "mark": {"type": "bar", "cornerRadiusEnd": 3, "height": {"band": 0.7}},
        "encoding": {
            **base, "x": x, "color": colour,
            "tooltip": [shown("name", "artifact"), shown("text", "size"), shown("kind", "kind")],
        },
    }  # fmt: skip
    text = {
        "mark": {"type": "text", "align": "left", "dx": 6, "color": "var(--text)"},
        "encoding": {**base, "x": x, "text": {"field": "text", "type": "nominal"}},
    }
    return spec("Size of each artifact", rows, {"layer": [bars, text], "height": 28 * len(rows)})


def errors(model: ShownModel, most: int = 120) -> Spec | None:
    """The headroom of every output at every sampled shape, against the line at x1.

    Of more than ``most`` shapes of artifacts, each a row 18 px high, the worst are shown.
    """
    axes = common_axes(model)
    rows = [
        _error_row(model, a, e, axes)
        for a in model.artifacts
        if a.parity is not None
        for e in a.parity.errors
    ]
    if not rows:
        return None
    keep = dict.fromkeys(r["at"] for r in rows)
    if len(keep) > most:
        worst = {at: min(_or_far(r["headroom"]) for r in rows if r["at"] == at) for at in keep}
        chosen = set(sorted(keep, key=lambda at: worst[at])[:most])
        rows = [r for r in rows if r["at"] in chosen]
    low = min(0.1, *(_or_far(r["headroom"]) for r in rows)) / 2
    high = max(100.0, *(r["headroom"] or 0.0 for r in rows)) * 5
    rows = [{**r, "headroom": r["headroom"] or high / 2} for r in rows]
    scale = {"type": "log", "domain": [low, high], "nice": False}
    axis = {
        "labelExpr": "'x' + format(datum.value, '~g')",
        "values": _decades(low, high),
        "title": "headroom: tolerance / error",
    }
    outputs = list(dict.fromkeys(r["output"] for r in rows))
    zone = {
        "data": {"values": [{"from": low, "to": 1}]},
        "mark": {"type": "rect", "color": "var(--bad)", "opacity": 0.1},
        "encoding": {"x": _x("from", scale, axis), "x2": {"field": "to"}},
    }
    line = {
        "data": {"values": [{"at": 1}]},
        "mark": {"type": "rule", "color": "var(--bad)", "strokeWidth": 1.5},
        "encoding": {"x": _x("at", scale, axis)},
    }
    points = {
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.9},
        "encoding": {
            "x": _x("headroom", scale, axis),
            "y": {"field": "at", "type": "nominal", "sort": None, "title": None,
                  "axis": {**LABELS, "grid": True}},
            "color": legend("output", outputs),
            "shape": {"field": "verdict", "type": "nominal", "title": None, "legend": None,
                      "scale": {"domain": ["within", "beyond"], "range": ["circle", "cross"]}},
            "tooltip": [
                shown("artifact"), shown("shape"), shown("output"), shown("error"),
                shown("told", "headroom"), number("relative_l2", "relative L2"),
                number("max_abs", "largest error"), shown("cosine"), shown("tolerance"), shown("evidence"),
            ],
        },
    }  # fmt: skip
    return spec(
        "Headroom per output and shape", rows,
        {"layer": [zone, line, points], "height": 18 * len({r["at"] for r in rows})},
    )  # fmt: skip


def spread(model: ShownModel, output: str) -> Spec | None:
    """How many elements of an output are off by how much, one histogram per artifact."""
    rows: list[Row] = []
    for artifact in model.artifacts:
        found = artifact.parity.spread.get(output) if artifact.parity and not artifact.axes else None
        if found is None:
            continue
        total = sum(found.counts)
        for index, count in enumerate(found.counts):
            low = found.smallest * 2.0**index
            if count and low > 0 and math.isfinite(low * 2):
                rows.append(
                    {"artifact": _label(model, artifact), "from": low, "to": low * 2,
                     "share": count / total, "count": count}
                )  # fmt: skip
    if not rows:
        return None
    high = max(r["to"] for r in rows)
    rows = [r for r in rows if r["from"] > _DECADES * high]
    low = min(r["from"] for r in rows)
    scale = {"type": "log", "domain": [low / 2, high * 2], "nice": False}
    names = list(dict.fromkeys(r["artifact"] for r in rows))
    colours = {_label(model, a): _ENGINE if a.kind == "engine" else _PRECISIONS.get(a.precision, "")
               for a in model.artifacts}  # fmt: skip
    bars = {
        "mark": {"type": "rect", "opacity": 0.75},
        "encoding": {
            "x": _x("from", scale, {"format": ".0e", "tickCount": 5, "title": "|error|"}),
            "x2": {"field": "to"},
            "y": {"field": "share", "type": "quantitative", "stack": None, "title": "share",
                  "axis": {"format": ".0%", "tickCount": 4}},
            "y2": {"datum": 0},
            "color": legend("artifact", names, [colours[n] for n in names]),
            "tooltip": [shown("artifact"), number("from", "from"), number("to", "to"),
                        shown("count", "elements")],
        },
    }  # fmt: skip
    return spec("Distribution of errors", rows, {**bars, "height": 170})


def costs(actions: Iterable[ShownAction], what: str) -> Spec | None:
    """What each action took when it ran: ``seconds``, or ``peak`` memory."""
    rows: list[Row] = []
    for action in actions:
        value = action.seconds if what == "seconds" else action.peak
        if value:
            told = f"{value:.2g} s" if what == "seconds" else size(int(value))
            rows.append({"action": action.id, "value": value, "text": told, "kind": _work(action)})
    if not rows:
        return None
    kinds = [k for k in ("makes", "proves", "runs PyTorch") if any(r["kind"] == k for r in rows)]
    colours = {"makes": "var(--blue)", "proves": "var(--teal)", "runs PyTorch": "var(--slate)"}
    base = {"y": {"field": "action", "type": "nominal", "sort": None, "title": None, "axis": LABELS}}
    x = {
        "field": "value", "type": "quantitative", "axis": None,
        "scale": {"domain": [0, max(r["value"] for r in rows) * 1.3]},
    }  # fmt: skip
    bars = {
        "mark": {"type": "bar", "cornerRadiusEnd": 3, "height": {"band": 0.7}},
        "encoding": {**base, "x": x, "color": legend("kind", kinds, [colours[k] for k in kinds]),
                     "tooltip": [shown("action"), shown("text", what), shown("kind")]},
    }  # fmt: skip
    text = {
        "mark": {"type": "text", "align": "left", "dx": 6, "color": "var(--text)"},
        "encoding": {**base, "x": x, "text": {"field": "text", "type": "nominal"}},
    }
    title = "Time of each step" if what == "seconds" else "Peak memory of each step"
    return spec(title, rows, {"layer": [bars, text], "height": 20 * len(rows)})


def common_axes(model: ShownModel) -> Sequence[str]:
    """The axes of every sampled shape, if they are several and the same: their sizes alone then tell them
    apart, in less room than names have on a phone."""
    every = {tuple(e.shape) for a in model.artifacts if a.parity is not None for e in a.parity.errors}
    only = every.pop() if len(every) == 1 else ()
    return only if len(only) > 1 else ()


def _error_row(model: ShownModel, artifact: ShownArtifact, errors: ErrorsAt, axes: Sequence[str]) -> Row:
    assert artifact.parity is not None
    least, most = _HEADROOMS
    shape = ", ".join(f"{clipped(n, 30)} {v}" for n, v in errors.shape.items()) or "fixed shape"
    name = _label(model, artifact)
    at = "×".join(str(errors.shape[axis]) for axis in axes) or shape
    return {
        "artifact": name, "shape": shape, "at": f"{name} · {at}", "output": clipped(errors.output, 60),
        "headroom": max(errors.headroom, least) if errors.headroom < most else None,
        "told": errors.told(), "error": errors.against(), "verdict": "within" if errors.passed else "beyond",
        "relative_l2": errors.relative_l2 if math.isfinite(errors.relative_l2) else None,
        "max_abs": errors.max_abs if math.isfinite(errors.max_abs) else None,
        "cosine": f"{errors.cosine:.9g}",
        "tolerance": artifact.parity.tolerance, "evidence": artifact.parity.evidence,
    }  # fmt: skip


def _decades(low: float, high: float, most: int = 8) -> list[float]:
    """Powers of ten between two numbers, 1 among them."""
    every = range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)
    step = -(-len(every) // most)
    return [10.0**k for k in every if k % step == 0]


def _or_far(headroom: float | None) -> float:
    """None is exact: farther than all others."""
    return math.inf if headroom is None else headroom


def _label(model: ShownModel, artifact: ShownArtifact) -> str:
    return clipped(model.short(artifact.name), 60)


def _work(action: ShownAction) -> str:
    if action.step == "reference" or action.step.endswith("reference"):
        return "runs PyTorch"
    return "proves" if action.step.startswith("verify") else "makes"


def _x(field: str, scale: Mapping[str, Any], axis: Mapping[str, Any]) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "scale": dict(scale), "axis": dict(axis)}


def legend(field: str, names: Sequence[str], colours: Sequence[str] | None = None) -> dict[str, Any]:
    """Colours by name, with a legend where there is something to tell apart."""
    given = list(colours or [_CATEGORIES[i % len(_CATEGORIES)] for i in range(len(names))])
    legend = {"orient": "bottom", "title": None, "columns": 3, "symbolLimit": 12, "labelLimit": 140}
    return {
        "field": field, "type": "nominal", "title": None, "scale": {"domain": list(names), "range": given},
        "legend": legend if len(names) > 1 else None,
    }  # fmt: skip


def shown(field: str, title: str | None = None) -> dict[str, Any]:
    return {"field": field, "type": "nominal", "title": title or field}


def number(field: str, title: str | None = None) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "title": title or field, "format": ".3g"}


def spec(description: str, rows: Sequence[Row], more: Spec) -> Spec:
    return {
        "$schema": _SCHEMA, "description": description, "width": "container",
        "params": [{"name": "letters", "value": _LETTERS}],
        "autosize": {"type": "fit-x", "contains": "padding"}, "data": {"values": list(rows)}, **more,
    }  # fmt: skip
