"""The tables of a model: what the plots show as numbers, and what is no number."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from modelbuild.views.reporting import ranges
from modelbuild.views.reporting.html import Content, Html, clipped, joined, prose, tag
from modelbuild.views.reporting.pipeline import MARKS
from modelbuild.views.reporting.previous import ShownChange
from modelbuild.views.reporting.values import (
    Said,
    ShownArtifact,
    ShownInterface,
    ShownModel,
    ShownPort,
    ShownRange,
    Standing,
    Status,
)
from modelbuild.views.reporting.verdict import headroom
from modelbuild.wording.phrases import plural, size

_MOST_ROWS = 200
_MOST_VALUE = 300  # characters of a fact


def badge(status: Status | Standing) -> Html:
    """A status as a mark, a word and a colour."""
    mark = "●" if status == "ok" else MARKS[status]
    return tag("span", tag("span", mark, aria_hidden="true"), f" {status}", class_=f"badge {status}")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Content]],
    numbers: Iterable[int] = (),
    most: int = _MOST_ROWS,
) -> Html:
    """``most`` rows are shown, the others counted. The columns in ``numbers`` are to the right."""
    aside = ["number" if i in set(numbers) else None for i in range(len(head))]
    rows = list(rows)
    names = [
        None,
        *head[1:],
    ]  # on a phone a row is a card: what heads it, and a line per column with its name
    body = [
        tag("tr", [tag("td", cell, class_=side, data_label=name)
                   for cell, side, name in zip(row, aside, names, strict=True)])
        for row in rows[:most]
    ]  # fmt: skip
    top = tag(
        "tr", [tag("th", cell, class_=side, scope="col") for cell, side in zip(head, aside, strict=True)]
    )
    shown = tag("div", tag("table", tag("thead", top), tag("tbody", body)), class_="scroll")
    return joined(shown, _more(len(rows) - most))


def _more(left: int, where: str = "") -> Html | None:
    """How many are not shown, and where they are."""
    return tag("p", f"and {left} more{where}", class_="muted") if left > 0 else None


def folded(title: str, *content: Content) -> Html:
    return tag("details", tag("summary", title), content, class_="folded")


def code(text: str | None, most: int = 200) -> Html | None:
    return tag("code", clipped(text, most)) if text else None


def file(name: str) -> Html:
    """A file's name, which breaks at its dots and hyphens where it is too long for a column."""
    parts = re.split(r"(?<=[.-])", clipped(name))
    return tag("code", [[tag("wbr") if i else None, part] for i, part in enumerate(parts)])


def artifacts(model: ShownModel, most: int) -> Html:
    head = ("artifact", "status", "size", "worst error", "headroom", "tolerance", "proof", "time")
    return table(head, [_artifact(a) for a in model.artifacts], numbers=(2, 4, 7), most=most)


def _artifact(artifact: ShownArtifact) -> Sequence[Content]:
    status: Content = badge(artifact.status)
    if artifact.reason and artifact.reason != "never built" and artifact.status not in ("cached", "skipped"):
        status = [badge(artifact.status), " ", tag("span", prose(artifact.reason, 200), class_="muted")]
    time = f"{artifact.seconds:.1f} s" if artifact.seconds else ""
    return (file(artifact.name), status, size(artifact.bytes), *_proof(artifact), time)


def _proof(artifact: ShownArtifact) -> Sequence[Content]:
    """The worst output's error, its headroom, the tolerance, and who ran it."""
    worst = artifact.worst()
    if artifact.parity is None or worst is None:
        return "", "", "", "not run here" if artifact.kind == "engine" and artifact.good else ""
    name, errors = worst
    told = [tag("div", code(name, 60)), tag("div", errors.against())]
    return told, headroom(errors), artifact.parity.tolerance, artifact.parity.evidence


