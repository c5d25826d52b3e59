"""The first thing that a reader asks: is all of it proven, by how much, how large, when and with what."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from modelbuild.views.reporting.html import Content, Html, clipped, tag
from modelbuild.views.reporting.values import Errors, ShownArtifact, ShownModel
from modelbuild.wording.phrases import few, plural, size

_TOOLS = ("modelbuild", "torch", "onnx", "onnxruntime", "tensorrt", "tensorrt-rtx")
_MOST_ENGINES = 6  # that are named one by one


def verdict(models: Sequence[ShownModel]) -> Html:
    """A headline, ``5 of 5 proven``, red where something failed; below it the figures that matter most."""
    artifacts = [a for m in models for a in m.artifacts]
    rows: list[tuple[str, Content]] = [
        ("worst headroom", _worst(models)),
        ("size", _shares(models)),
        ("engines", _engines(models)),
        ("last build", moment(max((m.built for m in models if m.built), default=None))),
        ("with", _tools(models)),
    ]
    told = [
        tag("div", tag("dt", name), tag("dd", what), class_="whole" if name == "with" else None)
        for name, what in rows
        if what
    ]
    return tag(
        "div",
        tag("p", tag("strong", _headline(artifacts)), " ", tag("span", _rest(models), class_="muted")),
        tag("dl", told),
        class_=f"verdict {_tone(models)}",
    )


def _headline(artifacts: Sequence[ShownArtifact]) -> str:
    wanted = [a for a in artifacts if a.status != "skipped"]
    if not wanted:
        return "Nothing was built"
    return f"{sum(a.proven for a in wanted)} of {len(wanted)} proven"


def _rest(models: Sequence[ShownModel]) -> str:
    """What became of those that are not proven."""
    artifacts = [a for m in models for a in m.artifacts]
    count = Counter(a.status for a in artifacts)
    unrun = sum(a.good and not a.proven for a in artifacts)
    words = [f"{count[s]} {s}" for s in ("failed", "blocked", "stale") if count[s]]
    words += [f"{unrun} built and not run here"] if unrun else []
    words += [f"{count['skipped']} skipped"] if count["skipped"] else []
    wrong = sum(m.status == "failed" and not {"failed", "blocked"} & {a.status for a in m.artifacts}
                for m in models)  # fmt: skip
    return ", ".join([*words, *([f"{plural(wrong, 'recipe')} with errors"] if wrong else [])])


def _tone(models: Sequence[ShownModel]) -> str:
    if any(m.status == "failed" for m in models):
        return "failed"
    proven = [a.proven for m in models for a in m.artifacts if a.status != "skipped"]
    return "ok" if proven and all(proven) else "stale"


def worst(models: Iterable[ShownModel]) -> tuple[str, str, Errors] | None:
    """The artifact and its output with the least headroom; None where nothing was compared."""
    found = [(a.name, *w) for m in models for a in m.artifacts if (w := a.worst())]
    return min(found, key=lambda row: row[2].headroom, default=None)


def headroom(errors: Errors) -> Html:
    """Red where it is not enough."""
    return tag("span", errors.told(), class_=None if errors.passed else "bad")


def _worst(models: Sequence[ShownModel]) -> Content:
    found = worst(models)
    if found is None:
        return None
    artifact, output, errors = found
    told = f": {errors.against()}" if errors.against() else ""
    where = f"{clipped(artifact, 80)}, {clipped(output, 60)}{told}"
    return [tag("b", headroom(errors)), tag("span", where, class_="muted")]


def shares(models: Iterable[ShownModel]) -> dict[str, tuple[int, int]]:
    """By half precision: its bytes, and those of the same files in fp32."""
    found: dict[str, tuple[int, int]] = {}
    for model in models:
        files = {
            (a.precision, *a.axes.items()): a.bytes for a in model.artifacts if a.kind == "onnx" and a.bytes
        }
        for (precision, *axes), count in files.items():
            whole = files.get(("fp32", *axes))
            if precision != "fp32" and whole is not None:
                half, full = found.get(str(precision), (0, 0))
                found[str(precision)] = half + count, full + whole
    return found


def _shares(models: Sequence[ShownModel]) -> Content:
    return [
        [tag("b", f"{clipped(precision, 20)} is {half / full:.0%} of fp32"),
         tag("span", f"{size(half)} of {size(full)}", class_="muted")]
        for precision, (half, full) in shares(models).items()
    ]  # fmt: skip


def engine(model: ShownModel, artifact: ShownArtifact) -> str:
    """``fp16.tensorrt-rtx: 683.6 KiB, not run here``."""
    told = size(artifact.bytes) if artifact.good else artifact.status
    unrun = ", not run here" if artifact.good and not artifact.proven else ""
    return f"{clipped(model.short(artifact.name), 60)}: {told}{unrun}"


def engines(model: ShownModel) -> Content:
    """Each engine of a model in a line; red where it failed."""
    found = [a for a in model.artifacts if a.kind == "engine"]
    lines: list[Content] = [
        tag("span", engine(model, a), class_="bad" if a.status in ("failed", "blocked") else None)
        for a in found[:_MOST_ENGINES]
    ]
    left = len(found) - _MOST_ENGINES
    return [tag("div", line) for line in [*lines, *([f"and {left} more"] if left > 0 else [])]]


def _engines(models: Sequence[ShownModel]) -> Content:
    if len(models) == 1:
        return engines(models[0])
    found = [a for m in models for a in m.artifacts if a.kind == "engine"]
    states = Counter("built" if a.good else a.status for a in found)
    bad = "bad" if states["failed"] or states["blocked"] else None
    return tag("b", ", ".join(f"{n} {state}" for state, n in states.items()), class_=bad) if found else None


def moment(seconds: float | None) -> str | None:
    """``2026-11-29 15:17 UTC``, of seconds since 1970."""
    return None if seconds is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def _tools(models: Sequence[ShownModel]) -> Content:
    """The versions that decide most; of several builds with several versions, all."""
    words = []
    for name in _TOOLS:
        # `tensorrt-rtx-cu13 1.7.1`, where the distribution has another name
        found = sorted({v.split()[-1] for m in models if (v := (m.toolchain.get(name) or "").strip())})
        if found:
            words.append(f"{name} {few([clipped(v, 40) for v in found], 3, ' and ')}")
    return ", ".join(words)
