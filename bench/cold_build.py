"""modelbuild from an empty cache, against a script by hand that does the same work.

    python bench/cold_build.py [-n 3] [--limit 1.0] [--json FILE] [resnet50] [bert]

Both sides run in turn, and which goes first changes from round to round, so that a busy machine or
a warm disk favours neither. Per run: wall time, and the peak of the process tree's memory as PSS
(what processes share counts once). Printed are medians, and the medians of the rounds' ratios.
Exits with 1 if a ratio, of time or of memory, is above ``--limit``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

BY_HAND = Path(__file__).with_name("by_hand.py")
SECONDS_BETWEEN_LOOKS = 0.15

MODELS = {
    "resnet50": """\
model:
  import: transformers:ResNetForImageClassification
  kwargs: {config: {import: transformers:ResNetConfig}}
inputs:
  pixel_values: {shape: [batch, 3, 224, 224]}
outputs: [logits]
dynamic_axes:
  batch: {min: 1, opt: 4, max: 8}
""",
    "bert": """\
model:
  import: transformers:BertModel
  kwargs: {config: {import: transformers:BertConfig}}
inputs:
  input_ids: {shape: [batch, sequence], dtype: int64, values: {low: 0, high: 30522}}
  attention_mask: {shape: [batch, sequence], dtype: int64, values: {low: 1, high: 2}}
outputs: [last_hidden_state, pooler_output]
dynamic_axes:
  batch: {min: 1, opt: 4, max: 8}
  sequence: {min: 16, opt: 64, max: 128}
""",
}
WORK = """\
opset: 18
precision:
  fp32: {tolerance: {relative_l2: 1.0e-4}}
  fp16: {method: convert, tolerance: {relative_l2: 2.0e-2}}
static: [{batch: 1}]
verify: {samples: 2}
"""


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds of wall time, and MiB at the peak."""

    seconds: float
    memory: float


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("-n", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--limit", type=float, default=1.0, help="the highest ratio that passes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every run there")
    options = parser.parse_args()
    models = options.models or list(MODELS)
    if unknown := set(models) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    every, worst = {}, 0.0
    for model in models:
        rounds = [measure(model, hand_first=bool(i % 2)) for i in range(options.n)]
        every[model] = [{"modelbuild": asdict(m), "by hand": asdict(h)} for m, h in rounds]
        wall = statistics.median(m.seconds / h.seconds for m, h in rounds)
        memory = statistics.median(m.memory / h.memory for m, h in rounds)
        worst = max(worst, wall, memory)
        ours, theirs = (described(side) for side in zip(*rounds, strict=True))
        print(
            f"{model}: modelbuild {ours}, by hand {theirs}; wall x{wall:.2f}, memory x{memory:.2f}",
            flush=True,
        )
    if options.json:
        options.json.write_text(json.dumps(every, indent=1) + "\n")
    print(f"worst ratio x{worst:.2f} (limit x{options.limit:.2f})")
    return int(worst > options.limit)


def described(costs: Sequence[Cost]) -> str:
    seconds = statistics.median(c.seconds for c in costs)
    return f"{seconds:.1f} s {statistics.median(c.memory for c in costs):.0f} MiB"


def measure(model: str, *, hand_first: bool) -> tuple[Cost, Cost]:
    """One run of each side, in folders of their own that are gone afterwards."""
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        (Path(ours) / f"{model}.yaml").write_text(MODELS[model] + WORK)
        places = ["--cache-dir", "cache", "--out", "out"]
        build = [sys.executable, "-m", "modelbuild", "build", f"{model}.yaml", *places]
        hand = [sys.executable, str(BY_HAND), model, theirs]
        if hand_first:
            second = run(hand, Path(theirs))
            return run(build, Path(ours)), second
        return run(build, Path(ours)), run(hand, Path(theirs))


def run(argv: Sequence[str], folder: Path) -> Cost:
    """Run to the end, looking at the memory of all its processes as it goes."""
    peak, start = 0.0, time.perf_counter()
    with open(folder / "log", "w") as log:
        child = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
        while child.poll() is None:
            peak = max(peak, tree_memory(child.pid))
            time.sleep(SECONDS_BETWEEN_LOOKS)
        seconds = time.perf_counter() - start
    if child.returncode:
        said = (folder / "log").read_text(errors="replace")[-1000:]
        raise SystemExit(f"{' '.join(argv)} exits with {child.returncode}:\n{said}")
    return Cost(seconds, peak)


def tree_memory(pid: int) -> float:
    """PSS of a process and everything below it, in MiB. Linux: /proc/PID/smaps_rollup."""
    total, waiting = 0, [pid]
    while waiting:
        place = Path("/proc") / str(waiting.pop())
        try:  # a process may end between two lines
            for thread in (place / "task").iterdir():
                waiting += map(int, (thread / "children").read_text().split())
            lines = (place / "smaps_rollup").read_text().splitlines()
            total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    return total / 1024


if __name__ == "__main__":
    sys.exit(main())
