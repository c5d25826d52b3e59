"""A condition on sizes, as PyTorch prints it, evaluated for a million sizes at once.

Nothing is executed: the text is parsed, and what is not plain arithmetic is no condition.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]
# What a place like `L['x'].size()[0]` is: the name of an axis, a fixed size, or neither.
Where = Callable[[str], "str | int | None"]

_EXACT = 2.0**62


@dataclass(frozen=True)
class Condition:
    """``text`` with the axes that it is about and the integers that it names."""

    text: str
    axes: tuple[str, ...]
    constants: frozenset[int]
    _tree: ast.expr
    _where: Where

    def holds(self, sizes: Mapping[str, Numbers]) -> npt.NDArray[np.bool_]:
        """Where it holds, for arrays of sizes that broadcast against each other."""
        return np.asarray(self._evaluated(self._tree, sizes), bool)

    @property
    def fixes(self) -> str | None:
        """The text of what it says has one value, as ``n // 32 == 3`` does."""
        side = _fixed(self._tree)
        return ast.unparse(side) if side is not None else None

    def values(self, sizes: Mapping[str, Numbers]) -> Numbers:
        """What it ``fixes``, at these sizes."""
        side = _fixed(self._tree)
        assert side is not None
        return self._evaluated(side, sizes)

    def _evaluated(self, tree: ast.expr, sizes: Mapping[str, Numbers]) -> Numbers:
        shape = np.broadcast_shapes(*(s.shape for s in sizes.values()))
        with np.errstate(all="ignore"):
            found = _Evaluation(sizes, self._where).of(tree)
        return np.broadcast_to(np.asarray(found), shape)


def parse(text: str, where: Where) -> Condition | None:
    """The condition that this text is; None for what is not arithmetic on known sizes."""
    try:
        tree = ast.parse(text, mode="eval").body
        axes = _axes(tree, where)
        one = {a: np.ones(1, np.int64) for a in axes}
        condition = Condition(text, axes, _constants(tree), tree, where)
        condition.holds(one)
    except (_Unknown, SyntaxError, ValueError, RecursionError, TypeError, OverflowError):
        return None
    return condition


class _Unknown(Exception):
    """Something that is no arithmetic on sizes."""


def _is_place(node: ast.AST) -> bool:
    """``L['x'].size()[0]``, and whatever else hangs on ``L``."""
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return isinstance(node, ast.Name) and node.id == "L"


def _fixed(tree: ast.expr) -> ast.expr | None:
    if not isinstance(tree, ast.Compare) or [type(o) for o in tree.ops] != [ast.Eq]:
        return None
    sides = [tree.left, *tree.comparators]
    open_ = [s for s in sides if any(_is_place(n) for n in ast.walk(s))]
    return open_[0] if len(open_) == 1 else None


def _axes(tree: ast.expr, where: Where) -> tuple[str, ...]:
    found: dict[str, None] = {}
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop(0)
        if _is_place(node):
            place = where(ast.unparse(node))
            if place is None:
                raise _Unknown(ast.unparse(node))
            if isinstance(place, str):
                found[place] = None
            continue
        todo += ast.iter_child_nodes(node)
    return tuple(found)


def _constants(tree: ast.expr) -> frozenset[int]:
    """The whole numbers in it, places aside, and what they are after one division."""
    numbers = set()
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if _is_place(node):
            continue
        value = getattr(node, "value", None)
        if isinstance(value, int | float) and abs(value) < _EXACT:
            numbers.add(int(value))
        todo += ast.iter_child_nodes(node)
    small = [n for n in numbers if 1 < abs(n) <= 4096]
    return frozenset(numbers | {n // d for n in numbers for d in small})


_BINARY: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Div: np.true_divide, ast.FloorDiv: np.floor_divide,
    ast.Mod: np.mod, ast.BitAnd: np.bitwise_and, ast.BitOr: np.bitwise_or,
    ast.BitXor: np.bitwise_xor, ast.LShift: np.left_shift, ast.RShift: np.right_shift,
}  # fmt: skip
_COMPARED: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Eq: np.equal, ast.NotEq: np.not_equal, ast.Lt: np.less, ast.LtE: np.less_equal,
    ast.Gt: np.greater, ast.GtE: np.greater_equal,
}  # fmt: skip
_UNARY: dict[type[ast.AST], Callable[[Any], Any]] = {
    ast.USub: np.negative, ast.UAdd: np.positive, ast.Not: np.logical_not, ast.Invert: np.invert,
}  # fmt: skip
_MATH = (
    "sqrt", "log", "log2", "log10", "log1p", "exp", "exp2", "expm1", "sin", "cos", "tan", "sinh",
    "cosh", "tanh",
)  # fmt: skip
_NUMBERS = {"math.inf": np.inf, "math.nan": np.nan, "math.pi": np.pi, "math.e": np.e}


