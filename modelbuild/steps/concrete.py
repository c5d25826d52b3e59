"""Where forward() makes a Python value of a tensor: ``if x.sum() > 0``, ``int(mask.sum())``, ``x.tolist()``.

A tracer goes on with that value, whatever the next input is. Only what depends on the *values* of an
input counts here. A size is an ``int`` to a user and a tensor to the tracer; torch.export's guards
know more of sizes (``guards``).
"""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

_OURS = str(Path(__file__).parent)
_METHODS = {
    "__bool__": "bool", "is_nonzero": "bool", "equal": "bool", "allclose": "bool", "__int__": "number",
    "__float__": "number", "__index__": "number", "__complex__": "number", "item": "number",
    "tolist": "array", "numpy": "array",
}  # fmt: skip
_FUNCTIONS = ("equal", "allclose", "is_nonzero")
# Operators whose results are as large as the values say.
_SIZED_BY_VALUES = frozenset({
    "aten::nonzero", "aten::nonzero_numpy", "aten::argwhere", "aten::masked_select", "aten::unique_dim",
    "aten::_unique", "aten::_unique2", "aten::unique_consecutive", "aten::repeat_interleave",
    "aten::bincount", "torchvision::nms",
})  # fmt: skip
_SIZES = frozenset({"aten::size", "aten::numel", "aten::len", "aten::_shape_as_tensor", "prim::shape"})

Key = tuple[CodeType, int]
"""A line of a function; its code is the same object in every run."""


@dataclass(frozen=True)
class Spot:
    """A line at which a tensor became a Python value while the model was traced.

    ``kind`` is bool, number or array; ``sized`` says that it came of a size that values decide, which
    is a plain ``int`` where nothing is traced. ``outer`` is the line of the user's own code that led
    there, where the spot is in a library.
    """

    key: Key
    kind: str
    sized: bool
    value: Any
    outer: tuple[str, int] | None = None

    @property
    def path(self) -> str:
        return self.key[0].co_filename

    @property
    def line(self) -> int:
        return self.key[1]

    @property
    def text(self) -> str:
        """The line of source, cut short."""
        text = linecache.getline(self.path, self.line).strip()
        return text if len(text) <= 80 else text[:79] + "…"

    @property
    def unseen(self) -> bool:
        """Whether a plain call does not show what happens here: any input may give another number."""
        return self.sized and self.kind != "bool" and not self._tests()

    @property
    def only_checks(self) -> bool:
        """Whether the other side of the branch does nothing but raise: that is no path of the model."""
        around = self._tests()
        if not around:
            return False
        innermost = max(around, key=lambda node: node.lineno)
        if isinstance(innermost, ast.If):
            return any(
                side and isinstance(side[-1], ast.Raise) for side in (innermost.body, innermost.orelse)
            )
        return isinstance(innermost, ast.Assert)

    def _tests(self) -> list[ast.If | ast.Assert | ast.While | ast.IfExp]:
        """The statements and expressions that ask, and ask on this line."""
        try:
            tree = ast.parse("".join(linecache.getlines(self.path)))
        except SyntaxError:
            return []
        return [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.If | ast.Assert | ast.While | ast.IfExp)
            and node.test.lineno <= self.line <= (node.test.end_lineno or node.test.lineno)
        ]


@contextmanager
def while_traced(inputs: int) -> Iterator[list[Spot]]:
    """The spots that a TorchScript trace of a model with so many inputs passes inside, in order."""
    import torch

    found: dict[tuple[Key, str], Spot] = {}
    known: dict[tuple[int, bool], bool] = {}

    def note(kind: str, tensors: Sequence[torch.Tensor], value: Any) -> None:
        if torch._C._get_tracing_state() is None:
            return
        place = _place(sys._getframe(2))
        if place is None or (place[0], kind) in found:
            return
        try:
            values = [torch._C._get_value_trace(t) for t in tensors]  # type: ignore[attr-defined]
        except RuntimeError:  # no part of the trace: a constant
            return
        if any(_from_values(v, inputs, known, False) for v in values):
            sized = not any(_from_values(v, inputs, {}, False, through_sizes=False) for v in values)
            found[place[0], kind] = Spot(place[0], kind, sized, _plain(value), place[1])

    spots: list[Spot] = []
    try:
        with _heard(note):
            yield spots
    finally:
        spots.extend(found.values())


@contextmanager
def nothing() -> Iterator[list[Spot]]:
    """For an exporter that is no tracer: it refuses what it cannot write down."""
    yield []


@dataclass
class SeenCall:
    """What one plain call did at spots: the values there, and the instructions that ran around them."""

    values: dict[tuple[Key, str], list[Any]] = field(default_factory=dict)
    instructions: dict[CodeType, list[int]] = field(default_factory=dict)

    def at(self, spot: Spot) -> Any:
        """To be compared: it differs between two runs that did not go the same way there."""
        if spot.unseen:
            return None
        if spot.sized:
            return self.instructions.get(spot.key[0], [])
        return self.values.get((spot.key, spot.kind), [])


