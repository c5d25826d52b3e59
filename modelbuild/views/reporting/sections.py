"""One model on the page: what became of it, its plots and tables, and where it comes from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelbuild.views.reporting import html, noise, pipeline, plots, previous, ranges, tables
from modelbuild.views.reporting.html import Content, Html, clipped, prose, tag
from modelbuild.views.reporting.previous import Carried
from modelbuild.views.reporting.values import Said, ShownModel, ShownRange, ShownRanges
from modelbuild.views.reporting.verdict import moment, verdict
from modelbuild.wording import kernels
from modelbuild.wording.phrases import plural

_MOST_OUTPUTS = 6  # that have a histogram of their own, the worst first
_MOST_ACTIONS = 200


@dataclass(frozen=True)
class PageRoom:
    """What a model may take of the page: tensors in a plot, rows of a table, bytes of facts."""

    tensors: int
    rows: int
    facts: int

    @classmethod
    def of(cls, models: Sequence[ShownModel]) -> PageRoom:
        """A first guess, with 400 bytes for a tensor, so that hardly a page has to be made again."""
        plots = max(1, sum(len(m.ranges) for m in models))
        return cls(min(1500, 2_000_000 // 400 // plots), 200, min(100_000, 800_000 // max(1, len(models))))

    def halved(self) -> PageRoom:
        return PageRoom(self.tensors // 2, self.rows // 2, self.facts // 2)


def section(
    model: ShownModel, number: int, room: PageRoom, opened: bool, changed: Html | None = None
) -> Html:
    """The whole of a model, as ``<details>`` that is open or not; ``changed`` is since the last report."""
    return tag(
        "details",
        tag("summary", tag("h2", clipped(model.name, 100)), tables.badge(model.status)),
        tag("p", tag("code", clipped(model.recipe)), class_="muted"),
        verdict([model]) if model.artifacts else None,
        [tag("p", prose(note), class_="note") for note in model.notes],
        tables.diagnostics(_said(model), room.rows),
        _titled("Interface", tables.interface(model.interface)) if model.interface else None,
        changed,
        _pipeline(model),
        _titled("Artifacts", tables.artifacts(model, room.rows)) if model.artifacts else None,
        tables.not_proven(model, room.rows),
        _errors(model, room.rows),
        _ranges(model, room.tensors),
        _noise(model),
        _costs(model),
        _provenance(model, room.facts),
        id=f"model-{number}", class_=f"model {model.status}", open=opened,
    )  # fmt: skip


def _said(model: ShownModel) -> Iterable[tuple[str | None, Said]]:
    yield from ((None, said) for said in model.diagnostics)
    for artifact in model.artifacts:
        yield from ((artifact.name, said) for said in artifact.diagnostics)


def since(carried: Carried, most: int) -> Html | None:
    """What is another than in the last report; nothing where there is none."""
    rows = previous.changes(carried)
    if not rows:
        return None
    when = moment(previous.since(carried))
    title = "Changed since the last report"
    told = f"That was of builds up to {when}." if when else None
    return tag(
        "section", tag("h3", title), tag("p", told, class_="muted") if told else None,
        tables.changes(rows, most), class_="changed",
    )  # fmt: skip


def _pipeline(model: ShownModel) -> Html | None:
    drawn = pipeline.pictures(model.actions[:_MOST_ACTIONS], clipped(model.name, 100))
    if drawn is None:
        return tag("p", "The manifest does not say which actions there were: build again.", class_="note")
    legend = [tables.badge(s) for s in pipeline.MARKS if any(a.status == s for a in model.actions)]
    caption = "Every proof compares with the recorded outputs of the reference. "
    return _titled(
        "Pipeline", tag("div", drawn, class_="scroll"), tag("p", caption, legend, class_="legend muted"),
        tables.steps(model),
    )  # fmt: skip


def _errors(model: ShownModel, most: int) -> Html | None:
    names = dict.fromkeys(name for a in model.artifacts if a.parity is not None for name in a.parity.outputs)
    if not names:
        return None
    spreads = [(n, spec) for n in names if (spec := plots.spread(model, n)) is not None]
    left = len(spreads) - _MOST_OUTPUTS
    against = plots.errors(model, min(most, 120))
    told = "" if left <= 0 else f"{left} more outputs are in the table only."
    axes = " × ".join(clipped(axis, 30) for axis in plots.common_axes(model))
    meaning = (
        "Tolerance / error: a point per output and sampled shape; to the left of the line at x1 it fails. "
        f"What is exact stands at the right edge.{f' Shapes are {axes}.' if axes else ''}"
    )
    return _titled(
        "Errors",
        tag("div", _plot("Headroom", against, meaning)
            if against else _unmeasured("per shape"), class_="wide"),
        tag("div", [_plot(f"Distribution of |error|: {clipped(n, 60)}", s,
                          "Of the elements that differ, over all inputs: how many are off by how much.")
                    for n, s in spreads[:_MOST_OUTPUTS]], class_="grid"),
        tag("p", told, class_="muted") if told else None,
        tables.errors(model, most),
    )  # fmt: skip


def _unmeasured(what: str) -> Html:
    return tag(
        "p", f"The last build was made before errors were recorded {what}: build again.", class_="note"
    )


def _ranges(model: ShownModel, most: int) -> Html | None:
    parts: list[Content] = []
    for precision, found in model.ranges.items():
        parts.append(_range(precision, found, most))
    for artifact in model.artifacts:
        if not artifact.axes and artifact.kind == "onnx":
            rows = model.ranges.get(artifact.precision, ShownRanges()).rows
            parts.append(tables.kept(artifact, rows))
    return _titled("Half precision", parts) if any(parts) else None


def _noise(model: ShownModel) -> Html | None:
    parts: list[Content] = []
    for artifact in model.artifacts:
        if artifact.conversion is None or artifact.axes:
            continue
        told = "At the output of each int8 node, against the fp32 graph; the noisiest first."
        if left := noise.left_out(artifact.conversion.nodes):
            told += f" {plural(left, 'node')} more in the JSON."
        parts.append(_plot("Signal to noise", noise.plot(artifact.conversion.nodes), told))
        if artifact.conversion.runtime is not None:
            told = kernels.told(artifact.conversion.runtime.model_dump())
            parts.append(tag("p", prose(f"ONNX Runtime, where it was built: {told}."), class_="note"))
    return _titled("int8", parts) if any(parts) else None


def _range(precision: str, found: ShownRanges, most: int) -> Content:
    if not found.rows:
        return tag("p", f"{precision}, range of every tensor. {found.note or 'There is none in half.'}",
                   class_="note")  # fmt: skip
    shown = _telling(found.rows, most)
    spec = ranges.plot(shown, precision)
    told = "From the mean magnitude of each tensor to its largest, over the recorded inputs."
    if len(shown) < len(found.rows):
        told += f" {len(shown)} of {len(found.rows)} tensors: those nearest to the limits."
    silent = sum(1 for r in found.rows if r.largest == 0)
    if silent:
        told += f" {silent} that are zero throughout are not drawn."
    return [
        tag("div", _plot(f"Range of every tensor: {precision}", spec, told), class_="wide") if spec else None,
        tables.folded(f"{precision}: the tensors nearest to overflow", tables.closest(found.rows, precision)),
        tables.folded(f"{precision}: by operator", tables.operators(found.rows)),
    ]


def _telling(rows: Sequence[ShownRange], most: int) -> list[tuple[int, ShownRange]]:
    """The tensors to draw, with their places: of too many those that something happens to, then the
    largest."""
    numbered = list(enumerate(rows, 1))
    if len(numbered) <= most:
        return numbered
    numbered.sort(key=lambda item: (ranges.fate(item[1]) == "fits", -item[1].largest))
    return sorted(numbered[:most], key=lambda item: item[0])


def _costs(model: ShownModel) -> Html | None:
    sizes = plots.sizes(model)
    actions = model.actions[:_MOST_ACTIONS]
    told = "When it last ran; a cached step took nothing this time."
    drawn = [
        _plot(title, plots.costs(actions, what), told)
        for title, what in (("Time per step", "seconds"), ("Peak memory per step", "peak"))
    ]
    if not any((sizes, *drawn)):
        return None
    return _titled(
        "Size, time and memory",
        tag("div", _plot("Size", sizes, None), class_="wide"),
        tag("div", drawn, class_="grid"),
    )


def _provenance(model: ShownModel, room: int) -> Html:
    versions = [
        tag("span", tag("span", f"{name} ", class_="muted"), version or "not installed", class_="even")
        for name, version in model.toolchain.items()
    ]
    commit = None
    if model.commit is not None:
        edits = model.commit.edits
        clean = "nothing edited since" if not edits else f"{plural(edits, 'file')} edited since"
        commit = tag("p", "Repository when this report was made: commit ", tag("code", model.commit.id),
                     f", {clean}.")  # fmt: skip
    return _titled(
        "Provenance",
        commit,
        tag("p", versions, class_="versions") if versions else None,
        tables.folded("Keys and digests", tables.identities(model)) if model.artifacts else None,
        tables.folded("The facts behind each step", tables.facts(model.facts, room)) if model.facts else None,
    )


def _titled(title: str, *content: Content) -> Html:
    return tag("section", tag("h3", title), content)


def _plot(title: str, spec: plots.Spec | None, told: str | None) -> Html | None:
    if spec is None:
        return None
    caption = tag("span", told, class_="muted") if told else None
    return tag(
        "figure", tag("figcaption", tag("strong", title), caption),
        tag("div", class_="plot"), tag("script", html.data(spec), type="application/json"),
    )  # fmt: skip