def _whole(value: Any) -> Any:
    """As Python's int() of it; what is no number fits no size."""
    value = np.asarray(value, float)
    return np.where(np.isfinite(value) & (np.abs(value) < _EXACT), value, -1).astype(np.int64)


def _rounded(value: Any, digits: Any = None) -> Any:
    return _whole(np.rint(value)) if digits is None else np.round(value, int(digits))


_CALLED: dict[str, Callable[..., Any]] = {
    "abs": np.abs, "int": _whole, "torch.sym_int": _whole, "math.trunc": _whole,
    "float": np.float64, "torch.sym_float": lambda x: np.asarray(x, float),
    "bool": lambda x: np.asarray(x, bool), "torch.sym_not": np.logical_not,
    "math.floor": lambda x: _whole(np.floor(x)), "math.ceil": lambda x: _whole(np.ceil(x)),
    "round": _rounded, "torch._sym_sqrt": np.sqrt, "math.fabs": np.abs,
    **{f"math.{name}": getattr(np, name) for name in _MATH},
    **{f"torch._sym_{name}": getattr(np, name) for name in _MATH},
    **{f"math.a{name}": getattr(np, f"arc{name}") for name in ("sin", "cos", "tan")},
    "math.pow": np.float_power, "math.isqrt": lambda x: _whole(np.sqrt(x)),
    "math.gcd": np.gcd, "math.fmod": np.fmod,
}  # fmt: skip
_REDUCED: dict[str, Callable[[Any, Any], Any]] = {
    "max": np.maximum, "min": np.minimum, "torch.sym_max": np.maximum, "torch.sym_min": np.minimum,
}  # fmt: skip


class _Evaluation:
    def __init__(self, sizes: Mapping[str, Numbers], where: Where) -> None:
        self.sizes, self.where = sizes, where

    def of(self, node: ast.expr) -> Any:
        if _is_place(node):
            place = self.where(ast.unparse(node))
            return self.sizes[place] if isinstance(place, str) else np.int64(place or 0)
        if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float):
            return np.asarray(node.value)
        if isinstance(node, ast.Attribute) and ast.unparse(node) in _NUMBERS:
            return np.float64(_NUMBERS[ast.unparse(node)])
        if isinstance(node, ast.BinOp):
            left, right = self.of(node.left), self.of(node.right)
            if isinstance(node.op, ast.Mult):
                return _product(left, right)
            if isinstance(node.op, ast.Pow):
                return _power(left, right)
            return _known(_BINARY, node.op)(left, right)
        if isinstance(node, ast.UnaryOp):
            return _known(_UNARY, node.op)(self.of(node.operand))
        if isinstance(node, ast.BoolOp):
            both = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return _folded(both, [self.of(v) for v in node.values])
        if isinstance(node, ast.Compare):
            operands = [self.of(v) for v in (node.left, *node.comparators)]
            pairs = zip(node.ops, operands, operands[1:], strict=False)
            return _folded(np.logical_and, [_known(_COMPARED, op)(a, b) for op, a, b in pairs])
        if isinstance(node, ast.IfExp):
            return np.where(self.of(node.test), self.of(node.body), self.of(node.orelse))
        if isinstance(node, ast.Call) and not node.keywords:
            name, values = ast.unparse(node.func), [self.of(a) for a in node.args]
            if name in _REDUCED and values:
                return _folded(_REDUCED[name], values)
            if name in _CALLED:
                return _CALLED[name](*values)
        raise _Unknown(ast.unparse(node))


def _known(table: Mapping[type[ast.AST], Any], op: ast.AST) -> Any:
    if type(op) not in table:
        raise _Unknown(type(op).__name__)
    return table[type(op)]


def _folded(function: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    result = values[0]
    for value in values[1:]:
        result = function(result, value)
    return result


def _largest(value: Any) -> float:
    return float(np.max(np.abs(np.asarray(value, float)), initial=0.0))


def _product(left: Any, right: Any) -> Any:
    """Whole numbers are multiplied as such while they fit."""
    if _largest(left) * _largest(right) >= _EXACT:
        return np.multiply(left, right, dtype=float)
    return np.multiply(left, right)


def _power(left: Any, right: Any) -> Any:
    left, right = np.asarray(left), np.asarray(right)
    whole = left.dtype.kind in "biu" and right.dtype.kind in "biu" and bool(np.all(right >= 0))
    if whole and np.float_power(max(_largest(left), 1.0), _largest(right)) < _EXACT:
        return np.power(left.astype(np.int64), right.astype(np.int64))
    return np.float_power(left, right)
