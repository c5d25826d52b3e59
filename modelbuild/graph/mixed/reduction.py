"""What a conversion to fewer bits does to a float32 graph, place by place: what a search has to know."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from onnx import ModelProto, NodeProto

from modelbuild.graph.files import Array, Model
from modelbuild.graph.naming import Names

Kind = Literal["value", "weight", "state", "output"]
Rounded = frozenset[int]  # indices into ``Reduction.uses``
Needs = Sequence[frozenset[str] | None]


@dataclass(frozen=True)
class Use:
    """A place that reads a tensor with fewer bits.

    A node reads a ``value`` or a ``weight`` (a constant of the model) at one of its inputs; it
    stores its ``state`` between time steps; or the model gives a tensor out (``node`` is empty).
    ``made_by`` and ``read_by`` are operators, empty for inputs and outputs of the model. ``step`` and
    ``port`` say which node and which of its inputs, in the reduction's own count; ``axis`` is that of the
    channels, of a weight that is rounded channel by channel.
    """

    kind: Kind
    tensor: str
    node: str
    made_by: str
    read_by: str
    step: int = -1
    port: int = -1
    axis: int | None = None


@dataclass(frozen=True)
class Wire:
    """Where a use reads in one copy of the graph: the node, and how to have it read another tensor."""

    node: NodeProto
    rename: Callable[[str], None]


class Reduction(Protocol):
    """One conversion of one model."""

    @property
    def model(self) -> Model:
        """The float32 model."""

    @property
    def proto(self) -> ModelProto:
        """The graph that the uses are about: names distinct, constants lifted to initializers."""

    @property
    def types(self) -> Mapping[str, str]:
        """By tensor, its type."""

    @property
    def uses(self) -> Sequence[Use]:
        """The places that it rounds."""

    @property
    def needs(self) -> Needs:
        """By use, the nodes that must all stay out so that it reads what never was rounded; None: no such."""

    @property
    def nodes(self) -> Sequence[str]:
        """The names of all nodes, in the order of the graph."""

    @property
    def work(self) -> Collection[str]:
        """Those that the conversion is for."""

    @property
    def outside(self) -> str:
        """What the nodes that stay out of it compute in."""

    def rounded(self, kept: Collection[str]) -> Rounded:
        """The uses that are rounded if these nodes stay out."""

    def share(self, kept: Collection[str]) -> tuple[float, int, int]:
        """How much is reduced with these kept: the share of the work, and how many nodes of how many."""

    def wires(self, proto: ModelProto) -> Sequence[Wire | None]:
        """By use, where it reads in ``proto``, a copy of the graph. None: an output of the model."""

    def pair(self, use: Use, names: Names) -> Iterator[NodeProto]:
        """Nodes that round the tensor of a use, and give it back as float32."""

    def as_rounded(self, use: Use, values: Array) -> Array:
        """The float32 values of a weight as they are after rounding."""

    def in_steps(self, node: NodeProto, names: Names) -> list[NodeProto]:
        """A recurrent node as nodes that round its state in every time step."""
