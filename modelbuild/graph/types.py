"""The type of every tensor of a graph, as operator schemas know it.

Types are written as the schemas write them: ``tensor(float)``, ``seq(tensor(float16))``. The type
of a tensor follows from the types of the graph's inputs and weights, by the type variables of each
operator (the two inputs of ``Add`` and its output share one). That needs no shapes, holds above
2 GiB, and does not believe a ``value_info`` that an exporter left stale.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import onnx
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
)

from modelbuild.graph.naming import bodies, graphs, nodes
from modelbuild.graph.shapes import forget, inferred

FLOAT = "tensor(float)"
HALF_TYPES = {
    "tensor(float16)": int(TensorProto.FLOAT16),
    "tensor(bfloat16)": int(TensorProto.BFLOAT16),
}
# The precisions of a recipe.
ELEM_TYPES = {
    "fp32": int(TensorProto.FLOAT),
    "fp16": int(TensorProto.FLOAT16),
    "bf16": int(TensorProto.BFLOAT16),
}
# What a precision is called in names: of a tensor's second version, and of the Cast that makes it.
SHORT = {elem_type: name for name, elem_type in ELEM_TYPES.items()}
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})

# Operators whose output's type is a number in an attribute; None: without it, the input's type.
TYPE_ATTRIBUTE: dict[str, tuple[str, int | None]] = {
    "Cast": ("to", None),
    "BitCast": ("to", None),
    "EyeLike": ("dtype", None),
    "RandomNormalLike": ("dtype", None),
    "RandomUniformLike": ("dtype", None),
    "Bernoulli": ("dtype", None),
    "RandomNormal": ("dtype", TensorProto.FLOAT),
    "RandomUniform": ("dtype", TensorProto.FLOAT),
    "Multinomial": ("dtype", TensorProto.INT32),
    "BlackmanWindow": ("output_datatype", TensorProto.FLOAT),
    "HammingWindow": ("output_datatype", TensorProto.FLOAT),
    "HannWindow": ("output_datatype", TensorProto.FLOAT),
    "MelWeightMatrix": ("output_datatype", TensorProto.FLOAT),
}


@dataclass(frozen=True)
class Port:
    """One place where a node, or the body it carries, uses or defines a tensor.

    Ports of a node with an equal ``variable`` hold one type. ``allowed`` is what the operator's
    schema permits there; empty where there is no schema.
    """

    tensor: str
    defines: bool
    variable: str
    allowed: frozenset[str]
    node: NodeProto
    index: int
    formal: ValueInfoProto | None = None  # the body's input or output, where it is one

    def rename(self, name: str) -> None:
        """Make this port hold another tensor."""
        if self.formal is not None:
            self.formal.name = name
        elif self.defines:
            self.node.output[self.index] = name
        else:
            self.node.input[self.index] = name


def opset_versions(proto: ModelProto) -> dict[str, int]:
    """Domain -> version, the default domain under the empty name."""
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}


def domain(node: NodeProto) -> str:
    return "" if node.domain == "ai.onnx" else node.domain


def attribute(node: NodeProto, name: str) -> AttributeProto | None:
    return next((a for a in node.attribute if a.name == name), None)


def ports(node: NodeProto, opsets: Mapping[str, int]) -> list[Port]:
    """Every used or defined tensor of a node, with what its schema says of it.

    For If, Loop and Scan that includes the inputs and outputs of the bodies, which share the type
    of the node's own: a state of a Loop is a node input, a body input, a body output and a node
    output.
    """
    where = domain(node)
    schema = _formals(node.op_type, opsets.get(where, 0), where)
    found: list[Port] = []
    for field, formals, defines in (
        (node.input, schema[0], False),
        (node.output, schema[1], True),
    ):
        for index, name in enumerate(field):
            if name:
                variable, allowed = _formal_at(formals, index, defines)
                found.append(Port(name, defines, variable, allowed, node, index))
    if where == "" and node.op_type in CONTROL_FLOW:
        return _control_flow(node, found)
    if where == "" and node.op_type == "LayerNormalization":
        return [replace(p, allowed=_stashed(node)) if p.defines and p.index else p for p in found]
    return found


def _stashed(node: NodeProto) -> frozenset[str]:
    """The type of a LayerNormalization's statistics, which its schema leaves to an attribute."""
    given = attribute(node, "stash_type")
    return frozenset({f"tensor({type_name(given.i if given else TensorProto.FLOAT)})"})


