"""The memory of a calibration over many samples, beside one plain run of the same model.

    python bench/calibration.py [METHOD ...] [--samples 1000] [--length 32] [--limit 1.3] [--quick]

BERT-base with random weights, and samples of ``--length`` tokens: short ones, since the samples have to be
many and not long. The plain run is ONNX Runtime with the float32 file and one sample. A calibration is the
step of a build, ``calibrate``, with one sample and with all of them, once per method. Each is a process of
its own, and its memory is that of its peak, libraries included. ``--quick`` takes a small BERT.

Exits with 1 where the calibration with all samples takes more than ``--limit`` times the memory of the plain
run.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from int8_models import Subject, lay_out, peak, run, tokens, tokens_of

from modelbuild.graph.clipping import Method

METHODS: tuple[str, ...] = get_args(Method)


@dataclass(frozen=True)
class Cost:
    """Of one process: MiB at its peak, and seconds from its start to its end."""

    memory: float
    seconds: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("methods", nargs="*", metavar="METHOD", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--length", type=int, default=32, help="tokens of each (32)")
    parser.add_argument("--limit", type=float, default=1.3, help="the highest multiple that passes (1.3)")
    parser.add_argument("--quick", action="store_true", help="a small BERT")
    for hidden, values in (("--plain", 1), ("--calibrate", 2)):
        parser.add_argument(hidden, nargs=values, help=argparse.SUPPRESS)
    options = parser.parse_args()
    for name, work in (("plain", plain), ("calibrate", calibrate)):
        if given := getattr(options, name):
            print(json.dumps(work(*given)))
            return 0
    if unknown := set(options.methods) - set(METHODS):
        parser.error(f"no such method: {', '.join(sorted(unknown))}")
    name = "small_bert" if options.quick else "bert"
    inputs = tokens_of(options.length)
    bad = False
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        fp32 = lay_out(name, folder, options.samples, Subject(inputs, tokens(options.length)))
        base = cost(["--plain", str(fp32)], folder)
        print(f"{name}, {options.length} tokens: a plain run takes {base.memory:.0f} MiB", flush=True)
        for method in options.methods or METHODS:
            costs = []
            for samples in (1, options.samples):
                recipe = folder / f"{method}-{samples}.yaml"
                recipe.write_text(recipe_of(fp32.relative_to(folder), inputs, method, samples))
                costs.append(cost(["--calibrate", str(recipe), str(fp32)], folder))
            one, every = costs
            multiple = every.memory / base.memory
            bad |= multiple > options.limit
            print(
                f"  {method:10}  1 sample {one.memory:5.0f} MiB, {options.samples} samples "
                f"{every.memory:5.0f} MiB in {every.seconds:.0f} s: x{multiple:.2f} of the plain run "
                f"(limit x{options.limit:.2f})",
                flush=True,
            )
    return int(bad)


def recipe_of(fp32: Path, inputs: str, method: str, samples: int) -> str:
    calibration = f"{{data: calibration/*.npz, samples: {samples}, method: {method}}}"
    return (
        f"model: {{onnx: {fp32}}}\n{inputs}"
        f"precision: {{int8: {{method: static, base: fp32, calibration: {calibration}}}}}\n"
    )


def cost(arguments: list[str], folder: Path) -> Cost:
    start = time.perf_counter()
    memory = json.loads(run([__file__, *arguments], folder))
    return Cost(memory, time.perf_counter() - start)


def plain(fp32: str) -> float:
    """The peak in MiB of one run of the file, as anybody would run it."""
    import onnxruntime

    sample = min((Path(fp32).parents[1] / "calibration").glob("*.npz"))
    session = onnxruntime.InferenceSession(fp32, providers=["CPUExecutionProvider"])
    session.run(None, dict(np.load(sample)))
    return peak()


def calibrate(recipe: str, fp32: str) -> float:
    """The peak in MiB of the step of a build, as the recipe plans it."""
    from modelbuild.plan.planning import plan
    from modelbuild.recipe.loading import load

    steps = {action.step.kind: action.step for action in plan(load(Path(recipe))).actions}
    with tempfile.TemporaryDirectory() as out:
        steps["calibrate"].run_at(Path(recipe).parent, {"model": Path(fp32).parent}, Path(out))
    return peak()


if __name__ == "__main__":
    sys.exit(main())
