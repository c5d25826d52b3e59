"""A lock with something of everything, and its text."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from modelbuild.lockfile import Lock, Onnx, Worst, compose

FP32 = Onnx("a" * 64, 819, 18, {"float32": 3}, "rtol 0.001, atol 0.0001", Worst("y", 1.24e-7, 1e-7, 3750.0))
FP16 = Onnx(
    "b" * 64, 438_000_123, 18, {"float16": 53, "float32": 2, "other": 7}, "relative_l2 0.01",
    Worst("y", 4.05e-4, 0.0, "exact"), "c" * 64, 2,
)  # fmt: skip
NET = "net.fp32.onnx"
ROWS = {NET: FP32, "net.fp16.onnx": FP16}
ENGINE = "net.fp16.tensorrt.engine"
ENGINES = {ENGINE: "sha256:" + "d" * 64}
TOOLS = {"torch": "2.12.1", "onnx-ir": "1.1.0", "python": "3.11.7", "machine": "x86_64", "tensorrt": None}
FACTS = {
    "file net.py": "sha256:" + "1" * 64,
    "file ../models/blocks.py": "sha256:" + "2" * 64,
    "file /home/ann/data/w.bin": "sha256:" + "3" * 64,
    "absent net.json": None,
    "absent /home/ann/.config/net": None,
    "modules .": "net:net.py",
    "modules ..": "models:models/",
    "env WIDTH": "8",
    "env DEPTH": None,
    "env DATA": "/home/ann/data",
    "package onnx_ir": "1.1.0",
    "package transformers": "5.0",
}
OUTLINES = {"net.py": {"Net": "12ab", "": "34cd"}}
TEXT = f"""\
# Written by `modelbuild build --lock`; `modelbuild build --locked` holds to it. Not edited by hand.
lock: 2
recipe: net
onnx:
  net.fp32.onnx:
    sha256: {"a" * 64}
    bytes: 819
    opset: 18
    nodes: {{float32: 3}}
    tolerance: "rtol 0.001, atol 0.0001"
    worst: {{output: y, relative_l2: 1.24e-07, max_abs: 1e-07, headroom: 3750}}
  net.fp16.onnx:
    sha256: {"b" * 64}
    bytes: 438000123
    opset: 18
    nodes: {{float16: 53, float32: 2, other: 7}}
    tolerance: relative_l2 0.01
    worst: {{output: y, relative_l2: 0.000405, max_abs: 0, headroom: exact}}
    data: {"c" * 64}
    kept_fp32: 2
engines:
  net.fp16.tensorrt.engine: sha256:{"d" * 64}
toolchain:
  machine: x86_64
  onnx-ir: 1.1.0
  python: "3.11"
  torch: 2.12.1
  transformers: "5.0"
environment:
  DATA: "(a path)"
  DEPTH: null
  WIDTH: "8"
files:
  .../w.bin: sha256:{"3" * 64}
  ../models/blocks.py: sha256:{"2" * 64}
"""


def locked(
    rows: Mapping[str, Onnx] = ROWS,
    engines: Mapping[str, str | None] = ENGINES,
    tools: Mapping[str, str | None] = TOOLS,
    facts: Mapping[str, str | None] = FACTS,
    outlines: Mapping[str, Mapping[str, str]] = OUTLINES,
    name: str = "net",
) -> Lock:
    return compose(name, rows, engines, tools, facts, outlines)


def with_fp32(**changes: Any) -> dict[str, Onnx]:
    return {**ROWS, NET: dataclasses.replace(FP32, **changes)}
