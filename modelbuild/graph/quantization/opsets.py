"""The opset that a graph needs to hold int8."""

from __future__ import annotations

from collections.abc import Mapping

NEEDED: Mapping[str, int] = {"fp32": 13, "fp16": 19}
"""Since when a DequantizeLinear has a scale per channel, and scales of the base precision."""


def cure(base: str) -> str:
    """What to do about a lower one."""
    return f"set `opset: {NEEDED[base]}`" + (", or take `base: fp32`" if base == "fp16" else "")
