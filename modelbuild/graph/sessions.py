"""ONNX Runtime sessions of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def session_of_file(path: Path, *, extended: bool = False, cuda: bool = False) -> Any:
    """Load a file as its users will; ``extended`` stops short of the highest optimisation level.

    Raises:
        Exception: ONNX Runtime's own, if it does not load.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 3
    # Threads that spin while they wait take the cores from the actions beside this one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if extended:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    providers = ["CUDAExecutionProvider"] if cuda else []
    return ort.InferenceSession(str(path), options, providers=[*providers, "CPUExecutionProvider"])


def has_cuda() -> bool:
    import onnxruntime as ort

    return "CUDAExecutionProvider" in ort.get_available_providers()
