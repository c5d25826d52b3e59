"""What operators of the default ONNX domain do to values, where their schemas do not say it."""

from __future__ import annotations

from collections.abc import Container

from onnx import NodeProto

from modelbuild.graph.naming import bodies
from modelbuild.graph.types import CONTROL_FLOW, attribute, domain

# Every value of the output is a value of an input, its negation, or a whole number near it (beyond
# 1024 halves are whole, so a half's floor is a half). Of half inputs nothing is left to round.
_EXACT = frozenset({
    "Abs", "Ceil", "CenterCropPad", "Clip", "Compress", "Concat", "ConcatFromSequence", "Constant",
    "ConstantOfShape", "DepthToSpace", "Dropout", "Expand", "EyeLike", "Flatten", "Floor", "Gather",
    "GatherElements", "GatherND", "GlobalMaxPool", "Hardmax", "Identity", "Max", "MaxPool",
    "MaxUnpool", "Min", "Neg", "OneHot", "Optional", "OptionalGetElement", "Pad", "ReduceMax",
    "ReduceMin", "Relu", "Reshape", "Resize", "ReverseSequence", "Round", "ScatterElements",
    "ScatterND", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase",
    "SequenceInsert", "Sign", "Slice", "SpaceToDepth", "Split", "SplitToSequence", "Squeeze",
    "TensorScatter", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze",
    "Where",
})  # fmt: skip

# The output follows from shapes or from the node itself, whatever the values of the inputs are.
_IGNORES_VALUES = frozenset({"Shape", "Size", "Constant", "EyeLike"})
# Of those above, where what comes out is decided by comparing: of rounded values it is another choice.
_DECIDES = frozenset({"Ceil", "Floor", "Hardmax", "Round", "Sign", "ThresholdedRelu", "Unique"})
_TELLS_WHICH = frozenset({"MaxPool", "TopK", "Unique"})  # with an output of indices
# Where the time of a model goes: sums of products.
_PRODUCTS = frozenset({
    "Attention", "Conv", "ConvTranspose", "DeformConv", "Einsum", "GRU", "Gemm", "LSTM", "MatMul", "RNN",
})  # fmt: skip
_RANDOM = frozenset({
    "Bernoulli", "Multinomial",
    "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike",
})  # fmt: skip


def is_exact(node: NodeProto) -> bool:
    """Whether a node only moves, selects or negates values: its output needs no rounding."""
    if domain(node) or node.op_type not in _EXACT:
        return False
    match node.op_type:
        case "Resize":
            return _text(node, "mode", "nearest") == "nearest" and "tf_crop" not in _text(
                node, "coordinate_transformation_mode", ""
            )
        case "ScatterElements" | "ScatterND":
            return _text(node, "reduction", "none") in ("none", "max", "min")
        case "Clip" | "Pad":  # up to opset 10 the limit or the filling is a float32 attribute
            return not any(attribute(node, name) for name in ("min", "max", "value"))
        case "Dropout":  # with training_mode given it may scale what it keeps
            return len(node.input) < 3
        case _:
            return True


def decides(node: NodeProto, used: Container[str]) -> bool:
    """Whether an exact node of rounded values is not the rounded node of exact ones.

    The largest of some values is the same before and after rounding; which one it was, or the whole
    number below it, is not. ``used`` are the tensors that somebody reads.
    """
    if domain(node):
        return False
    if node.op_type in _DECIDES:
        return True
    return node.op_type in _TELLS_WHICH and any(name in used for name in node.output[1:])


def is_product(node: NodeProto) -> bool:
    """Whether a node sums up products: what half precision is asked for."""
    return not domain(node) and node.op_type in _PRODUCTS


def accumulates(node: NodeProto) -> bool:
    """Whether a node adds or multiplies into its output in place, in the type of that output.

    Rounding each partial sum is not half storage with float32 accumulation; and ONNX Runtime's
    CPU provider has no such kernels.
    """
    scatters = node.op_type in ("ScatterElements", "ScatterND")
    return scatters and not domain(node) and _text(node, "reduction", "none") != "none"


def is_independent(node: NodeProto, independent: set[str]) -> bool:
    """Whether a node's outputs follow from shapes and constants alone.

    ``independent`` names the tensors that do. Such values are few and often become sizes or
    indices, where a rounded 3001 is another picture; so precision is kept in them if it can be.
    """
    kind = node.op_type  # of most nodes the first input tells: a graph may have 300 000
    if kind not in _IGNORES_VALUES and not all(n in independent for n in node.input if n):
        return False
    return not (kind in _RANDOM or kind in CONTROL_FLOW or domain(node) or bodies(node))


def _text(node: NodeProto, name: str, default: str) -> str:
    given = attribute(node, name)
    return given.s.decode() if given else default
