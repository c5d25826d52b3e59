"""What an engine is: its header, and the rest where it can be loaded."""

from __future__ import annotations

import struct
from pathlib import Path

from modelbuild.base.errors import ModelbuildError
from modelbuild.engines.running import describe_engine
from modelbuild.inspection.common import Info, no_model
from modelbuild.machine import toolchain

# How an engine of TensorRT-RTX begins: magic, 0, format, size of the file, version, magic, targets.
# Nowhere documented; measured with 1.7.1, and held against the installed builder by a test.
HEADER = struct.Struct("<4sIQQ4B4sI")
_RTX_MAGIC = b"vtrt"
_RTX_FORMAT = 2
_RTX_TARGETS = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")  # by bit


def describe(path: Path, head: bytes) -> Info:
    if not has_magic(head):
        raise no_model(f"{path} cannot be inspected: not an engine")
    info: Info = {"kind": "engine", "backend": "tensorrt"}
    if head.startswith(_RTX_MAGIC):
        info["backend"] = "tensorrt-rtx"
        info |= _rtx_header(path, head)
    return info | _contents(path, info["backend"])


def has_magic(head: bytes) -> bool:
    """``ftrt`` and ``ptrt`` are TensorRT's, ``vtrt`` is TensorRT-RTX's."""
    return head[1:4] == b"trt"


def _rtx_header(path: Path, head: bytes) -> Info:
    """Version and targets, which the header tells without a GPU."""
    size = path.stat().st_size
    if len(head) < HEADER.size:
        raise no_model(f"{path} cannot be inspected: the engine is truncated")
    _, _, form, whole, *version, _, targets = HEADER.unpack(head)
    if form != _RTX_FORMAT:
        return {}
    if size < whole:
        raise no_model(f"{path} cannot be inspected: {size} bytes are there of {whole}")
    return {
        "version": ".".join(map(str, version)),
        "targets": [name for bit, name in enumerate(_RTX_TARGETS) if targets >> bit & 1],
    }


def _contents(path: Path, backend: str) -> Info:
    """Inputs, outputs and profiles where the engine can be loaded; else why not."""
    missing = toolchain.missing_backend(backend)
    if missing is None and toolchain.gpu() is None:
        missing = "there is no GPU here"
    if missing is not None:
        return {"note": f"inputs, outputs and profiles need the engine loaded: {missing}"}
    try:
        return describe_engine(path, backend)
    except ModelbuildError as error:
        return {"note": f"inputs, outputs and profiles are unknown: {error}"}
