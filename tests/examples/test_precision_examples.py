"""The examples of fewer bits: autocast, onnxconverter-common's options, mixed precision, bf16."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from tests.conftest import Answer
from tests.examples.workshop import FLOAT, HALF, Workshop, dims, edge_types, node_types, of

pytestmark = pytest.mark.slow

BUILT = (
    "autocast_kernel", "autocast_float32_part", "float16_options", "mixed_precision",
    "mixed_precision_function", "bf16",
)  # fmt: skip
RNG = np.random.default_rng(7)

# What a function that is not satisfied, or not a check, makes of the example.
CHECKS = """\
import numpy as np


def never(reference, candidate):
    return False


def broken(reference, candidate):
    raise KeyError("logits")


def forgetful(reference, candidate):
    np.allclose(reference[0], candidate[0], rtol=0.01)


def careful(reference, candidate):
    assert isinstance(reference, list) and isinstance(candidate, list)
    assert len(reference) == len(candidate) == 1 and reference[0].shape == candidate[0].shape
    error = np.linalg.norm(candidate[0] - reference[0]) / np.linalg.norm(reference[0])
    return bool(error < 9e-4)


def impossible(reference, candidate):
    return bool(np.abs(candidate[0] - reference[0]).max() < 7e-7)
"""
REFUSED = {
    "never": "`hard_checks:never` says False at batch=1, sequence=1",
    "broken": "`hard_checks:broken` raised KeyError: 'logits' (hard_checks.py:9 in broken) at batch=1, "
    "sequence=1",
    "forgetful": "`hard_checks:forgetful` gave a `NoneType`, not True or False",
}

# Nothing but shape inference knows that `part` is a float: no other tensor must have its type.
SEQUENCE = """<ir_version: 9, opset_import: ["" : 18]>
g (float[N, 4] x) => (float[N, 2] y)
  <int64 two = {2}, int64 zero = {0}, float[4, 2] w = {1, 0, 0, 1, 0, 0, 0, 0}>
{
  s = SplitToSequence<axis = 1>(x, two)
  part = SequenceAt(s, zero)
  grown = Exp(part)
  more = Greater(grown, part)
  chosen = MatMul(x, w)
  other = Neg(chosen)
  y = Where(more, chosen, other)
}"""
ADOPTED = """\
model: {{onnx: sequence.onnx}}
inputs: {{x: {{shape: [batch, 4]}}}}
dynamic_axes: {{batch: {{min: 1, opt: 4, max: 8}}}}
simplify: false
precision: {{fp16: {{method: convert, disable_shape_infer: {flag}}}}}
verify: {{samples: 2}}
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop.at(tmp_path_factory.mktemp("precision"))
    made.vary("float16_options", "float16_defaults", *[
        (f"    {line}\n", "") for line in (
            "min_positive_val: 1.0e-6", "max_finite_val: 1.0e+4", "keep_io_types: false",
            "disable_shape_infer: true", "op_block_list: [Softmax]", "node_block_list: [node_linear]",
        )
    ])  # fmt: skip
    onnx.save(onnx.parser.parse_model(SEQUENCE), str(made.project.folder / "examples/sequence.onnx"))
    for name, flag in (("inferring", "false"), ("not_inferring", "true")):
        made.project.write(f"examples/{name}.yaml", ADOPTED.format(flag=flag))
    made.project.write("examples/hard_checks.py", CHECKS)
    made.vary("mixed_precision_function", "careful", _checked_by("careful"))
    more = ("float16_defaults", "inferring", "not_inferring", "careful")
    made.answer = made.build(*BUILT, *more)
    yield made
    made.clear()


@pytest.fixture(scope="module")
def refused(shop: Workshop) -> Answer:
    """Built after the others, so that the model's export is there."""
    shop.vary("autocast_kernel", "kernel_in_half", ("method: autocast", "method: half"))
    shop.vary("mixed_precision", "plain", ("method: mixed", "method: convert"))
    for check in (*REFUSED, "impossible"):
        shop.vary("mixed_precision_function", check, _checked_by(check))
    return shop.build("kernel_in_half", "plain", *REFUSED, "impossible")


def _checked_by(name: str) -> tuple[str, str]:
    return "example_checks:close_and_same_class", f"hard_checks:{name}"


@pytest.mark.parametrize("name", BUILT)
def test_the_example_builds_and_every_file_is_proven(shop: Workshop, name: str) -> None:
    recipe = of(shop.answer, name)
    assert recipe["status"] == "ok", recipe
    assert shop.answer.code == 0
    for artifact in recipe["artifacts"]:
        assert artifact["status"] == "built"
        assert artifact["parity"]["passed"]


# ---- autocast ----------------------------------------------------------------------------------