def interface(of: ShownInterface) -> Html:
    """Inputs and outputs, what the axes may be, and the opset."""
    rows = [
        (code(port.name, 80), side, port.dtype, code(_shape(port)))
        for side, ports in (("input", of.inputs), ("output", of.outputs))
        for port in ports
    ]
    axes = [
        (code(a.name, 60), f"{a.min:,} to {a.max:,}" if a.min != a.max else f"{a.min:,}", f"{a.opt:,}")
        for a in of.axes
    ]
    source = ["as ", code(of.of), " has it."] if of.of else "as the recipe has it: nothing is built yet."
    return joined(
        tag("p", tag("strong", _opsets(of.opsets)), " ", source, class_="muted"),
        tag(
            "div",
            tag("div", table(("name", "role", "type", "shape"), rows)),
            tag("div", table(("axis", "sizes", "usual (opt)"), axes, (2,))) if axes else None,
            class_="grid",
        ),
    )


def _opsets(of: Mapping[str, int]) -> str:
    """``Opset 18,``; and those that differ: ``Opset 18 (bf16: 22),``."""
    if not of:
        return "Inputs and outputs"
    first, *_ = of.values()
    others = ", ".join(f"{p}: {v}" for p, v in of.items() if v != first)
    return f"Opset {first}{f' ({others})' if others else ''},"


def _shape(port: ShownPort) -> str | None:
    return None if port.shape is None else f"[{', '.join(map(str, port.shape))}]"


def changes(rows: Iterable[ShownChange], most: int) -> Html:
    """What is another than in the last report; red where it failed since."""
    told = [
        (file(c.artifact or c.model), tag("span", clipped(c.told), class_="bad" if c.bad else None))
        for c in rows
    ]
    return table(("artifact", "what changed"), told, most=most)


def not_proven(model: ShownModel, most: int) -> Html | None:
    """What no comparison has covered, once for the artifacts that share it."""
    sharing: dict[str, list[str]] = {}
    for artifact in model.artifacts:
        for what in artifact.not_proven:
            sharing.setdefault(what, []).append(model.short(artifact.name))
    rows = [(prose(what, 200), clipped(", ".join(names))) for what, names in sharing.items()]
    return folded("Not proven", table(("what", "artifacts"), rows, most=most)) if rows else None


def errors(model: ShownModel, most: int) -> Html | None:
    rows = [
        (
            code(model.short(a.name)),
            ", ".join(f"{n} {v}" for n, v in e.shape.items()) or "fixed",
            code(e.output, 60),
            e.against(),
            headroom(e),
            f"{e.relative_l2:.2e}",
            f"{e.max_abs:.2e}",
            f"{e.cosine:.7f}",
        )
        for a in model.artifacts
        if a.parity is not None
        for e in a.parity.errors
    ]
    if not rows:
        return None
    head = ("artifact", "shape", "output", "error", "headroom", "relative L2", "largest error", "cosine")
    return folded("All errors as a table", table(head, rows, numbers=(4, 5, 6, 7), most=most))


def steps(model: ShownModel) -> Html | None:
    rows = [
        (code(a.id), a.step, badge(a.status), f"{a.seconds:.2f} s", size(a.peak) if a.peak else "")
        for a in model.actions
    ]
    if not rows:
        return None
    return folded(
        "All steps as a table", table(("step", "kind", "status", "time", "peak memory"), rows, (3, 4))
    )


def operators(rows: Sequence[ShownRange]) -> Html:
    """What each operator makes, the largest values first."""
    kinds: dict[str, list[ShownRange]] = {}
    for row in rows:
        kinds.setdefault(row.op_type, []).append(row)
    found = sorted(kinds.items(), key=lambda item: -max(r.largest for r in item[1]))
    return table(
        ("operator", "tensors", "largest", "overflow", "becomes zero", "kept in fp32"),
        [
            (
                clipped(name, 60), len(of), f"{max(r.largest for r in of):.4g}",
                sum(r.overflows > 0 for r in of) or "", sum(r.zeros > 0 for r in of) or "",
                sum(r.kept for r in of) or "",
            )
            for name, of in found
        ],
        numbers=(1, 2, 3, 4, 5),
    )  # fmt: skip


