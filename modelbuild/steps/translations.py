"""ONNX for operators that PyTorch's dynamo exporter does not know, or writes wrongly.

Each is written as that exporter's own are, with onnxscript, and is exact: what is not the same for
every input does not belong here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

INT64, BOOL = 7, 9


def table() -> dict[Any, Callable[..., Any]]:
    """Operator -> its translation, for those that exist in this process."""
    import torch

    named: dict[str, Callable[..., Any]] = {
        "prims::prod": _prod,
        "aten::squeeze.dim": _squeeze,
        "prims::view_of": _same,
        "aten::_is_all_true": _is_all_true,
        "aten::_is_any_true": _is_any_true,
        "aten::searchsorted.Tensor": _searchsorted,
        "aten::bucketize.Tensor": _bucketize,
        "aten::_cdist_forward": _cdist,
        "aten::cummax": _cummax,
        "aten::cummin": _cummin,
        "transformers::grouped_mm_fallback": _grouped_mm,
    }
    found = {}
    for name, translation in named.items():
        space, _, rest = name.partition("::")
        operator, _, overload = rest.partition(".")
        packet = getattr(getattr(torch.ops, space), operator, None)
        if packet is not None:
            found[getattr(packet, overload or "default")] = translation
    return found


def _op() -> Any:
    from onnxscript.onnx_opset import opset18

    return opset18


def _prod(inp: Any, dims: list[int] | None = None, *, output_dtype: int | None = None) -> Any:
    """Also what is left of ``cumprod``: a product over a masked copy for each place."""
    op = _op()
    if not dims:
        found = op.ReduceProd(inp, keepdims=0)
    else:
        found = op.ReduceProd(inp, op.Constant(value_ints=list(dims)), keepdims=0)
    return found if output_dtype is None or output_dtype == -1 else op.Cast(found, to=output_dtype)


def _squeeze(self: Any, dim: int) -> Any:
    """Only what is 1: PyTorch leaves another axis as it is, where ONNX's Squeeze refuses it.

    torch.export takes an axis whose size it does not know for another than 1.
    """
    op = _op()
    return op.Squeeze(self, [dim]) if len(self.shape) and self.shape[dim] == 1 else op.Identity(self)


def _same(a: Any) -> Any:
    """What is left of operators that change nothing, as ``squeeze`` of several axes none of which is 1."""
    return _op().Identity(a)


def _is_all_true(self: Any) -> Any:
    op = _op()
    return op.Cast(op.ReduceMin(op.Cast(self, to=INT64), keepdims=0), to=BOOL)


def _is_any_true(self: Any) -> Any:
    op = _op()
    return op.Cast(op.ReduceMax(op.Cast(self, to=INT64), keepdims=0), to=BOOL)


def _searchsorted(
    sorted_sequence: Any, self: Any, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Any = None,
) -> Any:  # fmt: skip
    """How many of the sequence lie before each value: all of them are compared."""
    op = _op()
    if sorter is not None:
        raise NotImplementedError("searchsorted with a sorter")
    kinds = (self.dtype, sorted_sequence.dtype)
    last = op.Constant(value_ints=[-1])
    values = op.Unsqueeze(self, last)
    if len(sorted_sequence.shape) > 1:
        sorted_sequence = op.Unsqueeze(sorted_sequence, op.Constant(value_ints=[-2]))
    values, sequence = _same_type(values, sorted_sequence, kinds)
    compared = op.LessOrEqual if right or side == "right" else op.Less
    before = compared(sequence, values)
    count = op.ReduceSum(op.Cast(before, to=INT64), last, keepdims=0)
    return op.Cast(count, to=6) if out_int32 else count


def _same_type(values: Any, sequence: Any, kinds: tuple[Any, Any]) -> tuple[Any, Any]:
    """Both as floats where one of them is; PyTorch compares so, ONNX does not."""
    op = _op()
    if kinds[0] == kinds[1]:
        return values, sequence
    if kinds[0].is_floating_point():
        return values, op.CastLike(sequence, values)
    return op.CastLike(values, sequence), sequence


def _bucketize(self: Any, boundaries: Any, out_int32: bool = False, right: bool = False) -> Any:
    return _searchsorted(boundaries, self, out_int32, right)


def _cdist(x1: Any, x2: Any, p: float = 2.0, compute_mode: int | None = None) -> Any:
    op = _op()
    apart = op.Abs(op.Sub(op.Unsqueeze(x1, op.Constant(value_ints=[-2])),
                          op.Unsqueeze(x2, op.Constant(value_ints=[-3]))))  # fmt: skip
    last = op.Constant(value_ints=[-1])
    if p == 1.0:
        return op.ReduceSum(apart, last, keepdims=0)
    if p == 2.0:
        return op.Sqrt(op.ReduceSum(op.Mul(apart, apart), last, keepdims=0))
    if p == float("inf"):
        return op.ReduceMax(apart, last, keepdims=0)
    raise NotImplementedError(f"cdist with p={p}")


def _cummax(self: Any, dim: int) -> Any:
    return _running(self, dim, _op().ReduceMax)


def _cummin(self: Any, dim: int) -> Any:
    return _running(self, dim, _op().ReduceMin)


def _running(x: Any, dim: int, reduced: Callable[..., Any]) -> Any:
    """The extreme of all before each place, itself among them, and the last place that has it."""
    op = _op()
    rank = len(x.shape)
    if not rank:
        return op.Identity(x), op.Constant(value_int=0)
    dim %= rank
    here, there = op.Constant(value_ints=[dim + 1]), op.Constant(value_ints=[dim])
    own, others = op.Unsqueeze(x, here), op.Unsqueeze(x, there)
    count = op.Squeeze(op.Shape(x, start=dim, end=dim + 1))
    places = op.Range(op.Constant(value_int=0), count, op.Constant(value_int=1))
    behind = op.Constant(value_ints=list(range(1, rank - dim)))
    columns = op.Unsqueeze(places, behind) if rank - dim > 1 else places
    rows = op.Unsqueeze(columns, op.Constant(value_ints=[1]))
    before = op.LessOrEqual(columns, rows)
    found = reduced(op.Where(before, others, own), here, keepdims=0)
    same = op.And(before, op.Equal(others, op.Unsqueeze(found, here)))
    return found, op.ReduceMax(op.Where(same, columns, op.Constant(value_int=-1)), here, keepdims=0)


def _grouped_mm(input: Any, weight: Any, offs: Any) -> Any:
    """The rows of each expert by the weights of that expert; the rows come sorted by expert."""
    op = _op()
    experts = weight.shape[0]
    if not isinstance(experts, int):
        raise NotImplementedError("the number of experts is not fixed")
    first = op.Constant(value_ints=[0])
    ends = op.Cast(offs, to=INT64)
    parts, start = [], first
    for expert in range(experts):
        end = op.Slice(ends, op.Constant(value_ints=[expert]), op.Constant(value_ints=[expert + 1]))
        rows = op.Slice(input, start, end, first)
        parts.append(op.MatMul(rows, op.Gather(weight, op.Constant(value_int=expert), axis=0)))
        start = end
    return op.Concat(*parts, axis=0)
