"""The proof of a bf16 file, which no CPU runs."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from modelbuild.base.errors import ModelbuildError, ProofError, StepError
from modelbuild.base.tensors import TensorSpec, Values
from modelbuild.base.tolerance import Tolerance
from modelbuild.graph import files
from modelbuild.graph.files import Model
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.types import ELEM_TYPES
from modelbuild.steps.adopt import AdoptedReference
from modelbuild.steps.base import Outcome
from modelbuild.steps.reference import Sampling
from modelbuild.steps.verify import Verify

BFLOAT16 = ELEM_TYPES["bf16"]
HEAD = '<ir_version: 8, opset_import: ["" : 18]> g (float[2, 4] x) => (float[2, 4] y)'
LINEAR = (
    HEAD
    + """ <float[4, 4] w = {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 2, 3, 4, 5, 6, 7}>
    { h = MatMul(x, w)  y = Tanh(h) }"""
)


def prove(
    folder: Path,
    source: str,
    *,
    published: onnx.ModelProto | None = None,
    keep: bool = True,
    values: Values | None = None,
    dtype: str = "float32",
    precision: str = "bf16",
) -> Outcome:
    """Prove ``published``, by default the source in bf16 or fp16, against the source."""
    proto = onnx.parser.parse_model(source)
    onnx.save(proto, str(folder / "source.onnx"))
    (folder / "reference").mkdir()
    inputs = (TensorSpec("x", dtype, (2, 4), values or Values()),)
    AdoptedReference(path="source.onnx", sampling=Sampling(inputs, (), ({},), 2, 0)).run_at(
        folder, {}, folder / "reference"
    )
    half, _ = convert(Model(proto), HalfOptions(keep_io_types=keep, dtype=ELEM_TYPES[precision]))
    files.write(half if published is None else Model(published), folder / "m.onnx")
    step = Verify(
        filename="m.onnx",
        precision=precision,
        inputs=inputs,
        sizes={},
        rows=None,
        tolerance=Tolerance(relative_l2=5e-2),
        keep_io_types=keep,
    )
    return step.run({"model": folder, "reference": folder / "reference"}, folder)


@pytest.mark.parametrize("keep", [True, False], ids=["float32-edges", "bfloat16-edges"])
def test_a_file_without_kernels_is_judged_by_the_simulation(tmp_path: Path, keep: bool) -> None:
    parity = prove(tmp_path, LINEAR, keep=keep).data["parity"]
    assert parity["passed"]
    assert parity["evidence"] in ("bf16-simulated", "gpu")
    assert parity["outputs"]["y"]["relative_l2"] > 1e-4  # the error of bfloat16, and not of float32


def test_a_wrong_file_fails_although_it_would_have_no_kernels(tmp_path: Path) -> None:
    wrong = convert(
        Model(onnx.parser.parse_model(LINEAR.replace("Tanh", "Sigmoid"))),
        HalfOptions(dtype=BFLOAT16),
    )[0].proto
    with pytest.raises(ProofError) as caught:
        prove(tmp_path, LINEAR, published=wrong)
    assert [d.code for d in caught.value.diagnostics] == ["parity-failed"]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        ("operator", "ONNX Runtime has no operator `MatMul` of the domain `nobodys`"),
        ("opset", "m.onnx does not pass ONNX's checker: "),
        ("edges", "input `x` is bfloat16 in the graph, not float32"),
    ],
)
def test_any_other_trouble_with_the_file_still_fails_it(tmp_path: Path, spoil: str, says: str) -> None:
    options = HalfOptions(dtype=BFLOAT16, keep_io_types=spoil != "edges")
    proto = convert(Model(onnx.parser.parse_model(LINEAR)), options)[0].proto
    if spoil == "operator":
        proto.graph.node[1].domain = "nobodys"
        proto.opset_import.add(domain="nobodys", version=1)
    if spoil == "opset":
        proto.graph.node[1].op_type = "Sin"  # takes bfloat16 from 22
        proto.graph.node[1].input.pop()
    with pytest.raises(StepError) as caught:
        prove(tmp_path, LINEAR, published=proto)
    assert caught.value.diagnostics[0].message.startswith(says)


def test_a_value_that_leaves_the_range_is_told_by_its_node(tmp_path: Path) -> None:
    source = HEAD + "<float big = {3e38}> { h = Mul(x, big)  y = Div(h, big) }"
    with pytest.raises(ModelbuildError) as caught:
        prove(tmp_path, source, values=Values(low=1.13, high=1.134))
    first, *rest = caught.value.diagnostics
    assert first.code == "not-finite"
    assert first.message.startswith("values leave bf16's range (3.38953e+38) at `h` (Mul, up to ")
    assert rest[0].code == "not-finite"


@pytest.mark.parametrize(
    ("body", "at"),
    [
        ("<float big = {1e4}> { h = Mul(x, big)  t = Tanh(h)  y = Add(t, x) }", "`h` (Mul, up to "),
        (
            "<bool b = {1}, float big = {1e4}> { y = If(b) <"
            "then_branch = t () => (float[2, 4] u) { h = Mul(x, big)  t = Tanh(h)  u = Add(t, x) }, "
            "else_branch = e () => (float[2, 4] v) { v = Tanh(x) }> }",
            "`h` (Mul, up to ",
        ),
    ],
    ids=["main", "branch"],
)
def test_an_infinity_inside_a_proof_that_holds_is_told(tmp_path: Path, body: str, at: str) -> None:
    outcome = prove(tmp_path, HEAD + body, values=Values(low=20.0, high=30.0), precision="fp16")
    assert outcome.data["parity"]["passed"]
    told = [d for d in outcome.diagnostics if d.code == "fp16-overflow"]
    assert [d.level for d in told] == ["warning"]
    assert told[0].message.startswith(f"values leave fp16's range (65504) at {at}")
    assert told[0].message.endswith("; the outputs hold all the same")
    assert [row["op_type"] for row in outcome.data["ranges"]] == ["Mul"]


def test_an_infinity_of_the_model_itself_is_no_overflow(tmp_path: Path) -> None:
    masked = (
        "<float never = {-inf}, float[4] m = {0, 0, 1, 1}> "
        "{ b = Cast<to = 9>(m)  h = Where(b, never, x)  y = Softmax(h) }"
    )
    outcome = prove(tmp_path, HEAD + masked, precision="fp16")
    assert outcome.data["parity"]["passed"]
    assert "ranges" not in outcome.data
    assert not [d for d in outcome.diagnostics if "range" in d.message]


def test_a_file_without_one_half_tensor_is_not_called_half(tmp_path: Path) -> None:
    source = onnx.parser.parse_model(LINEAR)
    with pytest.raises(ProofError) as caught:
        prove(tmp_path, LINEAR, published=source)
    (said,) = caught.value.diagnostics
    assert said.code == "fp16-infeasible"
    assert said.message.startswith("the graph holds not one bf16 tensor: ")


TIMES = """<ir_version: 8, opset_import: ["" : 18]> g (int64[2, 4] x) => (float[2, 4] y)
    <float w = {0.01}> { f = Cast<to = 1>(x)  h = Mul(f, w)  y = Add(h, w) }"""


@pytest.mark.parametrize(
    ("values", "warned"),
    [(Values(), True), (Values(low=0, high=2), False), (Values(low=0, high=1000), False)],
    ids=["none", "a mask's", "a range"],
)
def test_whole_numbers_without_values_are_said_to_be_proven_at_0_and_1_alone(
    tmp_path: Path, values: Values, warned: bool
) -> None:
    said = prove(tmp_path, TIMES, values=values, dtype="int64").diagnostics
    assert [d.message for d in said] == [
        "no `values` say what `x` may be, so 0 and 1 alone were tried: bf16 is not proven at larger numbers"
    ] * warned
    assert {d.level for d in said} <= {"warning"}
