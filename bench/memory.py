"""Three builds of BERT's size at once: how much memory, and how long beside one after the other.

    python bench/memory.py [--gib 24] [--limit 1.1] [-j 4] [--model bert]

Three recipes of one model with random weights of their own, from empty caches each time: one after
the other, in one command, and as three commands at once with a cache each, which know nothing of
each other but the memory that is left. Printed are the highest PSS of all their processes together,
wall time as a multiple of one after the other, and what the machine swapped and killed meanwhile.
Exits with 1 if the memory is above ``--gib``, a multiple above ``--limit``, or anything was swapped
out or killed. Linux only; takes ten minutes or more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cold_build import MODELS, SECONDS_BETWEEN_LOOKS, WORK, tree_memory

COUNT = 3
MODELBUILD = (sys.executable, "-m", "modelbuild", "build")


@dataclass(frozen=True)
class Cost:
    """``memory`` is in MiB at the peak; ``swapped`` pages went out, ``killed`` processes died of it."""

    seconds: float
    memory: float
    swapped: int
    killed: int


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--gib", type=float, default=24, help="the most memory that passes")
    parser.add_argument("--limit", type=float, default=1.1, help="the highest multiple of time that passes")
    parser.add_argument("-j", "--jobs", default="4")
    parser.add_argument("--model", choices=MODELS, default="bert")
    options = parser.parse_args()
    names = [f"{options.model}{number}" for number in range(COUNT)]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "configs").mkdir()
        for number, name in enumerate(names):
            model = MODELS[options.model].replace("model:\n", f"model:\n  seed: {number}\n")
            (folder / "configs" / f"{name}.yaml").write_text(model + WORK)
        alone = [_build(f"configs/{n}.yaml", f"alone-{n}", options.jobs) for n in names]
        serial = [run([command], folder) for command in alone]
        together = {
            "one command": [_build("configs", "one", options.jobs)],
            "three commands": [_build(f"configs/{n}.yaml", f"three-{n}", options.jobs) for n in names],
        }
        costs = {what: run(commands, folder) for what, commands in together.items()}
    whole = sum(cost.seconds for cost in serial)
    print(f"one after the other: {whole:.0f} s, {max(c.memory for c in serial) / 1024:.1f} GiB")
    bad = False
    for what, cost in costs.items():
        wall, gib = cost.seconds / whole, cost.memory / 1024
        bad |= wall > options.limit or gib > options.gib or bool(cost.swapped or cost.killed)
        print(
            f"{what}: x{wall:.2f} (limit x{options.limit:.2f}), {gib:.1f} GiB (limit {options.gib:g}), "
            f"{cost.swapped} pages swapped out, {cost.killed} killed"
        )
    return int(bad)


def _build(recipes: str, name: str, jobs: str) -> Sequence[str]:
    places = ("--cache-dir", f"cache-{name}", "--out", f"out-{name}")
    return (*MODELBUILD, recipes, "-j", jobs, *places)


def run(commands: Sequence[Sequence[str]], folder: Path) -> Cost:
    """All of them at once, to the end, looking at the memory of all their processes as they go."""
    before, start, peak = pressure(), time.perf_counter(), 0.0
    with (folder / "log").open("w") as log:
        running = [subprocess.Popen(c, cwd=folder, stdout=log, stderr=log) for c in commands]
        while any(process.poll() is None for process in running):
            peak = max(peak, sum(tree_memory(p.pid) for p in running if p.returncode is None))
            time.sleep(SECONDS_BETWEEN_LOOKS)
    seconds = time.perf_counter() - start
    if any(process.returncode for process in running):
        said = (folder / "log").read_text(errors="replace")[-1000:]
        raise SystemExit(f"exit codes {[p.returncode for p in running]}:\n{said}")
    swapped, killed = (now - then for now, then in zip(pressure(), before, strict=True))
    return Cost(seconds, peak, swapped, killed)


def pressure() -> tuple[int, int]:
    """Pages swapped out, and processes killed for memory, since the machine started."""
    rows = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    return int(rows["pswpout"]), int(rows.get("oom_kill", 0))


if __name__ == "__main__":
    sys.exit(main())
