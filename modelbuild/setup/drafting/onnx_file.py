"""What an ONNX file asks for, as the inputs of a recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import Diagnostic, RecipeError, StepError, first_line
from modelbuild.base.escaping import line
from modelbuild.base.tensors import DTYPES, Values
from modelbuild.machine import toolchain
from modelbuild.recipe.words import TENSOR
from modelbuild.setup.drafting.ranges import is_batch
from modelbuild.setup.drafting.trying import Run
from modelbuild.setup.drafting.values import DraftInput, whole

if TYPE_CHECKING:
    from onnx import GraphProto, ValueInfoProto

    from modelbuild.graph.files import Model

_BY_RANK = {
    3: ("batch", "sequence", "features"),
    4: ("batch", "channels", "height", "width"),
    5: ("batch", "channels", "frames", "height", "width"),
}
_SIZES = {"height": 224, "width": 224, "frames": 16, "h": 224, "w": 224, "H": 224, "W": 224}
_THROUGH = ("Cast", "Identity", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose")


@dataclass(frozen=True)
class Interface:
    """The inputs and outputs of a file, its opset, and notes for the reader of the draft."""

    inputs: tuple[DraftInput, ...]
    outputs: tuple[str, ...]
    opset: int
    notes: tuple[str, ...] = ()


def read(path: Path) -> Interface:
    """The interface of the file.

    Raises:
        RecipeError: there is no such file.
        StepError: ``import-failed``: it is no ONNX model; ``inputs-mismatch``: it has no inputs, or
            one that no recipe can name or fill.
    """
    from modelbuild.graph import files

    if not path.is_file():
        message = f"{path} is no file" if path.exists() else f"there is no file {path}"
        raise RecipeError(Diagnostic("recipe-invalid", message, "`--from-onnx` takes a model.onnx"))
    try:
        model = files.read(path)
    except Exception as error:
        raise _unreadable(path, first_line(error)) from error
    graph = model.proto.graph
    if not model.proto.ir_version or not graph.node or not graph.output or not model.opset:
        raise _unreadable(path, "it holds no graph")
    weights = {i.name for i in graph.initializer}
    given = [i for i in graph.input if i.name not in weights]
    if not given:
        raise StepError(
            Diagnostic("inputs-mismatch", f"{path} has no inputs", "a recipe needs one input or more")
        )
    kinds = {o.name: o.type.WhichOneof("value") for o in graph.output}
    if odd := [n for n, kind in kinds.items() if kind not in ("tensor_type", None)]:
        message = f"{path}: the output `{odd[0]}` is no tensor, and only tensors can be compared"
        raise StepError(Diagnostic("outputs-mismatch", message, "end the graph before that node"))
    names = _Names()
    inputs = tuple(_input(path, graph, value, names, model) for value in given)
    return Interface(inputs, tuple(o.name for o in graph.output), model.opset, tuple(names.notes))


def runner(path: Path) -> Run:
    """The file in ONNX Runtime.

    Raises:
        StepError: ``import-failed``: it does not load.
        ToolchainError: there is no onnxruntime.
    """
    toolchain.need_runtime()
    from modelbuild.graph import runtime

    try:
        session = runtime.session_of_file(path)
    except Exception as error:
        raise _unreadable(path, first_line(error)) from error
    names = [o.name for o in session.get_outputs()]

    def run(arrays: Mapping[str, Any]) -> list[tuple[str, Any]]:
        return list(zip(names, session.run(None, dict(arrays)), strict=True))

    return run


class _Names:
    """Names of axes: the file's where they will do, each one axis's own."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}  # the file's name -> ours
        self.notes: list[str] = []

    def named(self, given: str) -> str:
        """An axis that the file names: letters, digits and `_`, not beginning with a digit."""
        if given not in self.of:
            clean = re.sub(r"[^A-Za-z0-9_]+", "_", given).strip("_")[:50] or "axis"
            clean = f"axis_{clean}" if clean[0].isdigit() else clean
            self.of[given] = self._free(clean)
            if self.of[given] != given:
                self.notes.append(f"the axis `{line(given)}` of the file is called `{self.of[given]}` here")
        return self.of[given]

    def unnamed(self, place: int, rank: int) -> str:
        """An axis that the file leaves open: the batch comes first; others by what they mostly are."""
        usual = _BY_RANK.get(rank, ("batch", "sequence"))
        name = usual[place] if place < len(usual) else f"axis_{place}"
        self.of.setdefault(f"?{name}", name if name not in self.of.values() else self._free(name))
        return self.of[f"?{name}"]

    def _free(self, name: str) -> str:
        taken, found, count = set(self.of.values()), name, 1
        while found in taken:
            count += 1
            found = f"{name}_{count}"
        return found