@contextmanager
def while_called(spots: Sequence[Spot]) -> Iterator[SeenCall]:
    """What the calls inside do at the spots."""
    wanted = {(s.key, s.kind) for s in spots if not s.sized}
    codes = {s.key[0] for s in spots if s.sized}
    seen = SeenCall()

    def note(kind: str, tensors: Sequence[Any], value: Any) -> None:
        place = _place(sys._getframe(2))
        if place is not None and (place[0], kind) in wanted:
            seen.values.setdefault((place[0], kind), []).append(_plain(value))

    def instruction(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "opcode":
            seen.instructions.setdefault(frame.f_code, []).append(frame.f_lasti)
        return instruction

    def entered(frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code not in codes:
            return None
        frame.f_trace = instruction  # from 3.12 on, only a frame with a tracer is followed at once
        frame.f_trace_opcodes, frame.f_trace_lines = True, False  # two sides may be on one line
        return instruction

    before = sys.gettrace()
    if codes:
        sys._getframe().f_trace_opcodes = True  # 3.12 asks at settrace() whether anybody has wanted these
        sys.settrace(entered)
    try:
        with _heard(note):
            yield seen
    finally:
        if codes:
            sys.settrace(before)


@contextmanager
def _heard(note: Callable[[str, Sequence[Any], Any], None]) -> Iterator[None]:
    """``note(kind, tensors, value)`` whenever a tensor becomes a Python value inside.

    Methods of C are replaced on the class. A mode for torch functions would be asked for every operator.
    """
    import torch

    def heard(real: Any, kind: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            value = real(*args, **kwargs)
            note(kind, [a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)], value)
            return value

        return call

    inherited = [name for name in _METHODS if name not in vars(torch.Tensor)]
    own = {name: vars(torch.Tensor)[name] for name in _METHODS if name not in inherited}
    functions = {name: getattr(torch, name) for name in _FUNCTIONS}
    for name, kind in _METHODS.items():
        setattr(torch.Tensor, name, heard(getattr(torch.Tensor, name), kind))
    for name, real in functions.items():
        setattr(torch, name, heard(real, "bool"))
    try:
        yield
    finally:
        for name in inherited:
            delattr(torch.Tensor, name)
        for name, real in own.items():
            setattr(torch.Tensor, name, real)
        for name, real in functions.items():
            setattr(torch, name, real)


def _place(frame: FrameType | None) -> tuple[Key, tuple[str, int] | None] | None:
    """The innermost line outside PyTorch, and the user's own around it; None for what is printed."""
    import torch

    library = str(Path(torch.__file__).parent) + "/"
    found: Key | None = None
    while frame is not None:
        path = frame.f_code.co_filename
        if path.endswith("torch/_tensor_str.py"):
            return None
        if path.startswith(_OURS):
            if found is None:
                return None
        elif not path.startswith((library, "<")):
            installed = "/site-packages/" in path or "/lib/python" in path
            if found is None:
                found = (frame.f_code, frame.f_lineno)
                if not installed:
                    return found, None
            elif not installed:
                return found, (path, frame.f_lineno)
        frame = frame.f_back
    return (found, None) if found is not None else None


def _plain(value: Any) -> Any:
    """Something small that can be compared, for a value or an array of them."""
    if hasattr(value, "tobytes"):
        return hash((value.shape, value.tobytes()))
    return hash(repr(value)) if isinstance(value, list) else value


def _from_values(
    value: Any, inputs: int, known: dict[tuple[int, bool], bool], size: bool, *, through_sizes: bool = True
) -> bool:
    """Whether a value of a trace's graph, or with ``size`` its size, depends on what an input holds.

    The first so many parameters of the graph are the inputs, the others the model's weights. ``known``
    are answers of earlier questions to the same trace: what is in its graph stays as it is.
    """
    todo = [(value, size)]
    seen: list[tuple[int, bool]] = []
    answer = False
    while todo and not answer:
        value, size = todo.pop()
        asked = (value.unique(), size)
        if asked in known:
            answer = known[asked]
            continue
        known[asked] = False
        seen.append(asked)
        node = value.node()
        kind = node.kind()
        if kind == "prim::Param":
            answer = not size and value.offset() < inputs
        elif kind in _SIZES:
            todo += [(v, True) for v in node.inputs()] if through_sizes else []
        elif not size or _sized_by_values(node):
            todo += [(v, False) for v in node.inputs()]
        else:
            todo += [(v, _is_tensor(v)) for v in node.inputs()]
    if answer:
        for asked in seen:  # some of these do, and which is not known
            del known[asked]
    return answer


def _is_tensor(value: Any) -> bool:
    import torch

    return bool(value.type().isSubtypeOf(torch._C.TensorType.get()))


def _sized_by_values(node: Any) -> bool:
    kind = node.kind()
    if kind == "aten::index":  # by a mask of bools
        masks = [v for lists in list(node.inputs())[1:] for v in lists.node().inputs()]
        return any(_is_tensor(v) and v.type().scalarType() in ("Bool", "Byte") for v in masks)
    if kind == "aten::where":
        return len(list(node.inputs())) == 1
    return kind in _SIZED_BY_VALUES