def closest(rows: Sequence[ShownRange], precision: str, most: int = 12) -> Html:
    """The tensors nearest to the largest value that the type holds."""
    limit = ranges.LIMITS[precision][0]
    found = sorted(rows, key=lambda r: -r.largest)[:most]
    return table(
        ("tensor", "node", "operator", "source", "largest", f"of {limit:.6g}", "verdict"),
        [
            (code(r.tensor, 80), code(r.node, 80), clipped(r.op_type, 60), code(r.source, 120),
             f"{r.largest:.4g}", _share(r.largest / limit),
             ranges.fate(r))
            for r in found
        ],
        numbers=(4, 5),
    )  # fmt: skip


def kept(artifact: ShownArtifact, rows: Sequence[ShownRange]) -> Html | None:
    """The nodes that a conversion left in fp32, with what is known of them."""
    if artifact.conversion is None:
        return None
    by_node = {r.node: r for r in rows}
    names = artifact.conversion.kept
    runs = f" after {artifact.conversion.runs} measured candidates" if artifact.conversion.runs else ""
    told = f"{artifact.name}: method {artifact.conversion.method}{runs}, "
    many = "1 node" if len(names) == 1 else f"{len(names)} nodes"
    outside = artifact.conversion.outside
    told += f"{many} kept in {outside}." if names else f"no node had to be kept in {outside}."
    if more := artifact.conversion.kept_fp32:
        told += f" {plural(len(more), 'node')} in fp32, as {outside} does not hold what they compute."
    if not names:
        return tag("p", told)
    found = [(n, by_node.get(n)) for n in names]
    return joined(
        tag("p", told),
        table(
            ("node", "operator", "source", "largest"),
            [
                (code(n, 120), clipped(r.op_type, 60) if r else "", code(r.source if r else None, 120),
                 f"{r.largest:.4g}" if r else "")
                for n, r in found
            ],
            numbers=(3,),
        ),
    )  # fmt: skip


def diagnostics(rows: Iterable[tuple[str | None, Said]], most: int) -> Html | None:
    """What was said of the last build, errors first; each with the artifact that it is about."""
    rank = {"error": 0, "warning": 1, "info": 2}
    found = sorted(rows, key=lambda row: rank[row[1].level])
    if not found:
        return None
    items = [
        tag(
            "li", tag("strong", f"{said.level} {said.code}"),
            tag("span", " ", about, class_="muted") if about else None,
            tag("span", " ", code(said.where), class_="muted") if said.where else None,
            tag("p", prose(said.message)),
            tag("p", prose(said.hint, 1000), class_="muted") if said.hint else None,
            class_=said.level,
        )
        for about, said in found[:most]
    ]  # fmt: skip
    return joined(tag("ul", items, class_="said"), _more(len(found) - most))


def identities(model: ShownModel) -> Html:
    rows = [
        (code(a.name), code(_short(a.key)), code(_short(a.sha256)), a.bytes if a.bytes is not None else "")
        for a in model.artifacts
    ]
    return table(("artifact", "key", "sha256", "bytes"), rows, numbers=(3,))


def facts(of: Mapping[str, Mapping[str, Any]], room: int) -> Html:
    """The facts of each action, folded, in about ``room`` bytes; what is left out is counted."""
    parts = []
    for action, values in of.items():
        rows: list[tuple[Content, Content]] = []
        for name, value in values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            row = (code(name, _MOST_VALUE), code(text, _MOST_VALUE))
            room -= sum(len(c or "") for c in row) + 30
            if room < 0:
                break
            rows.append(row)
        more = _more(len(values) - len(rows), ": `modelbuild why` has all of them")
        title = f"{action}: {len(values)} facts"
        parts.append(folded(title, table(("fact", "value"), rows) if rows else None, more))
    return joined(parts)


def _share(share: float) -> str:
    return f"{share:.2%}" if share < 10 else f"{share:.3g} times"


def _short(digest: str | None) -> str | None:
    return digest.removeprefix("sha256:")[:16] if digest else None
