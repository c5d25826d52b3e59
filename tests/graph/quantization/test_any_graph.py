"""Any graph with int8 in it is valid, and computes what ONNX says of it."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from modelbuild.graph.files import Model
from modelbuild.graph.quantization.points import Candidates, Int8Options
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated
from tests.graph import half_oracle
from tests.graph.quantization.pairs import LEVELS, Arrays, made, model, ran, reference, thresholds

SIDE = 4
UNARY = ["Relu", "Neg", "Abs", "Sigmoid", "Tanh", "Identity", "HardSwish", "LeakyRelu"]
OTHER = [
    "Conv", "Depthwise", "Biased", "Transposed", "MatMul", "Stack", "First", "Gemm", "Turned", "Attention",
    "Shared", "Constant", "Add", "Residual", "Average", "Gated", "Norm", "Embedding", "If", "Transpose",
]  # fmt: skip
PRODUCTS = OTHER[:12]


class Growing:
    """A graph of tensors of [1, 4, 4, 4] that stay near 1 in magnitude."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list = []
        self.weights: Arrays = {}
        self.count = 0

    def add(self, op: str, *inputs: str, **attributes: object) -> str:
        self.count += 1
        made_ = f"t{self.count}"
        name = f"n{self.count}" if self.count % 3 else ""  # some have no name
        self.nodes.append(helper.make_node(op, inputs, [made_], name, **attributes))
        return made_

    def weight(self, *shape: int) -> str:
        name = f"w{len(self.weights)}"
        values = self.rng.normal(0, 0.3, shape) * self.rng.choice([0.1, 1, 2], shape[-1:])
        self.weights[name] = values.astype(np.float32)
        return name

    def constant(self, name: str, array: np.ndarray) -> str:
        self.weights.setdefault(name, array)
        return name

    def flat(self, a: str) -> str:
        return self.add("Reshape", a, self.constant("flat", np.array([16, SIDE])))

    def back(self, a: str) -> str:
        return self.add("Reshape", a, self.constant("shape", np.array([1, SIDE, SIDE, SIDE])))

    def shared(self) -> str:
        if "shared" not in self.weights:
            self.weights["shared"] = self.rng.normal(0, 0.4, (SIDE, SIDE)).astype(np.float32)
        return "shared"

    def grow(self, kind: str, a: str, b: str) -> str:
        square = (SIDE, SIDE)
        match kind:
            case "Conv":
                return self.add("Conv", a, self.weight(*square, 3, 3), pads=[1, 1, 1, 1])
            case "Depthwise":
                return self.add("Conv", a, self.weight(SIDE, 1, 3, 3), pads=[1, 1, 1, 1], group=SIDE)
            case "Biased":
                return self.add("Conv", a, self.weight(SIDE, 2, 1, 1), self.weight(SIDE), group=2)
            case "Transposed":
                return self.add("ConvTranspose", a, self.weight(*square, 3, 3), pads=[1, 1, 1, 1])
            case "MatMul":
                return self.add("MatMul", a, self.weight(*square))
            case "Stack":
                return self.add("MatMul", a, self.weight(SIDE, *square))
            case "First":
                return self.add("MatMul", self.weight(*square), a)
            case "Gemm":
                return self.back(self.add("Gemm", self.flat(a), self.weight(*square), self.weight(SIDE)))
            case "Turned":
                return self.back(self.add("Gemm", self.flat(a), self.shared(), transB=1, alpha=0.5))
            case "Attention":
                turned = self.add("Transpose", b, perm=[0, 1, 3, 2])
                return self.add("MatMul", self.add("Softmax", self.add("MatMul", a, turned)), b)
            case "Shared":
                return self.add("MatMul", a, self.shared())
            case "Constant":
                values = self.rng.normal(0, 0.4, square).astype(np.float32)
                value = helper.make_tensor("v", 1, square, values.ravel())
                return self.add("MatMul", a, self.add("Constant", value=value))
            case "Residual":
                inner = self.add("Conv", a, self.weight(*square, 3, 3), pads=[1, 1, 1, 1])
                summed = self.add("Relu", self.add("Add", inner, b))
                return self.add("Conv", summed, self.weight(*square, 1, 1))
            case "Average":
                half = self.constant("half", np.float32(0.5))
                return self.add("Mul", self.add("Add", a, b), half)
            case "Gated":
                return self.add("Mul", a, self.add("Sigmoid", b))
            case "Norm":
                ones = self.constant("ones", np.ones(SIDE, np.float32))
                return self.add("LayerNormalization", a, ones)
            case "Embedding":
                rows = self.add("Gather", self.shared(), self.constant("rows", np.array([2, 0, 3, 3])))
                return self.add("Min", a, rows)
            case "If":
                flag = self.constant("flag", np.array(True))
                branches = {f"{n}_branch": self.branch(n, a, b) for n in ("then", "else")}
                return self.add("If", flag, **branches)
            case "Transpose":
                return self.add("Transpose", a, perm=[0, 1, 3, 2])
            case "Add":
                return self.add("Add", a, b)
            case _:
                return self.add(kind, a)

    def branch(self, name: str, a: str, b: str):
        nodes = [
            helper.make_node("MatMul", [a, self.shared()], ["inner"], f"in_{name}{self.count}"),
            helper.make_node("Max" if name == "then" else "Min", ["inner", b], ["out"]),
        ]
        out = helper.make_tensor_value_info("out", 1, [1, SIDE, SIDE, SIDE])
        return helper.make_graph(nodes, name, [], [out])


