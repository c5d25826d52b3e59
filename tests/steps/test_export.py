"""Which exporter writes a file, and what it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modelbuild.base.tensors import TensorSpec
from modelbuild.steps.attention import attention
from modelbuild.steps.export import Export, _by_position
from modelbuild.steps.model import ModelSource


def _export(opset: int, exporter: Any = "auto") -> Export:
    return Export(
        ModelSource("a:b"), (TensorSpec("x", "float32", ("batch", 4)),), None, {"batch": 2},
        {"batch": (1, 4)}, opset, exporter, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("opset", "exporter", "writer", "why"),
    [
        (18, "auto", "dynamo", ""),
        (25, "auto", "dynamo", ""),
        (17, "auto", "torchscript", "the recipe asks for opset 17, and the dynamo exporter begins at 18"),
        (11, "auto", "torchscript", "the recipe asks for opset 11"),
        (17, "dynamo", "dynamo", ""),
        (17, "torchscript", "torchscript", ""),
        (20, "torchscript", "torchscript", ""),
    ],
)
def test_auto_is_dynamo_and_torchscript_where_dynamo_does_not_write_the_opset(
    opset: int, exporter: str, writer: str, why: str
) -> None:
    taken, said = _export(opset, exporter)._writer()
    assert taken == writer
    assert [d.level for d in said] == (["info"] if why else [])
    assert all(d.code == "exporter-chosen" and why in d.message for d in said)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({}, id="plain"),
        pytest.param({"is_causal": True}, id="causal"),
        pytest.param({"attn_mask": torch.ones(5, 6).tril().bool()}, id="mask-of-bools"),
        pytest.param({"attn_mask": torch.randn(5, 6)}, id="mask-that-is-added"),
        pytest.param({"scale": 0.3}, id="scale"),
        pytest.param({"enable_gqa": True}, id="grouped"),
    ],
)
def test_attention_spelled_out_is_pytorchs_own(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    heads = 2 if "enable_gqa" in options else 4
    q, k, v = torch.randn(2, 4, 5, 8), torch.randn(2, heads, 6, 8), torch.randn(2, heads, 6, 8)
    torch.testing.assert_close(
        attention(q, k, v, **options), F.scaled_dot_product_attention(q, k, v, **options)
    )


class Keyword(nn.Module):
    def forward(self, x: torch.Tensor, offset: float = 1.0, *, y: torch.Tensor) -> torch.Tensor:
        return x - y + offset


def test_parameters_that_are_keyword_only_are_given_by_position_while_it_is_exported() -> None:
    module = Keyword()
    with _by_position(module, ["x", "y"]):
        assert module(torch.tensor(5.0), torch.tensor(2.0)) == 4
    assert module(torch.tensor(5.0), y=torch.tensor(1.0)) == 5
    assert "forward" not in vars(module)


@pytest.mark.parametrize("opset", [11, 17])
def test_an_old_opset_gives_a_file_of_that_opset_with_the_same_values(opset: int, tmp_path: Path) -> None:
    import onnx
    import onnxruntime as ort

    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x)

    spec = (TensorSpec("x", "float32", ("batch", 3, 4)),)
    x = torch.randn(2, 3, 4)
    step = Export(ModelSource("a:b"), spec, None, {"batch": 2}, {"batch": (1, 4)}, opset, "auto", True)
    model = step._export("torchscript", Net().eval(), [x], tmp_path)
    assert model.opset == opset
    onnx.save(model.proto, tmp_path / "net.onnx")
    (got,) = ort.InferenceSession(tmp_path / "net.onnx").run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), Net()(x))
