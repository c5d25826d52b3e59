"""The plot of what the tensors of a half precision model hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from modelbuild.views.reporting.html import clipped
from modelbuild.views.reporting.plots import Row, Spec, legend, number, shown, spec
from modelbuild.views.reporting.values import ShownRange

_MOST_SHOWN = 1e300  # so that what is drawn above it is finite, too

# Largest finite magnitude, smallest normal one, smallest that is not rounded to zero.
LIMITS = {"fp16": (65504.0, 2.0**-14, 2.0**-25), "bf16": (3.3895313892515355e38, 2.0**-126, 2.0**-134)}


_FATES = {
    "fits": ("var(--teal)", "circle"),
    "partly zero": ("var(--amber)", "triangle-down"),
    "overflows": ("var(--bad)", "cross"),
    "kept in fp32": ("var(--violet)", "diamond"),
}


def plot(rows: Sequence[tuple[int, ShownRange]], precision: str) -> Spec | None:
    """Each tensor from its mean magnitude to its largest, in the graph's order, with what the type holds.

    ``rows`` come with their places in the graph, from 1 on.
    """
    values = [_range_row(i, row) for i, row in rows if row.largest > 0]
    if not values:
        return None
    most, normal, zero = LIMITS[precision]
    room = (most / zero) ** 0.06  # 17 px: for what is written above the highest line, and below the lowest
    top = max(most, *(v["largest"] for v in values)) * room
    bottom = min(zero, *(v["mean"] for v in values)) / room
    y = {"type": "quantitative", "scale": {"type": "log", "domain": [bottom, top], "nice": False},
         "title": "magnitude", "axis": {"format": ".0e", "tickCount": 6}}  # fmt: skip
    x = {"field": "index", "type": "quantitative", "title": "tensors, in the graph's order",
         "scale": {"nice": False, "domain": [0.5, max(v["index"] for v in values) + 0.5]},
         "axis": {"grid": False, "tickMinStep": 1, "format": "d"}}  # fmt: skip
    fates = [f for f in _FATES if any(v["fate"] == f for v in values)]
    colour = legend("fate", fates, [_FATES[f][0] for f in fates])
    shape = {**colour, "scale": {"domain": fates, "range": [_FATES[f][1] for f in fates]}}
    tips = [shown("tensor"), shown("node"), shown("op", "operator"), shown("source"), number("largest"),
            number("mean"), shown("lost", "becomes zero"), shown("over", "overflows"),
            shown("fate", "verdict")]  # fmt: skip
    bars = {
        "mark": {"type": "rule", "strokeWidth": 2, "opacity": 0.45},
        "encoding": {"x": x, "y": {**y, "field": "mean"}, "y2": {"field": "largest"}, "color": colour,
                     "tooltip": tips},
    }  # fmt: skip
    tops = {
        "mark": {"type": "point", "filled": True, "size": 40, "opacity": 1},
        "encoding": {"x": x, "y": {**y, "field": "largest"}, "color": colour, "shape": shape,
                     "tooltip": tips},
    }  # fmt: skip
    limits = [
        part
        for at, text, hue, above in (
            (most, f"{most:.6g}: overflows above", "var(--bad)", True),
            (normal, f"{normal:.2g}: fewer digits below", "var(--amber)", True),
            (zero, f"{zero:.2g}: zero below", "var(--bad)", False),
        )
        for part in _limit(at, text, hue, above, y)
    ]
    title = f"Range of every tensor against {precision}"
    return spec(title, values, {"layer": [bars, tops, *limits], "height": 320})


def _limit(at: float, text: str, hue: str, above: bool, y: Mapping[str, Any]) -> list[Spec]:
    """A line across a plot, and what it says, above or below its right end."""
    rows = {"values": [{"at": at, "text": text}]}
    place = {**y, "field": "at"}
    line = {"mark": {"type": "rule", "color": hue, "strokeDash": [5, 4], "strokeWidth": 1.5}}
    side = {"baseline": "bottom", "dy": -3} if above else {"baseline": "top", "dy": 4}
    words = {"mark": {"type": "text", "color": hue, "align": "right", "x": "width", **side}}
    return [
        {"data": rows, **line, "encoding": {"y": place}},
        {"data": rows, **words, "encoding": {"y": place, "text": {"field": "text", "type": "nominal"}}},
    ]


def fate(row: ShownRange) -> str:
    """What half precision makes of a tensor, in the words of the legend."""
    if row.kept:
        return "kept in fp32"
    if row.overflows:
        return "overflows"
    return "partly zero" if row.zeros >= 0.1 * max(1, row.elements) else "fits"


def _range_row(index: int, row: ShownRange) -> Row:
    share = row.zeros / row.elements if row.elements else 0.0
    return {
        "index": index, "tensor": clipped(row.tensor, 120), "node": clipped(row.node, 120), "op": row.op_type,
        "source": clipped(row.source or "unknown", 120), "largest": min(row.largest, _MOST_SHOWN),
        "mean": min(row.mean if 0 < row.mean <= row.largest else row.largest, _MOST_SHOWN),
        "lost": f"{share:.2%}" if row.zeros else "none", "over": row.overflows, "fate": fate(row),
    }  # fmt: skip