def test_a_float32_kernel_in_forward_goes_through_autocast_and_not_through_half(
    shop: Workshop, refused: Answer
) -> None:
    model = shop.graph("autocast_kernel.fp16.onnx")
    convolutions = [n for n in model.graph.node if n.op_type == "Conv"]
    assert [made for _, made in node_types(model)["Conv"]] == [HALF] * 3
    kernel = _weights(model)[convolutions[-1].input[1]]
    assert kernel.dtype == np.float16
    np.testing.assert_array_equal(kernel[3, 0] * 16, [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    failed = of(refused, "kernel_in_half")
    said = next(d for a in failed["artifacts"] for d in a["diagnostics"])
    assert said["code"] == "export-failed"
    assert "model.half() fails in PyTorch itself" in said["message"]
    assert "try another method: auto or autocast" in said["hint"]


def test_what_forward_keeps_from_autocast_stays_in_float32(shop: Workshop) -> None:
    model = shop.graph("autocast_float32_part.fp16.onnx")
    types = node_types(model)
    assert {made for _, made in types["Conv"]} == {HALF}
    producers = {o: n for n in model.graph.node for o in n.output}
    made = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.output)}
    island, front = set(), [model.graph.output[0].name]
    while front:  # back from the output, through the whole of the float32 part
        name = front.pop()
        node = producers.get(name)
        if node is None or name in island or node.op_type == "Cast":
            continue
        island.add(name)
        front.extend(node.input)
    assert {"Sub", "Sqrt", "ReduceSum", "Neg"} <= {producers[n].op_type for n in island}
    assert {made[n] for n in island} == {FLOAT}
    image = RNG.uniform(size=(3, 3, 32, 32)).astype(np.float32)
    (similarity,) = shop.session("autocast_float32_part.fp16.onnx").run(None, {"image": image})
    assert (similarity**2).max() > 65504  # the sum that no float16 holds


# ---- onnxconverter-common's options ------------------------------------------------------------


