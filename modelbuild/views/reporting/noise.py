"""What int8 costs, node by node."""

from __future__ import annotations

from collections.abc import Sequence

from modelbuild.views.reporting.html import clipped
from modelbuild.views.reporting.plots import LABELS, Row, Spec, shown, spec
from modelbuild.views.reporting.values import ShownNoise

_MOST = 60  # bars: what is not noisy is in the JSON


def plot(nodes: Sequence[ShownNoise]) -> Spec | None:
    """A bar for each int8 node, the noisiest first; with the line of the model that it comes from."""
    rows: list[Row] = [
        {
            "node": clipped(row.node, 120),
            "op_type": clipped(row.op_type, 60),
            "sqnr": row.sqnr,
            "text": f"{row.sqnr:.1f} dB",
            "line": clipped(row.source or "", 160),
        }
        for row in nodes[:_MOST]
        if row.sqnr is not None
    ]
    if not rows:
        return None
    y = {"field": "node", "type": "nominal", "sort": None, "title": None, "axis": LABELS}
    most = max(0.0, *(row["sqnr"] for row in rows))
    x = {
        "field": "sqnr", "type": "quantitative", "axis": None,
        "scale": {"domain": [min(0.0, *(row["sqnr"] for row in rows)), most * 1.25 or 1]},
    }  # fmt: skip
    tooltip = [
        shown("node"),
        shown("op_type", "operator"),
        shown("text", "SQNR"),
        shown("line", "line of the model"),
    ]
    text = {"type": "text", "align": "left", "dx": 4, "color": "var(--text)"}
    return spec(
        "Signal to quantization noise at each int8 node, in dB.",
        rows,
        {
            "height": {"step": 18},
            "encoding": {"y": y, "x": x, "tooltip": tooltip},
            "layer": [
                {"mark": {"type": "bar", "color": "var(--pink)"}},
                {"mark": text, "encoding": {"text": {"field": "text", "type": "nominal"}}},
            ],
        },
    )


def left_out(nodes: Sequence[ShownNoise]) -> int:
    """How many have no bar."""
    return max(0, len(nodes) - _MOST)
