"""What is said where an exporter or ONNX Runtime refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from modelbuild.base.errors import Diagnostic
from modelbuild.base.tensors import TensorSpec
from modelbuild.steps import failures
from modelbuild.steps.export import Export
from modelbuild.steps.model import ModelSource

LIBRARY = torch.library.Library("modelbuild_tests", "DEF")
LIBRARY.define("thrice(Tensor x) -> Tensor")
LIBRARY.impl("thrice", lambda x: x * 3, "CPU")


@torch.library.custom_op("modelbuild_tests::twice", mutates_args=())
def twice(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@twice.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


def thrice(x: torch.Tensor) -> Any:
    """It has no fake implementation, so torch.export gives up before the exporter does."""
    return torch.ops.modelbuild_tests.thrice(x)


class Net(nn.Module):
    def __init__(self, operator: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: torch.Tensor) -> Any:
        return self.operator(x) + 1


EXPORT = Export(
    source=ModelSource("a:b"),
    inputs=(TensorSpec("x", "float32", (2, 4)),),
    outputs=None,
    traced={},
    ranges={},
    opset=18,
    exporter="auto",
    constant_folding=True,
)


@pytest.mark.parametrize("operator", [twice, thrice])
@pytest.mark.parametrize("writer", ["dynamo", "torchscript"])
def test_an_operator_that_is_not_pytorchs_own_is_named(
    operator: Callable[[torch.Tensor], Any], writer: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each exporter has its own
        EXPORT._export(writer, Net(operator), [torch.ones(2, 4)], tmp_path)
    (said,) = failures.of_exporter(writer, caught.value, EXPORT.inputs, "the recipe's shapes").diagnostics
    name = "twice" if operator is twice else "thrice"
    assert said.code == "export-failed"
    assert said.message.startswith(
        f"`modelbuild_tests::{name}` is no operator of PyTorch's own, and ONNX has none for it"
    )
    assert "`model: {onnx: file.onnx}`" in str(said.hint)


def test_an_operator_that_pytorch_only_writes_down_is_named() -> None:
    import onnx
    from onnx import helper

    def model(domain: str) -> onnx.ModelProto:
        node = helper.make_node("Triple", ["x"], ["y"], domain=domain)
        return helper.make_model(helper.make_graph([node], "net", [], []))

    failures.must_be_computed(model(""))
    inside = model("own")
    inside.functions.append(helper.make_function("own", "Triple", ["x"], ["y"], [], []))
    failures.must_be_computed(inside)
    with pytest.raises(failures.StepError, match=r"PyTorch computes nothing for `com[.]acme::Triple`"):
        failures.must_be_computed(model("com.acme"))


@pytest.mark.parametrize(
    "said",
    [
        "No ONNX function found for <OpOverload(op='aten.bincount', overload='default')>",
        "No ONNX function found for <OpOverload(op='prims.rev', overload='default')>",
        "No ONNX function found for <OpOverload(op='quantized_decomposed.choose', overload='default')>",
    ],
)
def test_what_is_pytorchs_own_is_not_called_foreign(said: str) -> None:
    (told,) = failures.of_exporter("dynamo", RuntimeError(said), (), "batch=2").diagnostics
    assert told.message == f"the dynamo exporter fails at batch=2: RuntimeError: {said}"


def test_a_size_that_an_exported_program_was_made_for_is_not_looked_for_in_the_models_code() -> None:
    said = "You marked batch, but we inferred a static shape of 2 for dimension inputs['x'].shape[0]"
    specs = (TensorSpec("x", "float32", ("batch", 4)),)
    for is_program, word in (
        (True, "give torch.export.export() `dynamic_shapes`"),
        (False, "look for Python"),
    ):
        error = failures.of_exporter("dynamo", RuntimeError(said), specs, "", is_program=is_program)
        (told,) = error.diagnostics
        assert told.code == "baked-axis"
        assert ("fault" in error.data) is is_program  # and the reference says the same one
        assert word in str(told.hint)


@pytest.mark.parametrize(
    ("dtype", "operator", "message", "hint"),
    [
        (
            "FLOAT", ("com.acme", "Triple"),
            "ONNX Runtime has no operator `Triple` of the domain `com.acme`",
            "write it with ONNX's own operators",
        ),
        (
            "BFLOAT16", ("", "MatMul"),
            "the graph computes in bfloat16, which ONNX Runtime cannot on a CPU: ",
            "its weights are bfloat16: make it float32",
        ),
    ],
)  # fmt: skip
def test_what_onnx_runtime_cannot_run_is_told_by_its_cause(
    dtype: str, operator: tuple[str, str], message: str, hint: str, tmp_path: Path
) -> None:
    import onnx
    from onnx import TensorProto, helper

    from modelbuild.graph.files import Model
    from modelbuild.steps.running import started

    elem = int(getattr(TensorProto, dtype))
    domain, op_type = operator
    graph = helper.make_graph(
        [helper.make_node(op_type, ["x", "w"], ["y"], domain=domain)],
        "net",
        [helper.make_tensor_value_info("x", elem, [2, 2])],
        [helper.make_tensor_value_info("y", elem, [2, 2])],
        [helper.make_tensor("w", elem, [2, 2], [1.0, 2.0, 3.0, 4.0])],
    )
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.save(proto, tmp_path / "net.fp32.onnx")
    with pytest.raises(failures.StepError) as caught:
        started(tmp_path / "net.fp32.onnx", Model(proto), "fp32")
    (said,) = caught.value.diagnostics
    assert said.message.startswith(message)
    assert str(said.hint).startswith(hint)


def _refused(writer: str, operator: Callable[[torch.Tensor], Any], tmp_path: Path) -> Diagnostic:
    found: dict[str, Any] = {}
    names = {"write": EXPORT._export, "given": (writer, Net(operator), [torch.ones(2, 4)])}
    # From code without a file, so that no line of this one is on the way.
    exec(
        "try: write(*given, out)\nexcept Exception as error: caught = error", names | {"out": tmp_path}, found
    )
    (said,) = failures.of_exporter(writer, found["caught"], EXPORT.inputs, "the recipe's shapes").diagnostics
    return said


def test_what_an_exporter_cannot_write_is_told_with_the_line_that_made_it(tmp_path: Path) -> None:
    """No frame of the model is on the stack by then: the exporter works through a graph."""
    several = _refused("torchscript", lambda x: x.squeeze((0, 1)), tmp_path)
    assert re.search(r" \(test_failures.py:\d+ in <lambda>\)$", several.message)
    assert "write one `squeeze` after the other" in str(several.hint)
    unknown = _refused("dynamo", lambda x: torch.special.bessel_j0(x), tmp_path)
    assert re.search(r"bessel_j0.* \(test_failures.py:\d+ in forward\)$", unknown.message)
    assert "`exporter: torchscript` may manage" in str(unknown.hint)


@pytest.mark.parametrize(
    ("call", "known"),
    [
        (lambda x: x.expand(-1, -1, -1), True),
        (lambda x: x.sum().expand(-1), True),
        (lambda x: x.expand(7, 7), False),
        (lambda x: torch.empty(2**40, 2**40), False),
    ],
    ids=["a-new-axis", "of-a-scalar", "another-size", "too-large"],
)
def test_an_axis_that_expand_has_no_size_for_has_a_hint_of_its_own(call: Any, known: bool) -> None:
    with pytest.raises(RuntimeError) as raised:
        call(torch.ones(2, 4))
    assert ("-1 in `expand` keeps an axis that is there" in str(failures.cure(raised.value))) == known
