"""Weights under names that a recipe gives: inputs that callers can override, so nothing folds them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import TensorProto, helper

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.graph import interface
from modelbuild.graph.files import Model, Weight
from modelbuild.graph.naming import Names, value_names
from modelbuild.wording.phrases import listed


def name(model: Model, known: Sequence[str], names: Sequence[str]) -> None:
    """Give the weights these names, in the order of ``known``, the names in the model's state dict.

    Raises:
        StepError: ``inputs-mismatch``: there are more or fewer weights, or a name is an output's.
    """
    graph = model.proto.graph
    own = {t.name for t in graph.initializer}
    found = [n for n in dict.fromkeys(known) if n in own]
    if len(found) != len(names):
        raise _mismatch(
            f"`initializer_names` has {len(names)} names, "
            f"the graph has {len(found)} weights: {listed(found)}",
            "give a name to each, in this order: that of the state dict, without what no output needs",
        )
    outputs = [n for n in names if n in {o.name for o in graph.output}]
    if outputs:
        raise _mismatch(
            f"`initializer_names` has `{outputs[0]}`, which is the name of an output",
            "give the weight another name, or name the `outputs`",
        )
    inside = value_names(graph)
    taken = Names(inside | set(names))
    others = {n: taken.take(f"{n}_1") for n in names if n in inside - set(found)}
    interface.rename(model, {**others, **dict(zip(found, names, strict=True))})


@dataclass(frozen=True)
class Held:
    """Weights that were taken out of a graph; in it, they are plain inputs meanwhile."""

    tensors: tuple[TensorProto, ...]
    weights: dict[str, Weight]

    @classmethod
    def out_of(cls, model: Model, names: Sequence[str]) -> Held:
        graph = model.proto.graph
        held = [t for t in graph.initializer if t.name in set(names)]
        kept = [t for t in graph.initializer if t.name not in set(names)]
        copies = []
        for tensor in held:
            copies.append(TensorProto())
            copies[-1].CopyFrom(tensor)
            graph.input.append(
                helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            )
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return cls(
            tuple(copies), {t.name: model.weights.pop(t.name) for t in copies if t.name in model.weights}
        )

    def back_in(self, model: Model) -> None:
        graph = model.proto.graph
        own = {t.name for t in self.tensors}
        inputs = [i for i in graph.input if i.name not in own]
        del graph.input[:]
        graph.input.extend(inputs)
        graph.initializer.extend(self.tensors)
        model.weights |= self.weights


def _mismatch(message: str, hint: str) -> StepError:
    return StepError(Diagnostic("inputs-mismatch", message, hint))
