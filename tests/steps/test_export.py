"""Which exporter writes a file, and what it is given."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modelbuild.base.errors import Refusal
from modelbuild.base.tensors import TensorSpec
from modelbuild.steps.attention import attention
from modelbuild.steps.export import FILE, Export, _by_position
from modelbuild.steps.model import LiveModel, ModelSource


def _export(opset: int, exporter: Any = "auto") -> Export:
    return Export(
        source=ModelSource("a:b"),
        inputs=(TensorSpec("x", "float32", ("batch", 4)),),
        outputs=None,
        traced={"batch": 2},
        ranges={"batch": (1, 4)},
        opset=opset,
        exporter=exporter,
        constant_folding=True,
    )


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
    step = Export(
        source=ModelSource("a:b"),
        inputs=spec,
        outputs=None,
        traced={"batch": 2},
        ranges={"batch": (1, 4)},
        opset=opset,
        exporter="auto",
        constant_folding=True,
    )
    model = step._export("torchscript", Net().eval(), [x], tmp_path)
    assert model.opset == opset
    onnx.save(model.proto, tmp_path / "net.onnx")
    (got,) = ort.InferenceSession(tmp_path / "net.onnx").run(None, {"x": x.numpy()})
    torch.testing.assert_close(torch.from_numpy(got), Net()(x))


class Blocks(nn.Module):
    """Running sums within blocks of four, the last one padded where the length is no multiple."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        missing = -x.shape[1] % 4
        if missing > 0:
            x = F.pad(x, (0, missing))
        return x.reshape(x.shape[0], -1, 4).cumsum(-1)


class OneOfTwo(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * (2 if x.shape[1] % 4 else 3)


def _traced_at(length: int, module: nn.Module, exporter: Any, out: Path) -> Export:
    step = Export(
        source=ModelSource("none"),
        inputs=(TensorSpec("x", "float32", ("batch", "length")),),
        outputs=None,
        traced={"batch": 2, "length": length},
        ranges={"batch": (1, 5), "length": (4, 40)},
        opset=18,
        exporter=exporter,
        constant_folding=True,
    )
    model = LiveModel(module.eval(), ModelSource("none"), Path(__file__).parent, None)  # type: ignore[arg-type]
    try:
        step.run_beside(model, {}, out)
    finally:
        gc.enable()  # the step turns it off, as its process ends with it
    return step


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("length", [8, 9], ids=["at-a-multiple", "beside-one"])
def test_what_pads_to_a_multiple_is_right_wherever_it_was_traced_first(
    exporter: str, length: int, tmp_path: Path
) -> None:
    import onnxruntime as ort

    _traced_at(length, Blocks(), exporter, tmp_path)
    session = ort.InferenceSession(tmp_path / FILE)
    for shape in [(1, 4), (2, 8), (3, 9), (5, 11), (4, 16), (1, 39), (5, 40)]:
        x = torch.randn(shape)
        (got,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(got), Blocks()(x))


def test_where_the_graph_of_either_size_is_wrong_at_the_other_the_first_is_what_is_told(
    tmp_path: Path,
) -> None:
    with pytest.raises(Refusal) as raised:
        _traced_at(8, OneOfTwo(), "dynamo", tmp_path)
    (said,) = raised.value.diagnostics
    assert said.code == "baked-axis"
    assert said.message.endswith("than at the traced length=8, and the graph holds only the traced one")
    assert raised.value.data == {"axes": ["length"]}
