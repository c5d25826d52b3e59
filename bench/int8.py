"""int8 beside ``onnxruntime.quantization.quantize_static``, on the same float32 files and the same data.

    python bench/int8.py [MODEL ...] [--quick] [--samples 32] [--json FILE]

For each model both sides calibrate with the same samples (minmax) and quantize the same operators:
symmetric int8, weights per channel, QuantizeLinear/DequantizeLinear. modelbuild's side are the two steps
that a build runs, ``calibrate`` and ``quantize`` with ``method: static``, for both of its bases; the other
side is one call, as it is by default and with ``QuantizeBias=False``. Each is a process of its own, from its
start to its end, and its memory is that of its peak, libraries included.

Both files are then judged alike: the SQNR of the worst output against the float32 file, by the simulation,
on samples that neither has seen; how many of the nodes multiply int8; and whether ONNX Runtime and
TensorRT-RTX's parser take the file. ``digits`` is a trained net (``examples/digits``), judged by its accuracy
too. ``--quick`` takes small models of the same kinds.

Exits with 1 where modelbuild's file with float32 around it has fewer dB or fewer int8 nodes than the
other's, or one of its files is refused.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from int8_models import MODELS, SMALL, Arrays, ChildError, last_line, lay_out, peak, run

OPERATORS = ("Conv", "ConvTranspose", "MatMul", "Gemm")
SLACK = 0.05  # dB that are no difference

SIDES = {
    "modelbuild, fp32 around": ("--ours", "fp32"),
    "modelbuild, fp16 around": ("--ours", "fp16"),
    "quantize_static": ("--theirs", "bias"),
    "quantize_static, QuantizeBias=False": ("--theirs", "no-bias"),
}
MINE, OTHER = "modelbuild, fp32 around", "quantize_static"


@dataclass(frozen=True)
class Side:
    """One side's file, and what it took: whole seconds of its process, MiB at its peak."""

    seconds: float = 0
    memory: float = math.nan
    size: float = 0  # MB
    int8: int = 0  # of the nodes of OPERATORS
    nodes: int = 0
    sums: int = 0  # Adds of two int8 values
    sqnr: float | None = None  # dB, of the worst output
    accuracy: float | None = None  # where there are labels
    reference: float | None = None  # that of the float32 file
    loads: str = ""  # what ONNX Runtime says against it
    refused: str = ""  # what TensorRT-RTX's parser says against it
    said: str = ""  # why there is no file


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join((*MODELS, *SMALL))}")
    parser.add_argument("--quick", action="store_true", help="small models of the same kinds")
    parser.add_argument("--samples", type=int, default=32, help="to calibrate with (32)")
    parser.add_argument("--turns", type=int, default=3, help="of each side; the median counts (3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    for hidden, values in (("--ours", 4), ("--theirs", 4), ("--judge", 2), ("--parse", 1)):
        parser.add_argument(hidden, nargs=values, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name, work in (("ours", ours), ("theirs", theirs), ("judge", judge), ("parse", parse)):
        if given := getattr(options, name):
            print(json.dumps(work(*given)))
            return 0
    every = MODELS | SMALL
    if unknown := set(options.models) - every.keys():
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    rows = []
    for name in options.models or (SMALL if options.quick else MODELS):
        with tempfile.TemporaryDirectory() as folder:
            row = compare(name, Path(folder), options.samples, options.turns)
        print(described(name, row), flush=True)
        rows.append({"model": name, **{side: asdict(found) for side, found in row.items()}})
        wrong = list(complaints(row))
        print("".join(f"  {complaint}\n" for complaint in wrong), end="", flush=True)
        rows[-1]["wrong"] = wrong
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return int(any(row["wrong"] for row in rows))


def compare(name: str, folder: Path, samples: int, turns: int) -> dict[str, Side]:
    try:
        fp32 = lay_out(name, folder, samples)
    except ChildError as error:
        raise SystemExit(f"{name}: {error}") from error
    inputs = (MODELS | SMALL)[name].inputs
    for base in ("fp32", "fp16"):
        (folder / f"{base}.yaml").write_text(
            f"model: {{onnx: {fp32.relative_to(folder)}}}\n{inputs}precision:\n"
            f"  int8: {{method: static, base: {base}, calibration: {{data: calibration/*.npz}}}}\n"
        )
    took: dict[str, list[float]] = {side: [] for side in SIDES}
    found: dict[str, Side] = {}
    for _ in range(turns):
        for side in SIDES:
            start = time.perf_counter()
            found[side] = made(side, fp32, folder, samples)
            took[side].append(time.perf_counter() - start)
    return {
        side: judged(replace(one, seconds=statistics.median(took[side])), side, fp32, folder)
        for side, one in found.items()
    }


def made(side: str, fp32: Path, folder: Path, samples: int) -> Side:
    """Let one side make its file, in a process of its own."""
    option, variant = SIDES[side]
    out = place(side, folder)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    try:
        told = json.loads(run([__file__, option, variant, str(fp32), str(out), str(samples)], folder))
    except ChildError as error:
        return Side(said=str(error))
    return Side(memory=told["memory"], size=sum(file.stat().st_size for file in out.iterdir()) / 1e6)


def place(side: str, folder: Path) -> Path:
    return folder / "-".join(SIDES[side]).strip("-")


def judged(side: Side, name: str, fp32: Path, folder: Path) -> Side:
    """The same with what there is to say of its file."""
    if side.said:
        return side
    (file,) = place(name, folder).glob("*.onnx")
    try:
        told = json.loads(run([__file__, "--judge", str(fp32), str(file)], folder))
    except ChildError as error:
        return replace(side, said=str(error))
    try:
        refused = json.loads(run([__file__, "--parse", str(file)], folder))
    except ChildError as error:  # which a parser that crashes is, too
        refused = str(error)
    return replace(side, refused=refused, **told)


# ---- the sides -----------------------------------------------------------------------------------


def ours(base: str, fp32: str, out: str, samples: str) -> dict[str, float]:
    """The two steps of a build, as its recipe plans them; it takes all the samples that there are."""
    from modelbuild.plan.planning import plan
    from modelbuild.recipe.loading import load

    folder = Path(fp32).parents[1]
    steps = {a.step.kind: a.step for a in plan(load(folder / f"{base}.yaml")).actions}
    ranges = folder / f"ranges-{base}"
    ranges.mkdir(exist_ok=True)
    given = {"model": Path(fp32).parent, "ranges": ranges}
    steps["calibrate"].run_at(folder, given, ranges)
    steps["quantize"].run_at(folder, given, Path(out))
    return {"memory": peak()}


def theirs(variant: str, fp32: str, out: str, samples: str) -> dict[str, float]:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.files = iter(sorted((Path(fp32).parents[1] / "calibration").glob("*.npz"))[: int(samples)])

        def get_next(self) -> Arrays | None:
            file = next(self.files, None)
            return None if file is None else dict(np.load(file))

    options: dict[str, Any] = {"ActivationSymmetric": True, "WeightSymmetric": True}
    if variant == "no-bias":
        options["QuantizeBias"] = False
    quantize_static(
        fp32,
        str(Path(out) / "theirs.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=list(OPERATORS),
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.MinMax,
        extra_options=options,
    )
    return {"memory": peak()}


# ---- the judge -----------------------------------------------------------------------------------


def judge(fp32: str, file: str) -> dict[str, Any]:
    """What is to be said of a file, whoever made it."""
    from modelbuild.graph import files, runtime, simulate

    model = files.read(Path(file))
    reference = runtime.session(files.read(Path(fp32)))
    candidate = runtime.session(simulate.simulated(model))
    folder, sums, told = Path(fp32).parents[1], [], {}
    for path in sorted((folder / "unseen").glob("*.npz")):
        given = dict(np.load(path))
        wants, gots = reference.run(None, given), candidate.run(None, given)
        sums.append([n for want, got in zip(wants, gots, strict=True) for n in powers(want, got)])
        if (folder / "labels.npy").exists():
            labels = np.load(folder / "labels.npy")
            right = [float((outs[0].argmax(-1) == labels).mean()) for outs in (gots, wants)]
            told = dict(zip(("accuracy", "reference"), right, strict=True))
    totals = np.sum(sums, axis=0).reshape(-1, 2)
    worst = min(10 * math.log10(signal / noise) if noise else math.inf for signal, noise in totals)
    try:
        runtime.session_of_file(Path(file))
        loads = ""
    except Exception as error:
        loads = last_line(str(error))
    return {"sqnr": worst, "loads": loads, **told, **counted(model.proto)}


def powers(want: np.ndarray[Any, Any], got: np.ndarray[Any, Any]) -> tuple[float, float]:
    exact = want.astype(np.float64)
    return float((exact**2).sum()), float(((got - exact) ** 2).sum())


def counted(proto: Any) -> dict[str, int]:
    """How many nodes multiply dequantized values alone, of how many; and how many Adds add such."""
    made = {name: node.op_type for node in proto.graph.node for name in node.output}
    quantized = [
        node.op_type
        for node in proto.graph.node
        if all(made.get(name) == "DequantizeLinear" for name in node.input[:2])
    ]
    nodes = sum(node.op_type in OPERATORS for node in proto.graph.node)
    return {
        "int8": sum(op in OPERATORS for op in quantized), "nodes": nodes, "sums": quantized.count("Add"),
    }  # fmt: skip


def parse(file: str) -> str:
    """What TensorRT-RTX's parser says against a file."""
    from modelbuild.base.errors import ModelbuildError
    from modelbuild.engines import kit, parsing

    try:
        parsing.parse(kit.load("tensorrt-rtx"), Path(file))
    except ModelbuildError as error:
        return error.diagnostics[0].message
    return ""


# ---- words ---------------------------------------------------------------------------------------


def complaints(row: dict[str, Side]) -> Iterator[str]:
    mine, other = row[MINE], row[OTHER]
    for name, side in row.items():
        if name.startswith("modelbuild") and (trouble := side.said or side.loads or side.refused):
            yield f"{name}: {trouble}"
    if mine.sqnr is None or other.sqnr is None:
        return
    if mine.sqnr < other.sqnr - SLACK:
        yield f"{other.sqnr - mine.sqnr:.1f} dB fewer than the other"
    if mine.int8 < other.int8:
        yield f"{other.int8 - mine.int8} int8 nodes fewer than the other"


def described(name: str, row: dict[str, Side]) -> str:
    width = max(map(len, row))
    lines = [name, *(f"  {side:{width}}  {_line(found)}" for side, found in row.items())]
    mine, other = row[MINE], row[OTHER]
    lines.append(f"  time x{mine.seconds / other.seconds:.2f}, memory x{mine.memory / other.memory:.2f}")
    return "\n".join(lines)


def _line(found: Side) -> str:
    if found.said:
        return f"{found.seconds:6.1f} s  {found.said}"
    assert found.sqnr is not None
    loads = f"ONNX Runtime refuses it: {found.loads}" if found.loads else "loads"
    taken = f"TensorRT-RTX refuses it: {found.refused}" if found.refused else "TensorRT-RTX takes it"
    right = ""
    if found.accuracy is not None:
        right = f"{found.accuracy:.2%} right (fp32 {found.reference:.2%}), "
    return (
        f"{found.seconds:6.1f} s {found.memory:6.0f} MiB {found.size:6.1f} MB  {found.sqnr:5.1f} dB  "
        f"{found.int8} of {found.nodes} nodes in int8, {found.sums} sums  {right}{loads}, {taken}"
    )


if __name__ == "__main__":
    sys.exit(main())