@dataclass(frozen=True)
class _Formal:
    variable: str
    allowed: frozenset[str]
    variadic: bool
    homogeneous: bool


@cache
def _formals(op_type: str, version: int, where: str) -> tuple[tuple[_Formal, ...], tuple[_Formal, ...]]:
    try:
        schema = onnx.defs.get_schema(op_type, version, where)
    except onnx.defs.SchemaError:
        return (), ()
    variadic = onnx.defs.OpSchema.FormalParameterOption.Variadic

    def formal(of: onnx.defs.OpSchema.FormalParameter) -> _Formal:
        return _Formal(of.type_str, frozenset(of.types), of.option == variadic, bool(of.is_homogeneous))

    return tuple(map(formal, schema.inputs)), tuple(map(formal, schema.outputs))


def _formal_at(formals: tuple[_Formal, ...], index: int, defines: bool) -> tuple[str, frozenset[str]]:
    if index >= len(formals) and not (formals and formals[-1].variadic):
        return f"{'out' if defines else 'in'}{index}", frozenset()
    formal = formals[min(index, len(formals) - 1)]
    if formal.variadic and not formal.homogeneous:
        return f"{formal.variable}{'>' if defines else '<'}{index}", formal.allowed
    return formal.variable, formal.allowed


def _control_flow(node: NodeProto, own: list[Port]) -> list[Port]:
    """The ports of an If, Loop or Scan, tied to those of its bodies by equal variables."""
    states = len(node.input)
    if node.op_type == "Scan":
        count = attribute(node, "num_scan_inputs")
        states -= count.i if count else 0

    def variable(defines: bool, index: int) -> str:
        match node.op_type, defines:
            case "If", False:
                return "cond"
            case "Loop", False:  # trip count, condition, states
                return f"V{index - 2}" if index >= 2 else f"head{index}"
            case "Scan", False:  # states, scanned inputs
                return f"V{index}" if index < states else f"scanned{index}"
            case _:
                return f"V{index}"

    # A Loop's body takes what the node takes, and returns the condition before what it returns.
    skipped = 1 if node.op_type == "Loop" else 0
    tied = [replace(port, variable=variable(port.defines, port.index)) for port in own]
    allowed = frozenset().union(*(p.allowed for p in own if p.variable[0] == "V"))
    for body in bodies(node):
        for index, value in enumerate(body.input):
            tied.append(Port(value.name, True, variable(False, index), allowed, node, index, value))
        for index, value in enumerate(body.output):
            name = variable(True, index - skipped) if index >= skipped else "head1"
            tied.append(Port(value.name, False, name, allowed, node, index, value))
    return tied


# ---- inference ---------------------------------------------------------------------------------


def tensor_types(proto: ModelProto, *, infer: bool = True) -> dict[str, str]:
    """The type of each tensor of a model, its bodies included; what nobody knows is missing.

    Names must be distinct (``naming.prepared``). Schemas decide. What they leave open (the
    output of an operator of another domain, an element of a sequence) is asked of ONNX's shape
    inference, if ``infer``, and then of what the file declares.
    """
    known: dict[str, str] = {}
    for value in proto.graph.input:
        _declare(known, value.name, value.type)
    for graph in graphs(proto.graph):
        for tensor in graph.initializer:
            known[tensor.name] = f"tensor({type_name(tensor.data_type)})"
        for sparse in graph.sparse_initializer:
            known[sparse.values.name] = f"tensor({type_name(sparse.values.data_type)})"
    opsets = opset_versions(proto)
    groups = [(node, ports(node, opsets)) for node in nodes(proto.graph)]
    tensors = {port.tensor for _, found in groups for port in found}
    _propagate(groups, known)
    if infer and not tensors <= known.keys():
        _declare_all(known, _inferred(proto).graph)
        _propagate(groups, known)
    if not tensors <= known.keys():
        _declare_all(known, proto.graph)
        _propagate(groups, known)
    return known


