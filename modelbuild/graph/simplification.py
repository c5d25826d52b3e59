"""onnxsim, by path for whole models and without the weights for models that were simplified before."""

from __future__ import annotations

from pathlib import Path

from onnx import ModelProto, helper

from modelbuild.graph.files import Model


def simplify_file(source: Path, target: Path, *, fold: bool = True) -> None:
    """Simplify by path: a third of the time and half of the memory of passing the model.

    Raises:
        RuntimeError: onnxsim's own words.
    """
    import onnxsim

    onnxsim.simplify(
        str(source),
        output_path=str(target),
        skip_constant_folding=not fold,
        include_subgraph=True,
    )


def simplify_structure(model: Model, *, fold: bool = True) -> Model:
    """Simplify again after axes were pinned, which is work on shapes, not on weights.

    Large weights that only meet values computed from inputs cannot be folded. They step aside as
    inputs while onnxsim works and come back after it; the others take part.

    Raises:
        RuntimeError: onnxsim's own words, or a weight that it lost.
    """
    import onnxsim

    aside = _not_foldable(model)
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    tensors = {t.name: t for t in proto.graph.initializer}
    del proto.graph.initializer[:]
    for name, tensor in tensors.items():
        if name in aside:
            value = helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims))
            proto.graph.input.append(value)
            continue
        if name in model.weights:
            array = model.weights[name].load()
            tensor = helper.make_tensor(
                name, tensor.data_type, list(tensor.dims), array.tobytes(), raw=True
            )
        proto.graph.initializer.append(tensor)
    simplified, _ = onnxsim.simplify(proto, skip_constant_folding=not fold, include_subgraph=True)
    result = ModelProto()
    result.CopyFrom(simplified)
    kept = [i for i in result.graph.input if i.name not in aside]
    lost = aside - {i.name for i in result.graph.input}
    used = {name for node in model.proto.graph.node for name in node.input}
    if lost & used:
        raise RuntimeError(f"onnxsim dropped the weights {sorted(lost & used)[:3]}")
    del result.graph.input[:]
    result.graph.input.extend(kept)
    needed = {name for node in result.graph.node for name in node.input}
    for name in sorted(aside & needed):
        result.graph.initializer.append(tensors[name])
    return Model(result, {n: w for n, w in model.weights.items() if n in aside & needed})


def _not_foldable(model: Model) -> set[str]:
    """Large weights that every node uses together with a value computed from the inputs."""
    graph = model.proto.graph
    own = {t.name for t in graph.initializer}
    computed = {i.name for i in graph.input} - own
    used: set[str] = set()
    foldable: set[str] = {o.name for o in graph.output}
    for node in graph.node:
        depends = bool(computed & set(node.input)) or _has_subgraph(node)
        if depends and node.op_type not in ("Shape", "Size"):
            computed |= set(node.output)
        if depends and not _has_subgraph(node):
            used |= set(node.input)
        else:
            foldable |= set(node.input)
    return (set(model.weights) & used) - foldable


def _has_subgraph(node: object) -> bool:
    from modelbuild.graph.interface import subgraphs

    return any(True for _ in subgraphs(node))  # type: ignore[arg-type]
