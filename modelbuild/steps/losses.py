"""What half precision loses of the values in a graph, and where: the likely reason of a failed proof."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic
from modelbuild.wording.phrases import few

if TYPE_CHECKING:
    from onnx import NodeProto

    from modelbuild.graph.files import Array, Model
    from modelbuild.graph.ranges import Range

# What it is called when a value leaves a precision's range: bfloat16's is that of float32.
_OVERFLOW: Mapping[str, Code] = {"fp16": "fp16-overflow", "bf16": "not-finite"}
_NAMED = 3  # nodes that a message names; the rows have all
_UPSTREAM = 4  # nodes before a node that a row names
# A tensor is told of when this share of it falls to zero. These make small values beside large
# ones by design, and nothing is lost with them unless all are small.
_SHARE = 0.1
_TAILS = frozenset({"Exp", "Gelu", "Sigmoid", "Softmax", "Softplus"})

Feeds = Callable[[], Iterable[Mapping[str, "Array"]]]


@dataclass(frozen=True)
class Losses:
    """What to say, and a row of JSON for every tensor that the graph makes in half."""

    diagnostics: tuple[Diagnostic, ...]
    rows: list[dict[str, Any]]


def losses(model: Model, precision: str, feeds: Feeds, *, broke: bool) -> Losses:
    """Where values leave the range of ``precision``, or fall to zero, on any of these inputs.

    ``feeds`` gives the inputs, as often as it is asked. ``broke`` says that outputs were not finite:
    then, if no value is out of range by itself, rounding must have made one.
    """
    from modelbuild.graph.ranges import half_ranges

    found = half_ranges(model, feeds())
    over = [row for row in found if row.overflows]
    diagnostics: list[Diagnostic] = []
    if over:
        diagnostics.append(_overflow(over, precision, "values leave"))
    elif broke:
        rounded = half_ranges(model, feeds(), rounded=True)
        over = [row for row in rounded if row.overflows]
        begins = [r for r, plain in zip(rounded, found, strict=True) if r.nonfinite > plain.nonfinite]
        if over:
            diagnostics.append(_overflow(over, precision, "by what rounding adds up to, values leave"))
            found = rounded
        elif begins:
            diagnostics.append(_broken(begins[0], precision))
    if zeros := [row for row in found if _is_lost(row, precision)]:
        diagnostics.append(_underflow(zeros, precision))
    return Losses(tuple(diagnostics), _rows(model, found))


def unnoticed(
    model: Model, precision: str, feeds: Feeds, tensors: Collection[str] | None = None
) -> Losses | None:
    """Where values leave the range of ``precision`` though the proof holds: a warning, with those rows.

    Of ``tensors``, those that a run has seen not to be finite; None: of all. What is infinite in the
    model itself, as in a mask, is none of it.
    """
    from modelbuild.graph.ranges import half_ranges

    found = half_ranges(model, feeds(), only=tensors)
    over = [row for row in found if row.overflows]
    what = "values leave"
    if not over and tensors is not None and not all(row.nonfinite for row in found):
        over = [row for row in half_ranges(model, feeds(), rounded=True, only=tensors) if row.overflows]
        what = f"by what rounding adds up to, {what}"
    if not over:
        return None
    said = _overflow(over, precision, what)
    message = f"{said.message}; the outputs hold all the same"
    return Losses((replace(said, message=message, level="warning"),), _rows(model, over))


def all_rows(model: Model, precision: str, feeds: Iterable[Mapping[str, Array]]) -> list[dict[str, Any]]:
    """A row of JSON as in ``Losses``, also for what nodes kept in fp32 make: ``kept`` says which."""
    from modelbuild.graph.ranges import all_ranges
    from modelbuild.graph.types import ELEM_TYPES

    found, kept = all_ranges(model, feeds, ELEM_TYPES[precision])
    return [{**row, "kept": row["tensor"] in kept} for row in _rows(model, found)]


def _rows(model: Model, found: Iterable[Range]) -> list[dict[str, Any]]:
    upstream = Upstream(model)
    return [{**asdict(row), "upstream": upstream.of(row.tensor)} for row in found]


def _is_lost(row: Range, precision: str) -> bool:
    """Whether enough of a tensor falls to zero to be worth a word."""
    from modelbuild.graph.gauges import Limits
    from modelbuild.graph.types import ELEM_TYPES

    if row.op_type in _TAILS and row.largest >= Limits.of(ELEM_TYPES[precision]).normal:
        return False
    return row.zeros > 0 and row.zeros >= _SHARE * row.elements


def _overflow(rows: Sequence[Range], precision: str, what: str) -> Diagnostic:
    from modelbuild.graph.rounding import BOUNDS
    from modelbuild.graph.types import ELEM_TYPES

    worst = sorted(rows, key=lambda row: -row.largest)  # those of one size as they come in the graph
    named = few([f"`{r.node}` ({r.op_type}, up to {r.largest:.3g})" for r in worst], _NAMED)
    largest = BOUNDS[ELEM_TYPES[precision]].largest
    return Diagnostic(
        _OVERFLOW[precision],
        f"{what} {precision}'s range ({largest:.6g}) at {named}",
        "keep these nodes in fp32 with `node_block_list`, or scale the values down",
    )


def _broken(row: Range, precision: str) -> Diagnostic:
    return Diagnostic(
        "not-finite",
        f"no value leaves {precision}'s range by itself; what rounding makes of them is first infinite "
        f"or not a number at `{row.node}` ({row.op_type}), in {row.nonfinite} of {row.elements} values",
        "keep this node, and those that make what it takes, in fp32 with `node_block_list`",
    )


def _underflow(rows: Sequence[Range], precision: str) -> Diagnostic:
    worst = sorted(rows, key=lambda row: -row.zeros / row.elements)
    named = few([f"`{r.node}` ({r.op_type}, {_share(r)}, up to {r.largest:.3g})" for r in worst], _NAMED)
    return Diagnostic(
        "fp16-underflow",
        f"values that are not zero become zero in {precision} at {named}",
        "keep these nodes, and those that use them, in fp32 with `node_block_list`, or scale the values up",
        level="warning",
    )


def _share(row: Range) -> str:
    return "all values" if row.zeros == row.elements else f"{row.zeros / row.elements:.0%} of the values"


class Upstream:
    """Which nodes come before a tensor's own: one that a conversion made has no source line itself."""

    def __init__(self, model: Model) -> None:
        from modelbuild.graph.naming import graphs

        self.makers = {
            name: node for graph in graphs(model.proto.graph) for node in graph.node for name in node.output
        }

    def of(self, tensor: str) -> list[str]:
        """The nearest first."""
        from modelbuild.graph.naming import label

        found: list[str] = []
        for node in self._before(tensor):
            found.append(label(node))
            if len(found) == _UPSTREAM:
                break
        return found

    def _before(self, tensor: str) -> Iterator[NodeProto]:
        seen, todo = {tensor}, [tensor]
        for name in todo:
            node = self.makers.get(name)
            if node is None:
                continue
            if name != tensor:
                yield node
            new = [n for n in node.input if n and n not in seen]
            seen.update(new)
            todo += new
