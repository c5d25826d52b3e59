"""What to say where an exporter, ONNX Runtime or the model itself raised: what, where, what to do."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic, StepError, first_line
from modelbuild.base.tensors import TensorSpec
from modelbuild.graph import sources
from modelbuild.steps import origins
from modelbuild.steps.origins import chain
from modelbuild.steps.remedies import remedy

if TYPE_CHECKING:
    from onnx import ModelProto

_ON_VALUES = re.compile(r"GuardOnDataDependentSymNode|DataDependentOutputException|[Dd]ata-dependent")
_OWN = r"(?!(?:aten|prims?|higher_order|quantized\w*|_?c10d\w*)\W)"  # PyTorch's own namespaces
_FOREIGN = re.compile(
    rf"op='{_OWN}(\w+\.\w+)"
    rf"|unrecognized namespace {_OWN}(\w+::\w+)"
    rf"|UnsupportedOperatorException: {_OWN}(\w+\.\w+)"
)
_NO_KERNEL = re.compile(r"Fatal error: ([\w.]+):(\w+)\(-?\d+\) is not a registered function/op")
_NO_AXIS = re.compile(r"isn't allowed in a leading, non-existing dimension")
_OVERFLOWN = "numel: integer multiplication overflow"
_SQUEEZE = (
    "this exporter squeezes one axis at a time: write one `squeeze` after the other, and drop those of axes "
    "that are never 1; `exporter: dynamo` takes several at once"
)
OF_PROGRAM = "exported program"  # a fault: it is called, or traced, at sizes that it was not made for
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
                + ("exported program" if is_program else f"model's code{place(error)}"),
                OTHER_SIZES
                if is_program
                else "look for Python loops over this axis, int(x.shape[i]), or a tensor made at its size",
            ),
            ({"axes": [axis]} if spec else {}) | ({"fault": OF_PROGRAM} if is_program else {}),
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
    if any(_ON_VALUES.search(f"{type(link).__name__}: {link}") for link in chain(error)):
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
            hint(said) if hint else _hint(writer, error),
        )
    )


def _hint(writer: str, error: BaseException) -> str:
    if _written(error)[0] == "aten::squeeze":
        return _SQUEEZE
    return f"the whole traceback is in the log; {_OTHER[writer]}"


def of_forward(
    code: Code, said: str, error: BaseException, otherwise: str, base: Path
) -> tuple[Diagnostic, dict[str, Any]]:
    """What the model's own code raised in a call of forward(), and the data of such an error.

    ``said`` is what failed, and at which sizes. The same ``fault`` in the reference and in an export is
    one, and is told once.
    """
    what = f"{first_line(error)}{place(error)}"
    hint = remedy(error, base) or cure(error) or _of_inputs(error) or otherwise
    return Diagnostic(code, f"{said}: {what}", hint), {"fault": re.sub(r"\d+", "N", what)}


def _of_inputs(error: BaseException) -> str | None:
    """A hint for what only the recipe's inputs, or only the code, can be the cause of."""
    if isinstance(error, IndexError) and "index out of range in self" in str(error):
        return "a number beyond an embedding's table? `values: {low: 0, high: N}` of the input, N its rows"
    if isinstance(error, AttributeError | NameError | NotImplementedError | KeyError):
        return "it is the model's own code that fails: call it in a Python shell, in eval mode and on the CPU"
    return None


def must_be_computed(proto: ModelProto) -> None:
    """Refuse what torch.onnx.ops.symbolic() has put into a graph: it is nothing but written down.

    Raises:
        StepError: ``export-failed``, with the operator.
    """
    own = {"", "ai.onnx", *(f.domain for f in proto.functions)}
    for node in proto.graph.node:
        if node.domain not in own:
            raise StepError(
                Diagnostic(
                    "export-failed",
                    f"PyTorch computes nothing for `{node.domain}::{node.op_type}`: "
                    "torch.onnx.ops.symbolic() gives zeros, which no file can be compared with",
                    "compute it in forward(), or export by hand: `model: {onnx: file.onnx}`",
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


def of_capture(error: BaseException) -> bool:
    """Whether it was torch.export that refused the model, and not what writes its program down."""
    return any(type(link).__name__ == "TorchExportError" for link in chain(error))


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
    """`` (net.py:14 in forward)``: the last line of the user's own code on the way to the error.

    Where an exporter was writing down what that code left, it is the line that made this operator.
    """
    own = origins.frames(error)
    return origins.where(own[-1]) if own else _written(error)[1] or origins.of_library(error)


def cure(error: BaseException) -> str | None:
    """What to do about what PyTorch itself said, where that is known."""
    own = origins.frames(error)
    line = (own[-1].line if own else None) or ""
    if _NO_AXIS.search(str(error)) or (_OVERFLOWN in str(error) and "expand(" in line):
        return (
            "-1 in `expand` keeps an axis that is there, and here it stands for a new one: drop it, or name "
            "the size that the new axis shall have"
        )
    return None


def _written(error: BaseException) -> tuple[str, str]:
    """The operator that an exporter was writing down, and the line that made it, as ``place`` has it.

    Its frames hold the operator's node, and both kinds of nodes know where they come from.
    """
    for link in chain(error):
        for frame, _ in reversed(list(traceback.walk_tb(link.__traceback__))):
            node = frame.f_locals.get("node")
            operator, stack = _node(node) if type(node).__module__.startswith("torch") else ("", "")
            for path, line, function in sources.frames(stack):
                installed = "site-packages/" in path
                if "site-packages/torch/" not in path and (installed or "/lib/python" not in path):
                    return operator, f" ({Path(path).name}:{line} in {function})"
    return "", ""


def _node(node: Any) -> tuple[str, str]:
    """The operator of a node of an exporter's graph, and the stack that made it."""
    if hasattr(node, "sourceRange"):  # torchscript's
        return str(node.kind()), str(node.sourceRange())
    return str(getattr(node, "target", "")), str(getattr(node, "stack_trace", None) or "")