def _weights(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Initializers and Constants that are not empty."""
    found = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    return {name: values for name, values in found.items() if values.size}


def test_min_positive_val_and_max_finite_val_move_weights(shop: Workshop) -> None:
    asked, default = (_weights(shop.graph(f"float16_{n}.fp16.onnx")) for n in ("options", "defaults"))

    def extremes(weights: dict[str, np.ndarray]) -> tuple[float, float]:
        halves = [a for a in weights.values() if a.dtype == np.float16 and a.any()]
        small = [float(np.abs(a[a != 0]).min()) for a in halves]
        return min(small), max(float(np.abs(a).max()) for a in weights.values() if a.dtype.kind == "f")

    assert extremes(asked) == (pytest.approx(1e-6, rel=0.05), 10_000)
    assert extremes(default) == (pytest.approx(1e-7, rel=0.5), 65_504)
    clamped = {
        d["message"] for a in of(shop.answer, "float16_options")["artifacts"] for d in a["diagnostics"]
        if d["code"] == "value-clamped"
    }  # fmt: skip
    assert clamped == {
        "10 values of 2948, not zero but closer to it than ±1e-06, became ±1e-06: "
        "second.weight (10, from 1e-09)",
        "1 value beyond ±10000 became ±10000: mask (1, from -1e+09)",
    }


def test_keep_io_types_false_gives_half_inputs_and_outputs(shop: Workshop) -> None:
    assert edge_types(shop.graph("float16_options.fp16.onnx")) == {HALF}
    assert edge_types(shop.graph("float16_defaults.fp16.onnx")) == {FLOAT}
    image = RNG.uniform(size=(5, 3, 32, 32)).astype(np.float16)
    _, probabilities = shop.session("float16_options.fp16.onnx").run(None, {"image": image})
    assert probabilities.dtype == np.float16
    np.testing.assert_allclose(probabilities.astype(np.float32).sum(-1), 1, atol=5e-3)
    assert (probabilities[:, 0] == 0).all()  # -1e4 masks as well as -1e9 does


def test_blocked_operators_and_nodes_stay_in_float32_with_their_weights(shop: Workshop) -> None:
    asked, default = (shop.graph(f"float16_{n}.fp16.onnx") for n in ("options", "defaults"))
    made = {n: t for rows in node_types(asked).values() for n, t in rows}
    by_default = {n: t for rows in node_types(default).values() for n, t in rows}
    (softmax,) = (n.name for n in asked.graph.node if n.op_type == "Softmax")
    assert (made["node_linear"], by_default["node_linear"]) == (FLOAT, HALF)
    assert (made[softmax], by_default[softmax]) == (FLOAT, HALF)
    assert {made[n.name] for n in asked.graph.node if n.op_type == "Conv"} == {HALF}
    assert made["node_linear_1"] == HALF
    weights = _weights(asked)
    blocked = next(n for n in asked.graph.node if n.name == "node_linear")
    assert {weights[name].dtype for name in blocked.input[1:]} == {np.dtype(np.float32)}


def test_without_shape_inference_what_only_it_could_tell_stays_in_float32(shop: Workshop) -> None:
    def types(name: str) -> list[int]:
        found = node_types(shop.graph(f"{name}.fp16.onnx"))
        return [found[op][0][1] for op in ("MatMul", "Exp")]

    assert types("inferring") == [HALF, HALF]
    assert types("not_inferring") == [HALF, FLOAT]


# ---- mixed precision ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mixed_precision", "mixed_precision_function", "careful"])
def test_the_nodes_that_the_search_keeps_are_float32_and_the_others_half(shop: Workshop, name: str) -> None:
    artifact = of(shop.answer, name)["artifacts"][1]
    kept = artifact["conversion"]["kept"]
    made = {
        node: t for op, rows in node_types(shop.graph(f"{name}.fp16.onnx")).items() if op != "Cast"
        for node, t in rows
    }  # fmt: skip
    assert kept
    assert {made[node] for node in kept} == {FLOAT}
    halves = [node for node, t in made.items() if t == HALF]
    assert len(halves) > len(kept)


def test_rtol_and_atol_decide_what_mixed_precision_keeps(shop: Workshop, refused: Answer) -> None:
    parity = of(shop.answer, "mixed_precision")["artifacts"][1]["parity"]
    assert parity["tolerance"] == "rtol 0.01, atol 0.01"
    assert parity["outputs"]["logits"]["headroom"] >= 1
    plain = of(refused, "plain")["artifacts"][1]
    assert plain["status"] == "failed"
    assert "fp16-overflow" in {d["code"] for d in plain["diagnostics"]}
    assert not shop.path("plain.fp16.onnx").exists()
    assert shop.path("plain.fp32.onnx").exists()


def test_the_search_goes_on_until_the_users_function_says_yes(shop: Workshop) -> None:
    easy = of(shop.answer, "mixed_precision_function")["artifacts"][1]
    hard = of(shop.answer, "careful")["artifacts"][1]
    assert len(hard["conversion"]["kept"]) > len(easy["conversion"]["kept"])
    error = {n: a["parity"]["outputs"]["logits"]["relative_l2"] for n, a in (("easy", easy), ("hard", hard))}
    assert error["hard"] < 9e-4 < error["easy"]


@pytest.mark.parametrize(("check", "message"), REFUSED.items())
def test_a_function_that_does_not_say_yes_publishes_nothing(
    shop: Workshop, refused: Answer, check: str, message: str
) -> None:
    recipe = of(refused, check)
    assert recipe["status"] == "failed"
    for artifact in recipe["artifacts"]:
        assert artifact["status"] == "failed"
        said = [d for d in artifact["diagnostics"] if d["code"] == "parity-failed"]
        assert message in [d["message"] for d in said]
        assert "two lists of arrays: PyTorch's and the artifact's" in said[0]["hint"]
        assert not shop.path(artifact["name"]).exists()


def test_a_function_that_no_choice_of_nodes_satisfies_is_told_so(shop: Workshop, refused: Answer) -> None:
    fp32, fp16 = of(refused, "impossible")["artifacts"]
    assert (fp32["status"], fp16["status"]) == ("built", "failed")
    (said,) = [d for d in fp16["diagnostics"] if d["code"] == "fp16-infeasible"]
    assert said["message"].startswith("no choice of nodes to keep in fp32 was found: what holds on the input")
    assert " and a choice with more room would keep " in said["message"]
    assert "name the nodes with `node_block_list`" in said["hint"]


def test_what_does_not_convince_is_no_more_than_unproven(refused: Answer) -> None:
    failed = [r["name"] for r in refused.report["recipes"] if r["status"] == "failed"]
    assert failed == [r["name"] for r in refused.report["recipes"]]
    assert refused.code == 3


# ---- bf16 --------------------------------------------------------------------------------------


def test_bf16_is_as_wide_as_float32_and_its_edges_stay_float32(shop: Workshop) -> None:
    model = onnx.load(str(shop.path("bf16.bf16.onnx")))
    kinds = {t.data_type for t in model.graph.initializer if len(t.dims) > 1}
    assert kinds == {TensorProto.BFLOAT16}
    assert [dims(v) for v in model.graph.input] == [["batch", "sequence", 80], ["batch", 1, "sequence"]]
    assert edge_types(model) == {FLOAT, TensorProto.BOOL}
    parity = of(shop.answer, "bf16")["artifacts"][0]["parity"]
    assert parity["evidence"] in ("bf16-simulated", "gpu")
