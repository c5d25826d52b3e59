"""The page: a summary of all models, then each of them; everything that it needs is in it."""

from __future__ import annotations

from collections.abc import Sequence

from modelbuild.views.reporting import plots, scripts, sections, tables
from modelbuild.views.reporting.html import Content, Html, clipped, joined, tag
from modelbuild.views.reporting.values import ShownModel, Standing
from modelbuild.wording.phrases import size

_OPENED = 6  # models up to which all of them are unfolded
_MOST_BYTES = 4_800_000


def render(models: Sequence[ShownModel]) -> str:
    """The whole file, below 5 MB: of many models less is told of each, and what is left out counted.

    Models are told in this order.
    """
    room = sections.PageRoom.of(models)
    while True:
        text = _page(models, room)
        if len(text.encode()) <= _MOST_BYTES or room.rows <= 1:
            return text
        room = room.halved()


def _page(models: Sequence[ShownModel], room: sections.PageRoom) -> str:
    vega, own = scripts.vega(), scripts.own("page.js")
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=scripts.policy(vega, own)),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", _title(models)),
        tag("style", Html(scripts.own("page.css"))),
    )
    body = tag(
        "body",
        _top(models),
        tag("noscript", tag("p", "Plots need JavaScript; the tables have the numbers.", class_="note")),
        tag(
            "main",
            _summary(models) if len(models) > 1 else None,
            [
                sections.section(m, i, room, len(models) <= _OPENED or m.status == "failed")
                for i, m in enumerate(models)
            ],
        ),
        tag("script", Html(vega)),
        tag("script", Html(own)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _title(models: Sequence[ShownModel]) -> str:
    return f"{clipped(models[0].name, 100)}: build report" if len(models) == 1 else "Build report"


def _top(models: Sequence[ShownModel]) -> Html:
    states: tuple[Standing, ...] = ("failed", "stale", "ok")
    counts = {s: sum(m.status == s for m in models) for s in states}
    told: list[Content] = [
        [tables.badge(status), f" {count} "] for status, count in counts.items() if count and len(models) > 1
    ]
    return tag(
        "header",
        tag("div", tag("h1", _title(models)), tag("p", "by modelbuild", class_="muted")),
        tag("div", told, tag("button", "Dark", id="theme", type="button", hidden=True), class_="tools"),
        class_="top",
    )


def _summary(models: Sequence[ShownModel]) -> Html:
    head = ("model", "status", "artifacts", "fp32", "fp16", "engine", "worst error / tolerance", "time")
    rows = [
        (
            tag("a", clipped(m.name, 60), href=f"#model-{i}"),
            tables.badge(m.status),
            _count(m),
            _size(m, "onnx", "fp32"),
            _size(m, "onnx", "fp16"),
            _size(m, "engine", None),
            _worst(m),
            f"{sum(a.seconds for a in m.actions):.1f} s" if m.actions else "",
        )
        for i, m in enumerate(models)
    ]
    return joined(
        tag("section", tag("h2", "All models"), tables.table(head, rows, (3, 4, 5, 6, 7)), class_="model")
    )


def _count(model: ShownModel) -> str:
    good = sum(a.status in ("built", "cached") for a in model.artifacts)
    return f"{good} of {len(model.artifacts)} good" if model.artifacts else ""


def _size(model: ShownModel, kind: str, precision: str | None) -> str:
    found = (
        a.bytes
        for a in model.artifacts
        if a.kind == kind and not a.axes and a.bytes and precision in (None, a.precision)
    )
    return size(next(found, None))


def _worst(model: ShownModel) -> Content:
    found = [e.headroom for a in model.artifacts if a.parity for e in a.parity.outputs.values()]
    if not found:
        return ""
    return tag("span", plots.ratio_told(min(found)), class_=None if min(found) >= 1 else "bad")
