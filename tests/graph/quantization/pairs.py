"""What holds for every graph with int8 in it, and how tests make and run one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from modelbuild.graph.files import Model
from modelbuild.graph.naming import graphs
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.quantization.insertion import quantize
from modelbuild.graph.quantization.points import Int8Options, Point, activations
from tests.graph.converted import assert_valid

FLOAT = TensorProto.FLOAT
PRODUCTS = {"Conv", "ConvTranspose", "MatMul", "Gemm"}
LEVELS = ("ORT_DISABLE_ALL", "ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")

Arrays = dict[str, np.ndarray]


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 19,
) -> Model:
    def value(name: str, shape: Sequence[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, FLOAT, shape)

    graph = helper.make_graph(
        nodes,
        "g",
        [value(*item) for item in inputs.items()],
        [value(*item) for item in outputs.items()],
        [numpy_helper.from_array(np.asarray(a), name) for name, a in (weights or {}).items()],
    )
    return Model(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9))


def tensors(given: Model, feeds: Arrays) -> Arrays:
    """Every tensor of a float32 model in a run."""
    proto = onnx.ModelProto()
    proto.CopyFrom(given.proto)
    own = {value.name for value in proto.graph.output}
    names = [n for node in proto.graph.node for n in node.output if n and n not in own]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    made = ran(Model(proto), feeds)
    return feeds | dict(zip([value.name for value in proto.graph.output], made, strict=True))


def thresholds(given: Model, options: Int8Options, feeds: Arrays) -> dict[str, float]:
    """The largest magnitude of each activation in one run."""
    seen = tensors(given, feeds)
    return {name: float(np.abs(seen[name]).max()) for name in activations(given, options)}


def made(
    given: Model, feeds: Arrays, options: Int8Options | None = None, kept: Sequence[str] = ()
) -> tuple[Model, tuple[Point, ...]]:
    """The model in int8, calibrated on these inputs; in float16 where that is the base."""
    options = options or Int8Options(base="fp32")
    found, points = quantize(given, thresholds(given, options, feeds), options, kept)
    if options.base == "fp16":
        found, said = convert(found, HalfOptions())
        assert not any("_scale" in d.message for d in said), said
    found = embedded(found)
    assert_int8(found, points, options, given)
    return found, points


def embedded(given: Model) -> Model:
    """The same model with all weights in its structure."""
    proto = onnx.ModelProto()
    proto.CopyFrom(given.proto)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(np.array(given.array(tensor)), tensor.name))
    return Model(proto)


def reference(given: Model, feeds: Arrays) -> list[np.ndarray]:
    return list(ReferenceEvaluator(given.proto).run(None, feeds))


def ran(given: Model, feeds: Arrays, level: str = "ORT_ENABLE_BASIC") -> list[np.ndarray]:
    """What ONNX Runtime makes of a model; up to BASIC it computes the pairs in float."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    if level in LEVELS[:2]:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    data = given.proto.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def initializers(given: Model) -> Arrays:
    return {tensor.name: given.array(tensor) for tensor in given.proto.graph.initializer}


def maker(given: Model, name: str) -> onnx.NodeProto:
    """The node that makes a tensor."""
    return next(node for node in given.proto.graph.node if name in node.output)


def named(given: Model, name: str) -> onnx.NodeProto:
    return next(node for node in given.proto.graph.node if node.name == name)


def scale_of(given: Model, node: str, index: int) -> np.ndarray:
    """The scale of an input of an int8 node."""
    return initializers(given)[maker(given, named(given, node).input[index]).input[1]]


def assert_int8(given: Model, points: Sequence[Point], options: Int8Options, before: Model) -> None:
    """The file says int8 of these points, of nothing else, in the one way that all builders take.

    Nothing of modelbuild tells here what a pair is or where it may stand.
    """
    proto = given.proto
    assert [o.domain for o in proto.opset_import] == [""]
    assert_valid(given, before.proto)
    for inner in list(graphs(proto.graph))[1:]:
        assert not {n.op_type for n in inner.node} & {"QuantizeLinear", "DequantizeLinear"}
    nodes = list(proto.graph.node)
    values = initializers(given)
    makers = {name: node for node in nodes for name in node.output}
    readers: dict[str, list[tuple[onnx.NodeProto, int]]] = {}
    for node in nodes:
        for index, name in enumerate(node.input):
            readers.setdefault(name, []).append((node, index))
    outputs = {value.name for value in proto.graph.output}
    inner = {n for g in list(graphs(proto.graph))[1:] for node in g.node for n in node.input}
    wanted = {point.node: {i.index for i in point.inputs} for point in points}
    names = {node.name or node.output[0]: node for node in nodes}
    half = options.base == "fp16"
    for node in nodes:
        if node.op_type == "QuantizeLinear":
            assert [n.op_type for n, _ in readers[node.output[0]]] == ["DequantizeLinear"]
            assert node.output[0] not in outputs | inner
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            scale, zero = values[node.input[1]], values[node.input[2]]
            assert scale.dtype == (np.float16 if half else np.float32), node.name
            assert np.isfinite(scale).all()
            assert (scale > 0).all()
            assert zero.dtype == np.int8
            assert zero.shape == scale.shape
            assert not zero.any()
    for node in (n for n in nodes if n.op_type == "DequantizeLinear"):
        taken, made_ = node.input[0], node.output[0]
        assert made_ not in outputs | inner
        assert readers[made_], f"{node.name} is for nobody"
        for reader, index in readers[made_]:
            title = reader.name or reader.output[0]
            assert index in wanted[title], f"{node.name} is read by {title}, which is not int8"
        if taken in values:
            assert values[taken].dtype == np.int8
            most = 63 if options.reduce_range else 127
            assert np.abs(values[taken].astype(np.int16)).max(initial=0) <= most
        else:
            assert makers[taken].op_type == "QuantizeLinear"
            assert list(makers[taken].input[1:]) == list(node.input[1:])
    for title, indices in wanted.items():
        node = names[title]
        assert node.op_type in PRODUCTS | {"Add"}
        assert indices == {0, 1}
        for index, name in enumerate(node.input):
            dequantized = name in makers and makers[name].op_type == "DequantizeLinear"
            assert dequantized == (index in indices), f"{title} reads {name} at {index}"
        if node.op_type == "Add":
            left, right = (values[makers[name].input[1]] for name in node.input)
            assert left == right, f"the sides of {title} have two scales"
    quantized = [node.input[0] for node in nodes if node.op_type == "QuantizeLinear"]
    assert len(quantized) == len(set(quantized)), "a tensor has two pairs"
