"""The actions of a recipe as a picture: what comes from what, and what became of it.

From left to right, a column per step on the way from the model; a proof hangs below what it proves.
Every proof also reads the reference, which would be lines across everything: the caption says it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelbuild.views.reporting.html import Html, clipped, joined, tag
from modelbuild.views.reporting.values import ShownAction, Status

MARKS: dict[Status, str] = {
    "built": "●", "cached": "○", "fetched": "↓", "remote": "↓",
    "failed": "✕", "blocked": "⊘", "skipped": "–", "stale": "↻",
}  # fmt: skip
_MODEL = "model"  # the root: no action by itself, but where all of them begin
_WIDTH, _HEIGHT, _PROOF = 152, 46, 22  # px, of a box and of the proof below it
_ACROSS, _DOWN = 178, 84  # px from one column or row to the next: six columns in the 1084 px of a page
_INDENT = 18  # px per column where the picture goes down
_LETTERS = 17  # of a name that fit into a box

Corner = tuple[int, int]  # px from the left and from the top


@dataclass(frozen=True)
class PipelineBox:
    """A box: its action (None for the model), the proof below it, and where it is."""

    id: str
    action: ShownAction | None
    proof: ShownAction | None
    parent: str | None
    column: int
    row: int


def pictures(actions: Sequence[ShownAction], name: str) -> Html | None:
    """The pipeline as inline SVG, once from left to right and once, for narrow pages, downwards.

    None if nothing is known of the actions.
    """
    places = arranged(actions)
    if not places:
        return None
    flat = {p.id: (1 + p.column * _ACROSS, 1 + p.row * _DOWN) for p in places}
    tall = {p.id: (1 + p.column * _INDENT, 1 + i * _DOWN) for i, p in enumerate(places)}
    return joined(
        _picture(places, flat, name, "flat", _line_across), _picture(places, tall, name, "tall", _line_down)
    )


def _picture(
    places: Sequence[PipelineBox], corners: Mapping[str, Corner], name: str, how: str,
    line: Callable[[Corner, Corner], str],
) -> Html:  # fmt: skip
    width = max(x for x, _ in corners.values()) + _WIDTH + 1
    height = max(y for _, y in corners.values()) + _HEIGHT + _PROOF + 1
    lines = [
        tag("path", d=line(corners[p.parent], corners[p.id]), class_="edge")
        for p in places
        if p.parent is not None
    ]
    return tag(
        "svg", tag("title", f"Pipeline of {name}"), lines, [_box(p, *corners[p.id]) for p in places],
        viewBox=f"0 0 {width} {height}", width=width, height=height, role="img", class_=f"pipeline {how}",
    )  # fmt: skip


def arranged(actions: Sequence[ShownAction]) -> list[PipelineBox]:
    """A tree in reading order: what comes first of a box goes on in its row, the others below it."""
    known = {a.id: a for a in actions}
    proofs = {a.needs["model"]: a for a in actions if _is_proof(a) and a.needs.get("model") in known}
    boxes = [a for a in actions if a not in proofs.values()]
    parents = {a.id: _parent(a, known) for a in boxes}
    children: dict[str, list[str]] = {}
    for action in boxes:
        children.setdefault(parents[action.id], []).append(action.id)
    places: list[PipelineBox] = []
    seen: set[str] = set()

    def put(id_: str, parent: str | None, column: int, row: int) -> int:
        """Place a box and all that comes from it; the first row that is free below."""
        seen.add(id_)
        places.append(PipelineBox(id_, known.get(id_), proofs.get(id_), parent, column, row))
        below = row
        for child in children.get(id_, ()):
            if child not in seen:
                below = put(child, id_, column + 1, below)
        return max(below, row + 1)

    if boxes:
        put(_MODEL, None, 0, 0)
    return places


def _parent(action: ShownAction, known: dict[str, ShownAction]) -> str:
    parent = action.needs.get("model")
    if parent is None or parent not in known or parent == action.id:
        return _MODEL
    return parent


def _is_proof(action: ShownAction) -> bool:
    return action.step.startswith("verify")


def _line_across(start: Corner, end: Corner) -> str:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    x2, y2 = end[0], end[1] + _HEIGHT // 2
    return f"M{x1} {y1} H{x2}" if y1 == y2 else f"M{x1} {y1} H{(x1 + x2) // 2 - 6} V{y2} H{x2}"


def _line_down(start: Corner, end: Corner) -> str:
    return f"M{start[0] + _INDENT // 2} {start[1] + _HEIGHT} V{end[1] + _HEIGHT // 2} H{end[0]}"


def _box(place: PipelineBox, x: int, y: int) -> Html:
    action = place.action
    if action is None:
        return tag(
            "g", tag("rect", width=_WIDTH, height=_HEIGHT, rx=8),
            tag("text", "model", x=12, y=20, class_="name"),
            tag("text", "PyTorch or ONNX", x=12, y=36, class_="told"),
            transform=f"translate({x} {y})", class_="box source",
        )  # fmt: skip
    told = f"{MARKS[action.status]} {action.status}" + (
        f" · {action.seconds:.1f} s" if action.seconds else ""
    )
    parts = [
        tag("title", _hover(action)),
        tag("rect", width=_WIDTH, height=_HEIGHT, rx=8),
        # A picture of its own, at whose edge a name of wide letters ends.
        tag(
            "svg",
            tag("text", clipped(action.id, _LETTERS), x=12, y=20, class_="name"),
            width=_WIDTH - 4,
            height=_HEIGHT,
        ),
        tag("text", told, x=12, y=36, class_="told"),
    ]
    box = tag("g", parts, transform=f"translate({x} {y})", class_=f"box {action.status}")
    return joined(box, _proof(place.proof, x, y)) if place.proof else box


def _proof(proof: ShownAction, x: int, y: int) -> Html:
    good = {"built": "proven", **{s: f"proven, {s}" for s in ("cached", "fetched", "remote")}}
    words = good.get(proof.status, f"proof {proof.status}")
    return tag(
        "g", tag("title", _hover(proof)), tag("rect", width=_WIDTH - 24, height=_PROOF, rx=6),
        tag("text", f"{MARKS[proof.status]} {words}", x=10, y=15, class_="told"),
        transform=f"translate({x + 14} {y + _HEIGHT - 1})", class_=f"box proof {proof.status}",
    )  # fmt: skip


def _hover(action: ShownAction) -> str:
    lines = [f"{action.id} ({action.step}): {action.status}"]
    if action.reason and action.status != "cached":
        lines.append(action.reason)
    if action.seconds:
        lines.append(f"{action.seconds:.2f} s when it ran")
    return "\n".join(lines)