def _input(path: Path, graph: GraphProto, value: ValueInfoProto, names: _Names, model: Model) -> DraftInput:
    from onnx import TensorProto

    from modelbuild.graph.files import numpy_dtype

    tensor = value.type.tensor_type
    known = tensor.elem_type in TensorProto.DataType.values() and tensor.elem_type
    dtype = str(numpy_dtype(tensor.elem_type)) if known else ""
    if dtype not in DTYPES:
        kind = TensorProto.DataType.Name(tensor.elem_type).lower() if known else "no tensor"
        message = f"{path}: the input `{value.name}` is {kind}, which no recipe can fill"
        raise StepError(Diagnostic("inputs-mismatch", message, f"a recipe's inputs are {', '.join(DTYPES)}"))
    if not re.fullmatch(TENSOR, value.name):
        message = f"{path}: a recipe cannot name the input {value.name!a}"
        raise StepError(Diagnostic("inputs-mismatch", message, "rename it; names are ASCII without spaces"))
    if not tensor.HasField("shape"):
        message = f"{path}: the input `{value.name}` has no shape, not even how many axes it has"
        raise StepError(
            Diagnostic("inputs-mismatch", message, "give it one, with onnx.helper or the exporter")
        )
    dims = tensor.shape.dim
    shape: list[int | str] = []
    for place, dim in enumerate(dims):
        if dim.HasField("dim_value") and dim.dim_value >= 0:
            shape.append(dim.dim_value)
        elif dim.dim_param:
            shape.append(names.named(dim.dim_param))
        else:
            shape.append(names.unnamed(place, len(dims)))
    sizes = {str(d): _size(str(d)) for d in shape if isinstance(d, str)}
    return DraftInput(
        value.name, tuple(shape), "from the file", dtype, _values(graph, value.name, dtype, model), sizes
    )


def _size(axis: str) -> int:
    """A size to try an axis at, by its name."""
    if axis in _SIZES:
        return _SIZES[axis]
    return 2 if is_batch(axis) else 16


def _values(graph: GraphProto, name: str, dtype: str, model: Model) -> Values:
    """What fills an input: numbers of rows where it goes into a table, ones where it is a mask."""
    if "int" not in dtype:
        return Values()
    if "mask" in name:
        return whole(1, 2)
    rows = {i.name: (*model.weights[i.name].dims,) if i.name in model.weights else tuple(i.dims)
            for i in graph.initializer}  # fmt: skip
    values, tables = {name}, []
    for node in graph.node:
        if node.op_type in _THROUGH and node.input and node.input[0] in values:
            values.update(node.output)
        elif node.op_type == "Gather" and node.input[1] in values and node.input[0] in rows:
            axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
            tables.append(rows[node.input[0]][axis])
    return whole(0, min(tables)) if tables else whole(0, 256 if dtype == "uint8" else 2)


def _unreadable(path: Path, reason: str) -> StepError:
    message = f"{path} cannot be used: {reason}"
    return StepError(
        Diagnostic("import-failed", message, "is it a valid ONNX file, with its data beside it?")
    )
