"""onnxsim, at work on the structure: weights that it could not change do not travel through it.

A BERT-base passed whole costs onnxsim 5 s and 2 GB, nearly all of it copies of 437 MB of weights.
Large weights that only meet values computed from inputs can be neither folded nor, but for what
comes before a BatchNormalization, fused; they step aside as inputs and come back after it. What
can be folded weight by weight is folded before (see ``folding``).
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import ModelProto, helper

from modelbuild.base.errors import Diagnostic
from modelbuild.graph import files, interface
from modelbuild.graph.files import Model
from modelbuild.graph.folding import fold_weights, shared_weights
from modelbuild.graph.named_weights import Held
from modelbuild.graph.naming import bodies, reads
from modelbuild.machine.isolate import in_child

# Weights of these are fused with nothing but a BatchNormalization that follows.
_PLAIN = frozenset({"Conv", "MatMul", "Gemm", "Gather", "LSTM", "GRU", "RNN"})
# protobuf's limit is 2 GiB, and onnxsim holds several copies.
_MOST_INLINE = 2**29


def simplify(
    model: Model, *, fold: bool = True, fused: bool = False, held: Sequence[str] = ()
) -> tuple[Model, tuple[Diagnostic, ...]]:
    """The simplified model; or the same one, and a warning that says why onnxsim could not do it.

    ``fused`` says that the model was simplified before, so that all large weights can step aside.
    Weights that are ``held`` stay what they are, and so do quantized ones, which onnxsim would give back as
    floats. onnxsim runs in a child: it is native code that has been seen to die.
    """
    if held := (*held, *_quantized(model, held)):
        weights = Held.out_of(model, held)
        model, said = simplify(model, fold=fold, fused=fused)
        weights.back_in(model)
        return model, said
    if fold:
        fold_weights(model)
    aside = _aside(model, fused=fused)
    ended = in_child(lambda: _run(model, aside, fold=fold))
    if not ended.ok:
        return model, _not_simplified(ended.died or str(ended.error))
    proto = files.parse(ended.value)
    interface.strip(proto)
    used = {name for node in model.proto.graph.node for name in node.input}
    lost = (aside & used) - {i.name for i in proto.graph.input}
    if lost:
        return model, _not_simplified(f"it dropped the weights {sorted(lost)[:3]}")
    after = _with_weights(model, proto, aside)
    interface.restore_axes(model, after)
    changed = interface.same_interface(model, after)
    return (model, _not_simplified(changed)) if changed else (after, ())


def _with_weights(model: Model, proto: ModelProto, aside: set[str]) -> Model:
    """The simplified structure with the weights that stepped aside back in place."""
    tensors = {t.name: t for t in model.proto.graph.initializer}
    inputs = [i for i in proto.graph.input if i.name not in aside]
    del proto.graph.input[:]
    proto.graph.input.extend(inputs)
    needed = sorted(aside & {name for node in proto.graph.node for name in node.input})
    proto.graph.initializer.extend(tensors[n] for n in needed)
    return Model(proto, {n: model.weights[n] for n in needed})


def _not_simplified(reason: str) -> tuple[Diagnostic, ...]:
    return (
        Diagnostic(
            "simplify-failed",
            f"onnxsim: {reason}; the unsimplified graph goes on",
            "set `simplify: false` to silence this",
            level="warning",
        ),
    )


def _run(model: Model, aside: set[str], *, fold: bool) -> bytes:
    """onnxsim on the structure; returns it serialised.

    Raises:
        RuntimeError: onnxsim's own words.
    """
    import onnxsim

    proto = ModelProto()
    proto.CopyFrom(model.proto)
    tensors = list(proto.graph.initializer)
    del proto.graph.initializer[:]
    for tensor in tensors:
        if tensor.name in aside:
            value = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            proto.graph.input.append(value)
            continue
        if tensor.name in model.weights:
            data = model.weights[tensor.name].load().tobytes()
            tensor = helper.make_tensor(tensor.name, tensor.data_type, list(tensor.dims), data, raw=True)
        proto.graph.initializer.append(tensor)
    simplified, _ = onnxsim.simplify(proto, skip_constant_folding=not fold)
    return bytes(simplified.SerializeToString(deterministic=True))


def _quantized(model: Model, held: Sequence[str]) -> list[str]:
    """The weights that DequantizeLinear reads, with their scales, but for those that are held already."""
    graph = model.proto.graph
    own = {t.name for t in graph.initializer}.difference(held)
    reading = (n for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in own)
    return list(dict.fromkeys(name for node in reading for name in node.input if name in own))


def _aside(model: Model, *, fused: bool) -> set[str]:
    """The large weights that onnxsim need not see."""
    fixed = _not_foldable(model)
    if fused:
        return fixed
    graph = model.proto.graph
    normalised = {n for node in graph.node if node.op_type == "BatchNormalization" for n in node.input}
    aside = set(fixed)
    shared = shared_weights(model)
    for node in graph.node:
        if node.op_type == "Transpose" and shared & set(node.input):
            continue
        if node.op_type not in _PLAIN or normalised & set(node.output):
            aside -= set(node.input)
    inline = sum(w.nbytes for n, w in model.weights.items() if n not in aside)
    return aside if inline <= _MOST_INLINE else fixed


def _not_foldable(model: Model) -> set[str]:
    """Large weights that every node uses together with a value computed from the inputs."""
    graph = model.proto.graph
    own = {t.name for t in graph.initializer}
    computed = {i.name for i in graph.input} - own
    used: set[str] = set()
    foldable: set[str] = {o.name for o in graph.output}
    shared = shared_weights(model)
    for node in graph.node:
        nested = bool(bodies(node))
        depends = nested or bool(computed & set(node.input))
        if depends and node.op_type not in ("Shape", "Size"):
            computed |= set(node.output)
        kept = node.op_type == "Transpose" and bool(shared & set(node.input))
        if kept or (depends and not nested):
            used |= set(node.input)
        else:
            foldable |= reads(node)
    return (set(model.weights) & used) - foldable
