"""A build with nothing to do, as a multiple of ``python -c pass``, and other tools with nothing to do.

    python bench/null_build.py [-n 20] [--thousand] [--built FOLDER] [--tools FOLDER]

Builds first: configs/resnet50.yaml, and 100 recipes of one small model with 10 artifacts each (1000
with ``--thousand``, which takes a quarter of an hour). All of that goes into a temporary folder or into
``--built``, where the next run finds it. Then bare Python and the commands run in turn, and medians are
compared. Exits with 1 if a multiple of ours is above its limit.

make, ninja, doit and DVC get a graph of 100 recipes with 8 artifacts (see ``peers.py``); those that are not
here are named and left out. doit and DVC are installed with pip into an environment of their own, in
``--tools`` or the temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import peers

ROOT = Path(__file__).parents[1]
MODEL = """\
from torch import nn


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
"""
# fp32 and fp16, dynamic and at four sizes: 10 artifacts.
RECIPE = """\
model: {import: "net:Net"}
inputs: {input: {shape: [batch, 6]}}
outputs: [output]
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
precision: {fp32: {}, fp16: {}}
static: [{batch: 1}, {batch: 2}, {batch: 4}, {batch: 8}]
verify: {samples: 2}
"""
AT_ONCE = 100  # recipes per building command: a crash late in 1000 would cost all of them


@dataclass(frozen=True)
class Case:
    """A command with nothing to do; ``limit`` is the highest multiple of bare Python that passes."""

    name: str
    argv: Sequence[str]
    cwd: Path
    limit: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=20, metavar="ROUNDS")
    parser.add_argument("--thousand", action="store_true", help="1000 recipes, too")
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="keep cache and artifacts there")
    parser.add_argument("--tools", type=Path, metavar="FOLDER", help="keep doit and DVC there")
    options = parser.parse_args()
    # Modules are compiled once, as they are for whoever does not forbid it.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as temporary:
        place = (options.built or Path(temporary)).absolute()
        os.environ["MODELBUILD_CACHE_DIR"] = str(place / "cache")
        cases = [Case("python -c pass", [sys.executable, "-c", "pass"], ROOT), *ours(place, options.thousand)]
        others, left_out = peers.cases(
            place / "peers", (options.tools or Path(temporary) / "tools").absolute()
        )
        cases += [Case(o.name, o.argv, o.cwd) for o in others]
        seconds = in_turn(cases, options.n)
        touched = {o.name: peers.rebuilds_after_a_touch(o) for o in others}
        touched |= {c.name: rebuilds_after_a_touch(c) for c in cases if c.limit is not None and "x" in c.name}
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for line in left_out:
        print(f"left out: {line}")
    return told(cases, seconds, touched)


def told(cases: Sequence[Case], seconds: Mapping[str, float], touched: Mapping[str, bool]) -> int:
    """Print the table; 1 if a limit is passed."""
    bare = seconds[cases[0].name]
    failed = 0
    for case in cases:
        multiple = seconds[case.name] / bare
        words = f"{case.name:32} {1000 * seconds[case.name]:8.1f} ms  x{multiple:.2f}"
        if case.limit is not None:
            words += f" (limit x{case.limit:.0f})"
            failed |= multiple > case.limit
        if case.name in touched:
            words += f"; a touch of the source {'rebuilds' if touched[case.name] else 'builds nothing'}"
        print(words)
    return int(failed)


def ours(place: Path, thousand: bool) -> list[Case]:
    """Our builds, made here, and checked to have nothing to do."""
    resnet = [str(ROOT / "configs" / "resnet50.yaml")]
    cases = [Case("modelbuild, resnet50", command(resnet, place / "resnet50"), ROOT, 2)]
    for count, limit in ((100, 3), *(((1000, 8),) if thousand else ())):
        folder = place / f"recipes{count}"
        folder.mkdir(parents=True, exist_ok=True)
        write(folder / "net.py", MODEL)
        for i in range(count):
            write(folder / f"r{i:03}.yaml", RECIPE)
        cases.append(
            Case(f"modelbuild, {count} recipes x 10", command(["."], folder / "build"), folder, limit)
        )
    for case in cases:
        make(case)
    return cases


def write(path: Path, text: str) -> None:
    """Leave a file alone that is as it should be."""
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def make(case: Case) -> None:
    """Build what a case has nothing to do for, and see that it has nothing to do."""
    start = time.perf_counter()
    recipes = sorted(p.name for p in case.cwd.glob("*.yaml")) if "." in case.argv else []
    for some in [recipes[i : i + AT_ONCE] for i in range(0, len(recipes), AT_ONCE)]:
        at = case.argv.index(".")
        run([*case.argv[:at], *some, *case.argv[at + 1 :]], case.cwd)
    for _ in range(2):  # the second looks again at what was written at the end of the first
        answer = json.loads(run([*case.argv, "--format", "json"], case.cwd))
    states = {a["status"] for r in answer["recipes"] for a in r["artifacts"]}
    if not states <= {"cached", "skipped"}:
        raise SystemExit(f"{case.name}: a second build is not all cached: {', '.join(sorted(states))}")
    run(case.argv, case.cwd)
    print(f"{case.name}: built in {time.perf_counter() - start:.0f} s", file=sys.stderr)


def command(recipes: Sequence[str], out: Path) -> list[str]:
    """The command as users type it: the script that pip installed beside this Python."""
    script = shutil.which("modelbuild", path=str(Path(sys.executable).parent))
    start = [script] if script else [sys.executable, "-m", "modelbuild"]
    return [*start, "build", *recipes, "--out", str(out)]


def run(argv: Sequence[str], cwd: Path) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[:4])}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def rebuilds_after_a_touch(case: Case) -> bool:
    (case.cwd / "net.py").touch()
    answer: dict[str, Any] = json.loads(run([*case.argv, "--format", "json"], case.cwd))
    return any(a["status"] == "built" for r in answer["recipes"] for a in r["artifacts"])


def in_turn(cases: Sequence[Case], rounds: int) -> dict[str, float]:
    """The median seconds of each command; all of them once per round, the first to warm up."""
    took: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(rounds + 1):
        for case in cases:
            start = time.perf_counter()
            subprocess.run(case.argv, cwd=case.cwd, check=True, capture_output=True)
            took[case.name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in took.items()}


if __name__ == "__main__":
    sys.exit(main())
