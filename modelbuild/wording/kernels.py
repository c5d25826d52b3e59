"""What ONNX Runtime's own integer kernels make of an int8 file, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modelbuild.wording.phrases import few

_SATURATION = (
    "without VNNI they add two products in 16 bits, where large ones do not fit; `reduce_range: true` makes "
    "a file for such processors"
)
_ROUNDING = "they round in another order"


def told(runtime: Mapping[str, Any]) -> str:
    """``54.0 dB against its computation in float: ...``; ``runtime`` is as a conversion's data has it."""
    if runtime.get("not_run") is not None:
        return f"not run: {runtime['not_run']}"
    words = few(list(runtime["instructions"]), 4)
    kernels = f"int8 kernels with {words}" if words else "int8 kernels"
    if runtime["sqnr"] is None:
        return f"equal to its computation in float ({kernels})"
    why = _SATURATION if runtime["why"] == "saturation" else _ROUNDING
    return f"{runtime['sqnr']:.1f} dB against its computation in float ({kernels}): {why}"
