"""A file that is to be proven, in a session: with ONNX Runtime's own kernels, or simulated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.machine import toolchain
from modelbuild.machine.isolate import in_child
from modelbuild.steps import failures

if TYPE_CHECKING:
    from modelbuild.graph.alarms import Alarms
    from modelbuild.graph.files import Model
    from modelbuild.steps.samples import Array


class Running:
    """From the recipe's arrays to float32 (or integer) outputs.

    ``evidence`` is what a run of it proves, ``said`` what there is to say about loading it.
    """

    def __init__(
        self,
        model: Model,
        session: Any,
        evidence: str,
        diagnostics: tuple[Diagnostic, ...] = (),
        alarms: Alarms | None = None,
    ) -> None:
        from modelbuild.graph import files, interface

        self.model = model
        self.evidence = evidence
        self.said = diagnostics
        self.rung: dict[str, Mapping[str, Array]] = {}  # by tensor, the first input that it is infinite on
        self._session = session
        self._alarms = alarms
        self._dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(model)}
        self._count = len(interface.outputs(model))

    @property
    def blind(self) -> bool:
        """Whether something infinite inside may ring no alarm."""
        return self._alarms is None or self._alarms.blind

    def feed(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays in the types of the file's inputs."""
        import numpy as np

        return {n: np.asarray(arrays[n], dtype) for n, dtype in self._dtypes.items()}

    def run(self, arrays: Mapping[str, Array]) -> list[Array]:
        outs = self._session.run(None, self.feed(arrays))
        for tensor in self._alarms.ringing(outs) if self._alarms is not None else ():
            self.rung.setdefault(tensor, arrays)
        return [full(o) for o in outs[: self._count]]


def started(path: Path, model: Model, precision: str) -> Running:
    """The file in a session: fp32 as users run it, half precision on a GPU or else simulated.

    Raises:
        StepError: ONNX Runtime does not load it.
    """
    from modelbuild.graph import runtime
    from modelbuild.graph.edges import with_numpy_edges

    if precision == "fp32":
        try:
            return Running(model, runtime.session_of_file(path), "cpu")
        except Exception as error:
            in_bfloat16 = runtime.lacks_kernels(error) and _has_bfloat16(model)
            raise failures.of_runtime(path.name, error, in_bfloat16) from error
    words = _loading(path, precision)
    judged = with_numpy_edges(model)
    if runtime.has_cuda() and toolchain.gpu() is not None:
        try:
            if judged is model:
                session = runtime.session_of_file(path, cuda=True)
            else:
                session = runtime.session(judged, providers=runtime.CUDA)
            return Running(judged, session, "gpu", words)
        except Exception as error:
            if not _lacks_kernels(error, precision):
                raise
            passing.met(error)
    return _simulated(judged, precision, words)


def simulated(path: Path, model: Model, precision: str) -> Running:
    """The file in a session that computes in float32 and rounds as the file does.

    Raises:
        StepError: ONNX Runtime does not load the file itself.
    """
    from modelbuild.graph.edges import with_numpy_edges

    words = _loading(path, precision)
    return _simulated(with_numpy_edges(model), precision, words)


def _simulated(judged: Model, precision: str, words: tuple[Diagnostic, ...]) -> Running:
    from modelbuild.graph import runtime, simulate
    from modelbuild.graph.alarms import Alarms

    alarms = Alarms.of(simulate.simulation(judged))
    session = runtime.session(alarms.model, prepack=True, in_order=True)
    return Running(judged, session, f"{precision}-simulated", words, alarms)


def _loading(path: Path, precision: str) -> tuple[Diagnostic, ...]:
    """What there is to say of ONNX Runtime's loading a file of half precision, which may end the process.

    Raises:
        StepError: it does not load.
    """
    from modelbuild.graph import runtime

    loading = in_child(lambda: runtime.session_of_file(path) and None)
    if loading.error is not None and not _lacks_kernels(loading.error, precision):
        raise failures.of_runtime(path.name, loading.error)
    if not loading.died:
        return ()
    again = in_child(lambda: runtime.session_of_file(path, extended=True) and None)
    if not again.ok:
        raise StepError(_crashed(f"{loading.died} while loading {path.name}", "error"))
    return (
        _crashed(
            f"ONNX Runtime was {loading.died} while loading {path.name} at its highest "
            "optimisation level on a CPU; at ORT_ENABLE_EXTENDED it loads",
            "warning",
        ),
    )


def _lacks_kernels(error: BaseException, precision: str) -> bool:
    """Whether this is only that ONNX Runtime has hardly a bfloat16 kernel, and none on a CPU.

    The file has passed the full checker by then, and the simulation judges what it computes.
    """
    from modelbuild.graph import runtime

    return precision == "bf16" and runtime.lacks_kernels(error)


def full(array: Array) -> Array:
    """A half precision array as float32."""
    return array.astype("float32") if array.dtype.name in ("float16", "bfloat16") else array


def _has_bfloat16(model: Model) -> bool:
    from modelbuild.graph.types import ELEM_TYPES

    return any(t.data_type == ELEM_TYPES["bf16"] for t in model.proto.graph.initializer)


def _crashed(message: str, level: Any) -> Diagnostic:
    return Diagnostic(
        "worker-crashed",
        message,
        "set graph_optimization_level to ORT_ENABLE_EXTENDED where this file runs on a CPU",
        level=level,
    )
