"""What to say where an exporter, ONNX Runtime or the model itself raised: what, where, what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from modelbuild.errors import Diagnostic, StepError, first_line
from modelbuild.tensors import TensorSpec

_OURS = str(Path(__file__).parent)
_ON_VALUES = re.compile(r"GuardOnDataDependentSymNode|DataDependentOutputException|[Dd]ata-dependent")
_OWN = r"(?!(?:aten|prims?|higher_order|quantized\w*|_?c10d\w*)\W)"  # PyTorch's own namespaces
_FOREIGN = re.compile(
    rf"op='{_OWN}(\w+\.\w+)"
    rf"|unrecognized namespace {_OWN}(\w+::\w+)"
    rf"|UnsupportedOperatorException: {_OWN}(\w+\.\w+)"
)
_NO_KERNEL = re.compile(r"Fatal error: ([\w.]+):(\w+)\(-?\d+\) is not a registered function/op")
OTHER_SIZES = (
    "an exported program takes the sizes that it was made for: give torch.export.export() "
    "`dynamic_shapes` for this axis"
)
AS_FLOAT32 = (
    "its weights are {}: make it float32, with `.float()` or the argument for its dtype; "
    "`precision` makes half files of it"
)
_OTHER = {
    "dynamo": "`exporter: torchscript` may manage: it follows one input through forward(), and freezes every "
    "branch on the way",
    "torchscript": "`exporter: dynamo` with an opset from 18 on may manage",
}


def of_exporter(
    writer: str,
    error: Exception,
    inputs: Sequence[TensorSpec],
    at: str,
    hint: Callable[[str], str] | None = None,
    is_program: bool = False,
) -> StepError:
    """An exporter's complaint without its decoration, with the axis and the line it is about.

    ``hint`` gives what to do for what was said, where that is not the usual. ``is_program``: the model
    was an exported program already.
    """
    said = summary(error)
    static = re.search(
        r"inferred a static shape of (\d+) for dimension inputs\['?(\w+)'?\]\.shape\[(\d+)\]", said
    )
    if static:
        size, name, index = static[1], static[2], int(static[3])
        spec = next((s for s in inputs if s.name == name), None)
        if spec is None and name.isdigit():
            spec = inputs[int(name)]
        axis = spec.shape[index] if spec else f"{index}"
        name = spec.name if spec else name
        return StepError(
            Diagnostic(
                "baked-axis",
                f"axis `{axis}` of input `{name}` is fixed at {size}, the traced size, by the "
                f"model's code{place(error)}",
                OTHER_SIZES
                if is_program
                else "look for Python loops over this axis, int(x.shape[i]), or a tensor made at its size",
            )
        )
    foreign = _FOREIGN.search(said)
    if foreign:
        name = next(filter(None, foreign.groups())).replace(".", "::", 1)
        return StepError(
            Diagnostic(
                "export-failed",
                f"`{name}` is no operator of PyTorch's own, and ONNX has none for it{place(error)}",
                "write it with PyTorch's operators, or export by hand: `model: {onnx: file.onnx}`",
            )
        )
    if any(_ON_VALUES.search(f"{type(link).__name__}: {link}") for link in _chain(error)):
        return StepError(
            Diagnostic(
                "export-failed",
                f"forward() branches on values, or makes a Python number of them, and the {writer} exporter "
                f"cannot write that down, at {at}: {said}{place(error)}",
                "write both sides, with torch.where() or torch.cond(); `exporter: torchscript` would freeze "
                "what one input takes, and be wrong for others",
            )
        )
    return StepError(
        Diagnostic(
            "export-failed",
            f"the {writer} exporter fails at {at}: {said}{place(error)}",
            hint(said) if hint else f"the whole traceback is in the log; {_OTHER[writer]}",
        )
    )


def of_runtime(file: str, error: BaseException, in_bfloat16: bool = False) -> StepError:
    """ONNX Runtime's complaint about a valid file; what it has no kernel for is mostly the model's."""
    foreign = _NO_KERNEL.search(str(error))
    if foreign:
        said = f"ONNX Runtime has no operator `{foreign[2]}` of the domain `{foreign[1]}`"
        hint = "write it with ONNX's own operators, in forward() or in its symbolic()"
    elif in_bfloat16:
        said = f"the graph computes in bfloat16, which ONNX Runtime cannot on a CPU: {first_line(error)}"
        hint = AS_FLOAT32.format("bfloat16")
    else:
        return invalid(f"ONNX Runtime does not load {file}: {first_line(error)}")
    return StepError(Diagnostic("export-failed", said, hint))


def invalid(message: str) -> StepError:
    """A file that came out wrong."""
    hint = (
        "`simplify: false`, another `method` in half precision or, of a PyTorch model, another `exporter` "
        "may give a valid one"
    )
    return StepError(Diagnostic("export-failed", message, hint))


def summary(error: BaseException) -> str:
    """What went wrong at the root, in a line or two."""
    text = str(error)
    _, marker, tail = text.partition("## Exception summary")
    if marker:
        tail = tail.partition("(Refer to")[0].strip()
        tail = re.sub(r"^<class '([\w.]+)'>: ", lambda m: m[1].rpartition(".")[2] + ": ", tail)
        lines = [line.strip(" -\t") for line in tail.splitlines() if line.strip()]
        return " ".join(lines[:3])[:600]
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    return first_line(root)


def place(error: BaseException) -> str:
    """`` (net.py:14 in forward)``: the last line of the user's own code on the way to the error."""
    place = ""
    for link in _chain(error):
        for frame in traceback.extract_tb(link.__traceback__):
            inside = "site-packages" in frame.filename or frame.filename.startswith(_OURS)
            if not inside and "/lib/python" not in frame.filename and "<" not in frame.filename:
                place = f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"
    return place


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