@st.composite
def generated(draw: st.DrawFn) -> tuple[Model, Int8Options, list[str], list[str]]:
    growing = Growing(draw(st.integers(0, 99)))
    tensors = ["x", "z"]
    kinds = draw(st.lists(st.sampled_from(UNARY + OTHER), min_size=2, max_size=9))
    for kind in [*kinds, draw(st.sampled_from(PRODUCTS))]:
        tensors.append(growing.grow(kind, draw(st.sampled_from(tensors)), draw(st.sampled_from(tensors))))
    outputs = dict.fromkeys([tensors[-1], *draw(st.lists(st.sampled_from(tensors[2:]), max_size=3))])
    shape = [1, SIDE, SIDE, SIDE]
    base = draw(st.sampled_from(["fp32", "fp16"]))
    graph = model(
        growing.nodes,
        {"x": shape, "z": shape},
        dict.fromkeys(outputs, shape),
        growing.weights,
        opset=draw(st.sampled_from(range(19, 26))),
    )
    graph.proto.ir_version = 10
    labels = [node.name or node.output[0] for node in growing.nodes]
    options = Int8Options(
        op_block_list=draw(st.sampled_from([(), (), ("Gemm",), ("Add",)])),
        node_block_list=tuple(draw(st.lists(st.sampled_from(labels), max_size=2, unique=True))),
        per_channel=draw(st.booleans()),
        reduce_range=draw(st.booleans()),
        base=base,
    )
    kept = draw(st.lists(st.sampled_from(labels), max_size=2, unique=True))
    return graph, options, kept, labels


def feeds(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return {n: rng.normal(0, 1, (1, SIDE, SIDE, SIDE)).astype(np.float32) for n in "xz"}


@settings(max_examples=150, deadline=None, derandomize=True, database=None)
@given(generated(), st.integers(0, 9))
def test_any_graph_with_int8_is_valid_and_computes_what_onnx_says(case, seed):
    graph, options, kept, _ = case
    found, points = made(graph, feeds(seed), options, kept)
    assert not {point.node for point in points} & {*kept, *options.node_block_list}
    given_ = feeds(seed + 1)
    if options.base == "fp32":
        wanted = reference(found, given_)
        for outputs in (ran(found, given_, LEVELS[0]), session(simulated(found)).run(None, given_)):
            for got, right in zip(outputs, wanted, strict=True):
                assert_same_but_for_steps(got, right)
    else:
        simulation = session(simulated(found)).run(None, given_)
        for got, wanted in zip(simulation, half_oracle.run(found.proto, given_), strict=True):
            assert_same_but_for_steps(got, np.asarray(wanted))
    for level in LEVELS:
        ran(found, given_, level)
    known = feeds(seed)  # other inputs may be clipped
    for got, exact in zip(ran(found, known), ran(graph, known), strict=True):
        assert np.linalg.norm(got - exact) <= 0.2 * np.linalg.norm(exact) + 1e-3


def assert_same_but_for_steps(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal, but where the order of a sum tips a value over to the next of the 256."""
    assert found.shape == wanted.shape
    assert found.dtype == wanted.dtype
    assert np.abs(found - wanted).max() <= 0.03 * max(1, np.abs(wanted).max())
    same = np.isclose(found, wanted, rtol=1e-3, atol=1e-4)
    assert same.mean() > 0.7, f"{(~same).sum()} of {same.size} values are others"


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(generated())
def test_a_node_that_is_kept_takes_none_in_but_leaves_the_others(case):
    """What is int8 with more kept is int8 with fewer kept: a search can rely on it."""
    graph, options, kept, labels = case
    candidates = Candidates(graph, options)
    ranges = thresholds(graph, options, feeds(0))
    fewer = {point.node for point in candidates.points((), ranges)}
    more = {point.node for point in candidates.points(kept, ranges)}
    assert more <= fewer - set(kept)
    products = {node.name or node.output[0] for node in graph.proto.graph.node if node.op_type != "Add"}
    assert (fewer - more) & products <= set(kept)
    assert candidates.points(labels, ranges) == ()
