"""Operators that only we translate give in ONNX Runtime what they give in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from modelbuild.steps import translations

onnxruntime = pytest.importorskip("onnxruntime")

EDGES = torch.tensor([0.0, 0.25, 0.5, 0.5, 1.0])


class _AllOfThem(nn.Module):
    """One export for all: each operator, in the forms that differ."""

    def forward(self, x: torch.Tensor, steps: torch.Tensor) -> dict[str, torch.Tensor]:
        edges = EDGES.to(x.device)
        return {
            "products along an axis": torch.cumprod(x, dim=1),
            "the product of an axis": x.prod(dim=-1),
            "the product of all": x.prod(),
            "places in a sequence": torch.searchsorted(edges, x),
            "places to the right": torch.searchsorted(edges, x, right=True, out_int32=True),
            "places in a sequence for each row": torch.searchsorted(x.sort(dim=-1).values, 1 - x),
            "integers among floats": torch.searchsorted(edges, steps),
            "buckets": torch.bucketize(x, edges, right=True),
            "distances": torch.cdist(x, x.flip(0)),
            "distances along the axes": torch.cdist(x, x.flip(0), p=1.0),
            "the largest distance": torch.cdist(x, x.flip(0), p=float("inf")),
            "the largest so far": torch.cummax(x, dim=1).values,
            "where the largest so far is": torch.cummax(x, dim=0).indices,
            "the smallest integer so far": torch.cummin(steps, dim=-1).values,
            "where the smallest so far is": torch.cummin(x.unsqueeze(-1), dim=1).indices,
            "an axis of another size squeezed": x.squeeze(1),
            "a free axis squeezed": (x * 2).squeeze(0),
            "an axis of one squeezed": x[:, None].squeeze(-2),
            "one of two axes squeezed": x[:, None].squeeze((1, 2)),
            "several axes of other sizes squeezed": x.squeeze((0, 1)),
            "no axis to squeeze": x.prod().squeeze(0),
            "all true": torch.ops.aten._is_all_true(x > -1),
            "not all true": torch.ops.aten._is_all_true(x > 0.5),
            "any true": torch.ops.aten._is_any_true(x > 0.9),
            "none true": torch.ops.aten._is_any_true(x > 2),
        }


def test_what_only_we_translate_is_what_pytorch_computes(tmp_path: Any) -> None:
    values = torch.tensor([[0.1, 0.5, 0.25, 0.95], [0.0, 1.0, 0.3, 0.7], [0.2, 0.4, 0.6, 0.8]])
    others = torch.cat([values.flip(1), values * 0.9])
    net, names = _AllOfThem().eval(), list(_AllOfThem()(values, values.long()))
    program = torch.onnx.export(
        net, (values, torch.tensor([0, 1, 1])), dynamo=True, opset_version=18, optimize=False, verbose=False,
        dynamic_shapes=({0: "rows"}, None), custom_translation_table=translations.table(),
    )  # fmt: skip
    assert program is not None
    program.save(tmp_path / "all.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "all.onnx", providers=["CPUExecutionProvider"])
    for rows in (values, others):
        steps = torch.tensor([1, 0, 1])
        given = dict(zip((i.name for i in session.get_inputs()), (rows.numpy(), steps.numpy()), strict=True))
        for name, got, wanted in zip(names, session.run(None, given), net(rows, steps).values(), strict=True):
            assert got.dtype == wanted.numpy().dtype, name
            np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


def test_operators_that_are_not_there_in_this_process_have_no_translation() -> None:
    assert all(isinstance(op, torch._ops.OpOverload) for op in translations.table())
