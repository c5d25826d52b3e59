"""Whether a file is what its name and the recipe say it is: looked at before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from modelbuild.base.errors import Diagnostic, ProofError, StepError
from modelbuild.base.tensors import TensorSpec, Values
from modelbuild.base.tolerance import Tolerance
from modelbuild.steps import failures

if TYPE_CHECKING:
    from modelbuild.graph.files import Model


def check_file(path: Path) -> None:
    """ONNX's full checker, by path.

    Raises:
        StepError: its words.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        said = " ".join(str(error).split())[:400]
        raise failures.invalid(f"{path.name} does not pass ONNX's checker: {said}") from error


def check_interface(model: Model, inputs: Sequence[TensorSpec], precision: str, keep_io_types: bool) -> None:
    """The recipe's inputs, in its order and of its types.

    Raises:
        StepError: they are others.
    """
    from modelbuild.graph import files, interface
    from modelbuild.graph.types import ELEM_TYPES

    own = ELEM_TYPES[precision]
    wanted = {
        s.name: interface.elem_type(s.dtype) if keep_io_types or s.dtype != "float32" else own for s in inputs
    }
    have = {p.name: p.dtype for p in interface.inputs(model)}
    if list(have) != list(wanted):
        raise failures.invalid(f"the graph's inputs are {list(have)}, the recipe's {list(wanted)}")
    for name, dtype in wanted.items():
        if have[name] != dtype:
            got, want = (files.numpy_dtype(d) for d in (have[name], dtype))
            raise StepError(
                Diagnostic(
                    "inputs-mismatch", f"input `{name}` is {got} in the graph, not {want}",
                    "give the recipe's input the dtype that forward() takes",
                )
            )  # fmt: skip


def check_precision(model: Model, precision: str) -> tuple[Diagnostic, ...]:
    """Whether the file is what its name says: not one tensor in half, and it is the fp32 one.

    Raises:
        ProofError: so it is.
    """
    from modelbuild.graph import widening
    from modelbuild.graph.types import ELEM_TYPES, type_name

    own = widening.main_type(model.proto)
    if precision == "fp32" and own not in (None, ELEM_TYPES["fp32"]):
        message = f"the file is one of {type_name(own)}, as the model is"
        return (Diagnostic("precision-fallback", message, level="info"),)
    if precision != "fp32" and ELEM_TYPES[precision] not in widening.held(model.proto):
        diagnostic = Diagnostic(
            "fp16-infeasible",
            f"the graph holds not one {precision} tensor: there is nothing in it to round, or all "
            "of it was kept, so the file would be the fp32 one under another name",
            "leave this precision out; or block fewer nodes, if the recipe blocks any",
        )
        raise ProofError((diagnostic,), {})
    return ()


def check_bounds(tolerance: Tolerance, names: Sequence[str]) -> None:
    """The outputs that have bounds of their own are among these.

    Raises:
        StepError: one is not.
    """
    for name in tolerance.outputs:
        if name not in names:
            raise StepError(
                Diagnostic(
                    "outputs-mismatch",
                    f"the tolerance names an output `{name}`; the graph's are {list(names)}",
                    "name an output of the graph under `tolerance: {outputs: ...}`",
                )
            )


def narrow(inputs: Sequence[TensorSpec], precision: str, sizes: Mapping[str, int]) -> tuple[Diagnostic, ...]:
    """A word on whole numbers that nobody gave a range: what is right at 1 may be lost at 1000.

    Once per precision, of the dynamic file.
    """
    names = [s.name for s in inputs if s.dtype.lstrip("u").startswith("int") and s.values == Values()]
    if precision == "fp32" or sizes or not names:
        return ()
    which = ", ".join(f"`{name}`" for name in names)
    return (
        Diagnostic(
            "vacuous-check",
            f"no `values` say what {which} may be, so 0 and 1 alone were tried: {precision} is not "
            "proven at larger numbers",
            "give the range, `values: {low: 0, high: ...}` (a mask's is `{low: 0, high: 2}`), or "
            "`verify.data`",
            level="warning",
        ),
    )
