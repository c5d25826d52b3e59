"""The page: a summary of all models, then each of them; everything that it needs is in it."""

from __future__ import annotations

from collections.abc import Sequence

from modelbuild.views.reporting import previous, scripts, sections, tables
from modelbuild.views.reporting.html import Content, Html, clipped, tag
from modelbuild.views.reporting.previous import Carried
from modelbuild.views.reporting.values import ShownModel
from modelbuild.views.reporting.verdict import engines, headroom, verdict, worst
from modelbuild.wording.phrases import size

_OPENED = 6  # models up to which all of them are unfolded
_MOST_BYTES = 4_800_000
_MEASURED = 40  # models, of more, that say how much the others take


def render(models: Sequence[ShownModel], last: Carried | None = None) -> str:
    """The whole file, below 5 MB: of many models less is told of each, and what is left out counted.

    Models are told in this order. ``last`` is what the report that this one replaces has carried.
    """
    carried = previous.following(models, last)
    room = _guessed(models)
    while True:
        text = _page(models, carried, room)
        if len(text.encode()) <= _MOST_BYTES or room.rows <= 1:
            return text
        room = room.halved()


def _guessed(models: Sequence[ShownModel]) -> sections.PageRoom:
    """The room in which some of many models take no more than their share: a page of a thousand takes
    seconds to make, and is not made for each size that is too large."""
    room = sections.PageRoom.of(models)
    some = models[:: -(-len(models) // _MEASURED)] if len(models) > _MEASURED else ()
    share = (_MOST_BYTES - len(scripts.vega())) * len(some) // max(1, len(models))
    while some and room.rows > 1:
        told = (sections.section(m, i, room, False) for i, m in enumerate(some))
        if sum(len(text.encode()) for text in told) <= share:
            break
        room = room.halved()
    return room


def _page(models: Sequence[ShownModel], carried: Carried, room: sections.PageRoom) -> str:
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
            _models(models, sections.since(carried, room.rows), room),
        ),
        carried.element(),
        tag("script", Html(vega)),
        tag("script", Html(own)),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def _models(models: Sequence[ShownModel], changed: Html | None, room: sections.PageRoom) -> Content:
    """Each model, and above several of them what there is to say of all."""
    if len(models) == 1:
        return sections.section(models[0], 0, room, True, changed)
    told = [
        sections.section(m, i, room, len(models) <= _OPENED or m.status == "failed")
        for i, m in enumerate(models)
    ]
    return [_summary(models, changed), told]


def _title(models: Sequence[ShownModel]) -> str:
    return f"{clipped(models[0].name, 100)}: build report" if len(models) == 1 else "Build report"


def _top(models: Sequence[ShownModel]) -> Html:
    return tag(
        "header",
        tag("div", tag("h1", _title(models)), tag("p", "by modelbuild", class_="muted")),
        tag("div", tag("button", "Dark", id="theme", type="button", hidden=True), class_="tools"),
        class_="top",
    )


def _summary(models: Sequence[ShownModel], changed: Html | None) -> Html:
    failed = any(m.status == "failed" for m in models)
    return tag(
        "section", tag("h2", "All models"), verdict(models), _overview(models), changed,
        class_="model failed" if failed else "model",
    )  # fmt: skip


def _overview(models: Sequence[ShownModel]) -> Html:
    """A line for each model; what none of them has, as bf16, has no column."""
    columns: dict[str, list[Content]] = {
        "model": [tag("a", clipped(m.name, 60), href=f"#model-{i}") for i, m in enumerate(models)],
        "status": [tables.badge(m.status) for m in models],
        "proven": [_count(m) for m in models],
        **{p: [_size(m, p) for m in models] for p in ("fp32", "fp16", "bf16", "int8")},
        "engines": [engines(m) for m in models],
        "worst headroom": [_worst(m) for m in models],
        "time": [f"{sum(a.seconds for a in m.actions):.1f} s" if m.actions else "" for m in models],
    }
    head = [name for name, cells in columns.items() if any(cells)]
    aside = {"fp32", "fp16", "bf16", "int8", "worst headroom", "time"}
    rows = list(zip(*(columns[name] for name in head), strict=True))
    return tables.table(head, rows, [i for i, name in enumerate(head) if name in aside])


def _count(model: ShownModel) -> Content:
    wanted = [a for a in model.artifacts if a.status != "skipped"]
    if not wanted:
        return ""
    failed = any(a.status in ("failed", "blocked") for a in wanted)
    return tag("span", f"{sum(a.proven for a in wanted)} of {len(wanted)}", class_="bad" if failed else None)


def _size(model: ShownModel, precision: str) -> str:
    found = (
        a.bytes
        for a in model.artifacts
        if a.kind == "onnx" and not a.axes and a.bytes and precision == a.precision
    )
    return size(next(found, None))


def _worst(model: ShownModel) -> Content:
    found = worst([model])
    return headroom(found[2]) if found else ""
