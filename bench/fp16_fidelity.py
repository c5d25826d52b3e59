"""How true the simulation of half precision is, and what it costs.

    python bench/fp16_fidelity.py [-n 3] [--limit 1.3] [--built FOLDER] [--json FILE] [errors | cost ...]

``errors``: each kind of layer, exported and converted to fp16, simulated, against the error of
PyTorch's own half module on a CPU; both are relative L2 against PyTorch in float32. Where the ratio
is not nearly 1, the reason is printed. The layers are those of the tests.

``cost``: a simulated run against a float32 run of the same graph in ONNX Runtime, on files that
modelbuild builds. Each side has a process of its own; the two are started in turn, and then run in
turn, a few runs each, so that what else the machine does meets both. The float32 side is what users
do: a session on the file, with ONNX Runtime's own options but for threads that do not spin, which
is so on both sides. Printed are medians: of the time from nothing to the first result, of a run
after that, of the process's peak of memory, libraries included; and the medians of the ratios of
what was measured in turn.

Exits with 1 if a ratio of errors is outside of what its layer allows, or one of costs is above
``--limit``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from cold_build import MODELS

LAYERS = Path(__file__).parents[1] / "tests" / "graph"
WORK = """\
opset: 18
precision:
  fp32: {tolerance: {relative_l2: 1.0e-4}}
  fp16: {method: convert, tolerance: {relative_l2: 2.0e-2}}
verify: {samples: 1}
"""
SIZES = {
    "resnet50": ({"batch": 1}, {"batch": 4}, {"batch": 8}),
    "bert": (
        {"batch": 1, "sequence": 16}, {"batch": 4, "sequence": 64}, {"batch": 8, "sequence": 128},
    ),
}  # fmt: skip
TURNS, RUNS = 3, 5  # of each side in a round, after the first run; and runs in a turn


@dataclass(frozen=True)
class Cost:
    """Of one process: seconds to the first result, of a run in each later turn, MiB at the peak."""

    first: float
    runs: tuple[float, ...]
    memory: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help="of errors, cost; both by default")
    parser.add_argument("-n", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--limit", type=float, default=1.3, help="the highest ratio of costs that passes")
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="keep cache and artifacts there")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number there")
    parser.add_argument("--side", nargs=3, metavar=("SIDE", "FILE", "SIZES"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return one_side(*options.side)
    parts = options.parts or ["errors", "cost"]
    if unknown := set(parts) - {"errors", "cost"}:
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    found: dict[str, Any] = {}
    passed = True
    if "errors" in parts:
        found["errors"], passed = errors()
    if "cost" in parts:
        with tempfile.TemporaryDirectory() as temporary:
            found["cost"], worst = cost(options.built or Path(temporary), options.n)
        print(f"worst ratio x{worst:.2f} (limit x{options.limit:.2f})")
        passed = passed and worst <= options.limit
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(not passed)


# ---- errors --------------------------------------------------------------------------------------


def errors() -> tuple[dict[str, Any], bool]:
    """Simulated error, PyTorch's, and their ratio, for each kind of layer; whether all are as told."""
    sys.path.insert(0, str(LAYERS))
    import half_layers

    rows, passed = {}, True
    print(f"{'layer':32}{'simulated':>11}{'PyTorch':>11}{'ratio':>8}")
    for kind, layer in half_layers.LAYERS.items():
        case = half_layers.case(layer)
        simulated, true = case.error(case.simulated()), case.error(case.true)
        ratio = simulated / true
        low, high = layer.ratio
        held = low <= ratio <= high
        passed = passed and held
        rows[kind] = {"simulated": simulated, "pytorch": true, "ratio": ratio, "why": layer.why}
        said = "" if held else f"  outside {low:.2f} to {high:.2f}"
        said += f"  {layer.why}" if layer.why else ""
        print(f"{kind:32}{simulated:11.2e}{true:11.2e}{ratio:8.2f}{said}", flush=True)
    ratios = sorted(row["ratio"] for row in rows.values())
    print(f"{len(ratios)} layers: ratios from {ratios[0]:.2f} to {ratios[-1]:.2f}, ", end="")
    print(f"median {statistics.median(ratios):.2f}\n")
    return rows, passed


# ---- cost ----------------------------------------------------------------------------------------