def type_name(elem_type: int) -> str:
    """``1`` -> ``float``."""
    return str(TensorProto.DataType.Name(elem_type)).lower()


def type_string(of: TypeProto) -> str | None:
    """The schema's way of writing a type; None where the file leaves it open."""
    kind = of.WhichOneof("value")
    match kind:
        case "tensor_type" if of.tensor_type.elem_type:
            return f"tensor({type_name(of.tensor_type.elem_type)})"
        case "sequence_type":
            return f"seq({type_string(of.sequence_type.elem_type)})"
        case "optional_type":
            return f"optional({type_string(of.optional_type.elem_type)})"
        case "sparse_tensor_type" | "map_type":
            return str(kind).removesuffix("_type")
        case _:
            return None


def _declare(known: dict[str, str], name: str, declared: TypeProto) -> None:
    found = type_string(declared)
    if found is not None:
        known.setdefault(name, found)


def _declare_all(known: dict[str, str], graph: GraphProto) -> None:
    for inner in graphs(graph):
        for value in (*inner.value_info, *inner.input, *inner.output):
            _declare(known, value.name, value.type)


def _inferred(proto: ModelProto) -> ModelProto:
    bare = ModelProto()
    bare.CopyFrom(proto)
    forget(bare.graph)
    return inferred(bare, values=False)  # what stays unknown stays in float32


def _propagate(groups: list[tuple[NodeProto, list[Port]]], known: dict[str, str]) -> None:
    """Fill in what follows from ``known``, until nothing more does."""
    todo = groups
    while True:
        before = len(known)
        rest = []
        for node, found in todo:
            _propagate_node(node, found, known)
            if any(port.tensor not in known for port in found):
                rest.append((node, found))
        todo = rest
        if not todo or len(known) == before:
            return


def _propagate_node(node: NodeProto, found: list[Port], known: dict[str, str]) -> None:
    if all(port.tensor in known for port in found):
        return
    own = own_type(node, known)
    if own is not None and node.output[0]:
        known.setdefault(node.output[0], own)
    variables: defaultdict[str, list[Port]] = defaultdict(list)
    for port in found:
        variables[port.variable].append(port)
    for shared in variables.values():
        one = next((known[p.tensor] for p in shared if p.tensor in known), None)
        if one is None and len(shared[0].allowed) == 1:
            (one,) = shared[0].allowed
        if one is not None:
            for port in shared:
                known.setdefault(port.tensor, one)


def own_type(node: NodeProto, known: Mapping[str, str]) -> str | None:
    """The type of a node's first output, where an attribute says it."""
    if domain(node):
        return None
    if node.op_type in TYPE_ATTRIBUTE:
        name, default = TYPE_ATTRIBUTE[node.op_type]
        given = attribute(node, name)
        elem_type = given.i if given else default
        return f"tensor({type_name(elem_type)})" if elem_type else known.get(node.input[0])
    if node.op_type == "Constant":
        return _constant_type(node.attribute[0])
    if node.op_type == "ConstantOfShape":
        given = attribute(node, "value")
        return f"tensor({type_name(given.t.data_type)})" if given else FLOAT
    if node.op_type == "DequantizeLinear":
        given = attribute(node, "output_dtype")
        return f"tensor({type_name(given.i)})" if given and given.i else known.get(node.input[1])
    return None


def _constant_type(value: AttributeProto) -> str | None:
    match value.name:
        case "value":
            return f"tensor({type_name(value.t.data_type)})"
        case "sparse_value":
            return f"tensor({type_name(value.sparse_tensor.values.data_type)})"
        case "value_float" | "value_floats":
            return FLOAT
        case "value_int" | "value_ints":
            return "tensor(int64)"
        case "value_string" | "value_strings":
            return "tensor(string)"
        case _:
            return None
