"""An int8 file while it is made: written as often as a search asks, and proven each time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import Diagnostic
from modelbuild.steps import observing, unsearched
from modelbuild.steps.half import Half
from modelbuild.steps.reference import INDEX
from modelbuild.steps.searching import Searching, Words
from modelbuild.steps.verify import Verify
from modelbuild.wording.phrases import few, plural

if TYPE_CHECKING:
    from modelbuild.graph.files import Model
    from modelbuild.graph.quantization.points import Int8Options, Point

_NAMED = 5  # nodes that a message names


@dataclass
class QuantizedFile:
    """One at work: the float32 graph, the ranges of its tensors, and where the file goes.

    ``half`` is how what stays out of int8 is converted, and None where that is fp32; ``in_fp32`` are nodes
    that it has to leave there. ``listed`` are the weights that are inputs, too, or whether all are.
    """

    filename: str
    model: Model
    ranges: Mapping[str, float]
    asked: Int8Options
    half: Half | None
    listed: bool | tuple[str, ...]
    out: Path
    reference: Path
    in_fp32: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, Path]:
        """As a proof takes them."""
        return {"model": self.out, "reference": self.reference}

    def options(self) -> Int8Options:
        """What is asked, without the nodes that are in fp32."""
        return replace(self.asked, node_block_list=(*self.asked.node_block_list, *self.in_fp32))

    def points(self, kept: tuple[str, ...]) -> tuple[Point, ...]:
        """What is int8 with these nodes out of it."""
        from modelbuild.graph.quantization.points import points

        return points(self.model, self.options(), kept, self.ranges)

    def convert(self, kept: tuple[str, ...]) -> tuple[Diagnostic, ...]:
        """Write the file with these nodes out of int8, and say what was clamped."""
        from modelbuild.graph import files, interface, precision, shapes
        from modelbuild.graph.quantization.insertion import quantize

        made, _ = quantize(self.model, self.ranges, self.options(), kept)
        said: tuple[Diagnostic, ...] = ()
        if self.half is not None:
            made, said = precision.convert(made, self.half.options(self.in_fp32))
        shapes.annotate(made)
        interface.set_initializers_as_inputs(made, self.listed)
        files.write(made, self.out / self.filename)
        return said

    def searching(
        self, words: Words, proof: Verify, convert: Callable[[tuple[str, ...]], tuple[Diagnostic, ...]]
    ) -> Searching:
        """A search whose file is this one."""
        return Searching(
            words=words,
            proof=proof,
            reference=self.reference,
            convert=convert,
            prove=lambda: unsearched.proven(proof, self.files)[0],
            explain=lambda error: error if "ranges" in error.data else proof.explained(error, self.files),
        )

    def observed(self) -> dict[str, Any]:
        """What is told of the file as it is now, for the data of its conversion."""
        found = {"outside": "fp32" if self.half is None else self.half.dtype}
        if not (self.reference / INDEX).exists():
            return found
        return found | observing.observed(self.model, self.out / self.filename, self.reference)

    def operators(self) -> dict[str, str]:
        """The nodes of the graph, each with its operator."""
        from modelbuild.graph.naming import label, nodes

        return {label(node): node.op_type for node in nodes(self.model.proto.graph)}

    def unknown(self) -> Iterator[Diagnostic]:
        """A word on what the recipe's lists name and the graph does not have."""
        from modelbuild.graph.precision import unknown_nodes, unknown_ops

        yield from unknown_ops(self.model.proto, self.asked.op_block_list)
        yield from unknown_nodes(self.model.proto, self.asked.node_block_list)

    def unranged(self) -> Iterator[Diagnostic]:
        """A word on the nodes that stay out because what they read has no range."""
        from modelbuild.graph.quantization.points import points

        ranged = {point.node for point in self.points(())}
        lost = [p for p in points(self.model, self.options()) if p.node not in ranged and p.op_type != "Add"]
        if lost:
            named = few([f"`{p.node}` ({p.op_type})" for p in lost], _NAMED)
            yield Diagnostic(
                "precision-fallback",
                f"{plural(len(lost), 'node')} out of int8, as values that they read were not finite or too "
                f"large for a scale: {named}",
                "give calibration data on which the model stays finite",
                level="warning",
            )