def cost(place: Path, rounds: int) -> tuple[dict[str, Any], float]:
    """Every round's costs, and the worst ratio."""
    every: dict[str, Any] = {}
    worst = 0.0
    for model in MODELS:
        files = build(model, place)
        for sizes in SIZES[model]:
            pairs = [measure(files, sizes, simulated_first=bool(i % 2)) for i in range(rounds)]
            title = f"{model} " + ", ".join(f"{axis}={size}" for axis, size in sizes.items())
            every[title] = [{"fp32": asdict(p), "simulated": asdict(s)} for p, s in pairs]
            print(title)
            costs = {
                "to the first result": ([(p.first, s.first) for p, s in pairs], 1e3, "ms"),
                "a run after that": (
                    [r for p, s in pairs for r in zip(p.runs, s.runs, strict=True)],
                    1e3,
                    "ms",
                ),
                "peak of memory": ([(p.memory, s.memory) for p, s in pairs], 1.0, "MiB"),
            }
            for name, (rows, by, unit) in costs.items():
                plain, simulated = (by * statistics.median(column) for column in zip(*rows, strict=True))
                ratio = statistics.median(s / p for p, s in rows)
                worst = max(worst, ratio)
                print(f"  {name:22}{plain:8.0f} {unit:4}{simulated:8.0f} {unit:4} x{ratio:.2f}", flush=True)
    return every, worst


def build(model: str, place: Path) -> dict[str, Path]:
    """The model's two files, made by modelbuild."""
    recipe = place / f"{model}.yaml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    recipe.write_text(MODELS[model] + WORK)
    places = ["--cache-dir", str(place / "cache"), "--out", str(place / "out")]
    command = [sys.executable, "-m", "modelbuild", "build", str(recipe), *places]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} exits with {done.returncode}:\n{done.stderr[-2000:]}")
    built = place / "out" / model
    return {"fp32": built / f"{model}.fp32.onnx", "simulated": built / f"{model}.fp16.onnx"}


def measure(
    files: Mapping[str, Path], sizes: Mapping[str, int], *, simulated_first: bool
) -> tuple[Cost, Cost]:
    """One round: a process for each side, made in turn and run in turn."""
    order = ["simulated", "fp32"] if simulated_first else ["fp32", "simulated"]
    processes = {side: start(side, files[side], sizes) for side in order}
    first = {side: float(ask(processes[side])["first"]) for side in order}
    runs: dict[str, list[float]] = {side: [] for side in order}
    for _ in range(TURNS):
        for side in order:
            runs[side].append(float(ask(processes[side])["run"]))
    made: dict[str, Cost] = {}
    for side, process in processes.items():
        stdout, _ = process.communicate()
        memory = float(json.loads(stdout)["memory"])
        made[side] = Cost(first[side], tuple(runs[side]), memory)
    return made["fp32"], made["simulated"]


def start(side: str, file: Path, sizes: Mapping[str, int]) -> subprocess.Popen[str]:
    """A process that has its libraries, and makes its session when the other one has."""
    command = [sys.executable, __file__, "--side", side, str(file), json.dumps(sizes)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    answer(process)
    return process


def ask(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    """Have a process do its next piece of work, and wait for it."""
    stdin: IO[str] = process.stdin  # type: ignore[assignment]
    stdin.write("\n")
    stdin.flush()
    return answer(process)


def answer(process: subprocess.Popen[str]) -> Mapping[str, Any]:
    line = process.stdout.readline()  # type: ignore[union-attr]
    if not line:
        raise SystemExit(f"{process.args!r} ended with {process.wait()}")
    return json.loads(line)  # type: ignore[no-any-return]


def one_side(side: str, file: str, sizes: str) -> int:
    """In a process of its own: a line for every piece of work, the first for being ready."""
    from modelbuild.graph import files, runtime, simulate

    path = Path(file)
    say(ready=True)
    sys.stdin.readline()
    began = time.perf_counter()
    if side == "fp32":
        session = runtime.session_of_file(path)
    else:
        session = runtime.session(simulate.simulated(files.read(path)), prepack=True)
    feeds = made_up(session.get_inputs(), json.loads(sizes))
    session.run(None, feeds)
    say(first=time.perf_counter() - began)
    for _ in sys.stdin:
        seconds = []
        for _ in range(RUNS):
            began = time.perf_counter()
            session.run(None, feeds)
            seconds.append(time.perf_counter() - began)
        say(run=statistics.median(seconds))
    say(memory=peak())
    return 0


def made_up(inputs: Sequence[Any], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Values for a session's inputs: ones for indices and masks, noise for images."""
    import numpy as np

    rng = np.random.default_rng(0)
    shapes = {i.name: [sizes.get(axis, axis) for axis in i.shape] for i in inputs}
    return {
        i.name: np.ones(shapes[i.name], np.int64)
        if "int" in i.type
        else rng.normal(size=shapes[i.name]).astype(np.float32)
        for i in inputs
    }


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


def peak() -> float:
    """MiB of this process's memory at its most. Linux: /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


if __name__ == "__main__":
    sys.exit(main())
