"""A recurrent node that runs step by step computes what it did, and rounds what it keeps."""

from __future__ import annotations

import io
import itertools
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from modelbuild.graph.files import Model
from modelbuild.graph.naming import Names
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.recurrence import stepped
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
TIMES, BATCH, WIDTH, HIDDEN = 7, 3, 4, 5
RNG = np.random.default_rng(0)


def recurrent(
    op: str, direction: str = "forward", given: frozenset[str] = frozenset(), **attributes: object
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A graph of one node; of its optional inputs it has those that are ``given``."""
    both, gates = 2 if direction == "bidirectional" else 1, GATES[op]
    shapes = {
        "x": (TIMES, BATCH, WIDTH),
        "w": (both, gates * HIDDEN, WIDTH),
        "r": (both, gates * HIDDEN, HIDDEN),
        "bias": (both, 2 * gates * HIDDEN),
        "lengths": (BATCH,),
        "h": (both, BATCH, HIDDEN),
        "c": (both, BATCH, HIDDEN),
        "peepholes": (both, 3 * HIDDEN),
    }
    names = [n if n in given | {"x", "w", "r"} else "" for n in shapes]
    if op != "LSTM":
        names = names[:6]
    feeds = {n: RNG.normal(0, 0.6, shapes[n]).astype(np.float32) for n in names if n}
    if "lengths" in feeds:
        feeds["lengths"] = np.array([TIMES, 3, 1], np.int32)
    outputs = ["Y", "Y_h", "Y_c"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(op, names, outputs, hidden_size=HIDDEN, direction=direction, **attributes)
    types = {n: TensorProto.INT32 if n == "lengths" else TensorProto.FLOAT for n in feeds}
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, types[n], [None] * a.ndim) for n, a in feeds.items()],
        [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, [None] * (4 if n == "Y" else 3))
            for n in outputs
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), feeds


def by_steps(proto: onnx.ModelProto, half: int) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(proto)
    nodes = stepped(proto.graph.node[0], half, Names.of(proto), 17)
    del made.graph.node[:]
    made.graph.node.extend(nodes)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(proto: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    return session(Model(proto)).run(None, feeds)


OPTIONAL = [
    frozenset(),
    frozenset({"bias", "h", "c"}),
    frozenset({"lengths"}),
    frozenset({"lengths", "h", "bias"}),
]


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("given", OPTIONAL, ids=lambda given: "-".join(sorted(given)) or "nothing")
def test_without_rounding_it_computes_what_the_node_does(op, direction, given):
    proto, feeds = recurrent(op, direction, given)
    made = by_steps(proto, TensorProto.FLOAT)
    assert "Scan" in {n.op_type for n in made.graph.node}
    for found, wanted in zip(run(made, feeds), run(proto, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("op", "attributes", "given"),
    [
        ("LSTM", {}, {"bias"}),
        ("LSTM", {}, {"peepholes", "bias"}),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Tanh"] * 2}, set()),
        ("LSTM", {"clip": 0.3, "input_forget": 1}, {"bias"}),
        ("LSTM", {"activations": ["Sigmoid", "Tanh", "Tanh", "HardSigmoid", "Softsign", "Relu"]}, set()),
        ("GRU", {"linear_before_reset": 1}, {"bias"}),
        ("GRU", {"activations": ["Sigmoid", "Tanh", "HardSigmoid", "Softsign"]}, set()),
        ("RNN", {"activations": ["Relu", "Tanh"]}, set()),
    ],
)
def test_a_nodes_attributes_hold_in_each_direction(op, attributes, given):
    proto, feeds = recurrent(op, "bidirectional", frozenset(given), **attributes)
    made = by_steps(proto, TensorProto.FLOAT)
    assert "Scan" in {n.op_type for n in made.graph.node}
    for found, wanted in zip(run(made, feeds), run(proto, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", GATES)
def test_with_other_formulas_the_states_are_rounded_after_every_time_step(op):
    proto, feeds = recurrent(op, "forward", frozenset({"h", "c"}), clip=10.0)
    y, *states = run(by_steps(proto, TensorProto.FLOAT16), feeds)
    names = ["h", "c"][: len(states)]
    now = dict(feeds)
    for time, wanted in enumerate(y):
        made, *kept = run(proto, {**now, "x": feeds["x"][time : time + 1]})
        np.testing.assert_allclose(wanted, made[0], rtol=1e-5, atol=1e-7)
        now |= {n: k.astype(np.float16).astype(np.float32) for n, k in zip(names, kept, strict=True)}
    for name, state in zip(names, states, strict=True):
        np.testing.assert_array_equal(state, now[name])


def in_half(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float16).astype(np.float32)


def test_a_cell_rounds_after_every_operator():
    proto, feeds = recurrent("RNN", "forward", frozenset({"h", "bias"}))
    y, last = run(by_steps(proto, TensorProto.FLOAT16), feeds)
    w, r, bias, h = feeds["w"][0], feeds["r"][0], feeds["bias"][0], feeds["h"][0]
    for x, wanted in zip(feeds["x"], y, strict=True):
        given = in_half(x @ w.T + bias[:HIDDEN])
        memory = in_half(h @ r.T + bias[HIDDEN:])
        made = np.tanh(in_half(given + memory))
        np.testing.assert_allclose(wanted[0], made, rtol=1e-6)
        h = in_half(made)
    np.testing.assert_array_equal(last[0], h)


@pytest.mark.parametrize("bias", [0.0, 6.0], ids=["quick", "slow"])
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_what_a_long_memory_loses_is_what_pytorchs_half_module_loses(op, bias):
    import torch

    torch.manual_seed(0)
    module = getattr(torch.nn, op)(8, 16).eval()
    with torch.no_grad():
        module.bias_ih_l0[16:32] += bias  # PyTorch's second gate is the one that keeps
        x = torch.rand(400, 2, 8)
        exact = module(x)[0].numpy()
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, (x,), buffer, dynamo=False, opset_version=17)
        with torch.backends.mkldnn.flags(enabled=False):  # its fused layers keep float32 on newer processors
            wanted = module.half()(x.half())[0].float().numpy()
    options = HalfOptions(keep_io_types=False, op_block_list=())
    model, _ = convert(Model(onnx.load_from_string(buffer.getvalue())), options)
    feeds = {model.proto.graph.input[0].name: x.numpy().astype(np.float16)}
    found = session(simulated(model)).run(None, feeds)[0].astype(np.float32)
    error, true_error = (float(np.linalg.norm(a - exact)) for a in (found, wanted))
    assert error == pytest.approx(true_error, rel=0.5)


@pytest.mark.parametrize(
    "outputs", [o for o in itertools.product(("Y", ""), ("Y_h", ""), ("Y_c", "")) if any(o)]
)
@pytest.mark.parametrize("direction", ["reverse", "bidirectional"])
def test_outputs_may_be_left_out(outputs, direction):
    proto, feeds = recurrent("LSTM", direction)
    proto.graph.node[0].output[:] = outputs
    kept = [value for value in proto.graph.output if value.name in outputs]
    copies = onnx.GraphProto(output=kept)
    del proto.graph.output[:]
    proto.graph.output.extend(copies.output)
    for found, wanted in zip(run(by_steps(proto, TensorProto.FLOAT), feeds), run(proto, feeds), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_what_cannot_be_stepped_stays_as_it_is():
    scaled, _ = recurrent(
        "RNN", "bidirectional", activations=["Affine", "Affine"], activation_alpha=[0.5, 0.4]
    )
    batch_first, _ = recurrent("GRU", layout=1)
    plain, _ = recurrent("GRU")
    for proto, version in ((scaled, 17), (batch_first, 17), (plain, 12)):
        (node,) = proto.graph.node
        assert stepped(node, TensorProto.FLOAT16, Names.of(proto), version) == [node]
