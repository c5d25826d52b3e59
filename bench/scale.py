"""What commands that build nothing cost with 1, 10, 100 and 1000 variants of a recipe, and as many recipes.

    python bench/scale.py [--most 1000] [-n 3] [--built FOLDER] [--only variants|recipes]

The model is one nn.Linear, really built in all of them: 1000 variants take five minutes on two cores, and
so do 1000 recipes, which differ in name and take the export and the run of PyTorch out of the cache.
``--built`` keeps cache and artifacts for the next run. Then each command runs ``-n`` times where all is
fresh, and some once more where a new tolerance has made every proof stale. Told are the seconds of the
processor (a machine may have other work) and the peak of memory, the least of the runs. Exits with 1 if ten
times the artifacts cost more than ten times as much, counted from what one costs, or ``status`` of 90
variants more than twice that of one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

MODEL = """\
from torch import nn


class Net(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
"""
RECIPE = """\
name: {name}
model: {{import: "net:Net"}}
inputs: {{input: {{shape: [batch, 4]}}}}
outputs: [output]
dynamic_axes: {{batch: {{min: 1, opt: 4, max: 5000}}}}
simplify: false
verify: {{samples: 1}}
precision: {{fp32: {{tolerance: {{rtol: {rtol}, atol: 1.0e-4}}}}}}
static: [{static}]
"""
COMMANDS = {
    "check": ["check", "."],
    "status": ["status", "."],
    "graph": ["graph", "."],
    "why": ["why", "{artifact}", "."],
    "diff": ["diff", "HEAD"],
    "report": ["report", "-o", "report.html"],
    "build --dry-run": ["build", "--dry-run", "."],
    "build": ["build", "."],
}
AGAIN = ("status", "graph", "build --dry-run", "diff")  # where all proofs are stale
AT_ONCE = 100  # recipes per building command
SLACK = 0.25  # seconds, and as many times 100 MB: below, nothing can be told from noise


@dataclass(frozen=True)
class Cost:
    seconds: float
    bytes: int


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--most", type=int, default=1000)
    parser.add_argument("-n", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="keep cache and artifacts there")
    parser.add_argument("--only", choices=("variants", "recipes"))
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory() as temporary:
        place = (options.built or Path(temporary)).absolute()
        os.environ["MODELBUILD_CACHE_DIR"] = str(place / "cache")
        counts = [n for n in (1, 10, 100, 1000) if n <= options.most]
        wrong: list[str] = []
        for what in ("variants", "recipes"):
            if options.only in (None, what):
                wrong += measured(what, counts, place, options.n)
        if options.only in (None, "variants"):
            wrong += ninety(place, options.n)
    for line in wrong:
        print(f"MORE THAN LINEAR: {line}")
    return int(bool(wrong))


def measured(what: str, counts: Sequence[int], place: Path, rounds: int) -> list[str]:
    """The table of one kind, printed; what grows faster than its artifacts, in words."""
    folders = {n: built(what, n, place) for n in counts}
    print(f"\n{what}: seconds and MB of {', '.join(map(str, counts))}")
    wrong = []
    for stale in (False, True):
        for n in counts:
            write(folders[n], what, n, rtol="2.0e-3" if stale else "1.0e-3")
        for name, arguments in COMMANDS.items():
            if stale and name not in AGAIN:
                continue
            row = {n: cost(arguments, folders[n], rounds) for n in counts}
            label = f"{name}, all stale" if stale else name
            told = "".join(f"{c.seconds:8.2f} {c.bytes / 1e6:5.0f}" for c in row.values())
            print(f"  {label:26}{told}", flush=True)
            wrong += [f"{label}, {what}: {line}" for line in beyond(row)]
    for n in counts:
        write(folders[n], what, n)
    return wrong


def beyond(row: dict[int, Cost]) -> list[str]:
    """Where ten times as many cost more than ten times as much, over what one costs."""
    least = row[min(row)]
    found = []
    counts = sorted(row)
    for few, many in pairwise(counts[1:]):
        times = many / few
        for unit, scale, values in (
            ("s", 1.0, {n: c.seconds - least.seconds for n, c in row.items()}),
            ("MB", 100e6, {n: float(c.bytes - least.bytes) for n, c in row.items()}),
        ):
            allowed = times * max(values[few], SLACK * scale / times) + SLACK * scale
            if values[many] > allowed:
                found.append(f"{values[many]:.3g} {unit} more for {many}, {values[few]:.3g} for {few}")
    return found


def ninety(place: Path, rounds: int) -> list[str]:
    one, many = (cost(COMMANDS["status"], built("variants", n, place), rounds) for n in (1, 90))
    times = many.seconds / one.seconds
    print(
        f"\nstatus of 90 variants: {many.seconds:.2f} s, of one: {one.seconds:.2f} s: x{times:.2f} (limit x2)"
    )
    return [f"status of 90 variants takes x{times:.2f} of one"] if times > 2 else []


def built(what: str, count: int, place: Path) -> Path:
    """A repository with that many, built, and seen to have nothing to do."""
    folder = place / f"{what}{count}"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "net.py").write_text(MODEL)
        (folder / ".gitignore").write_text("build\n*.html\ndone\n")
        write(folder, what, count)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
            who = ["-c", "user.name=n", "-c", "user.email=e", "-c", "commit.gpgsign=false"]
            subprocess.run(["git", *who, *command], cwd=folder, check=True)
        recipes = sorted(p.name for p in folder.glob("*.yaml"))
        for first in range(0, len(recipes), AT_ONCE):
            run(["build", "-q", *recipes[first : first + AT_ONCE]], folder)
        (folder / "done").touch()
    for _ in range(2):  # the second looks again at what was written at the end of the first
        answer = json.loads(run(["build", ".", "--format", "json"], folder))
    states = {a["status"] for r in answer["recipes"] for a in r["artifacts"]}
    if states != {"cached"}:
        raise SystemExit(f"{folder}: a second build is not all cached: {', '.join(sorted(states))}")
    return folder


def write(folder: Path, what: str, count: int, rtol: str = "1.0e-3") -> None:
    """Its recipes; a file that is as it should be is left alone."""
    variants, recipes = (count, 1) if what == "variants" else (1, count)
    static = ", ".join(f"{{batch: {n + 1}}}" for n in range(variants))
    for number in range(recipes):
        path = folder / f"r{number:04}.yaml"
        text = RECIPE.format(name=f"r{number:04}", rtol=rtol, static=static)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def command(arguments: Sequence[str]) -> list[str]:
    script = shutil.which("modelbuild", path=str(Path(sys.executable).parent))
    start = [script] if script else [sys.executable, "-m", "modelbuild"]
    return [*start, *(a.format(artifact="r0000.fp32.batch1.onnx") for a in arguments)]


def run(arguments: Sequence[str], folder: Path) -> str:
    done = subprocess.run(command(arguments), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(arguments[:4])}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
        )
    return done.stdout


def cost(arguments: Sequence[str], folder: Path, rounds: int) -> Cost:
    """The least of some runs, after one that warms up."""
    found = []
    for _ in range(rounds + 1):
        child = subprocess.Popen(
            command(arguments), cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(arguments)} in {folder}: exit code {child.returncode}")
        found.append(Cost(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024))
    return Cost(min(c.seconds for c in found[1:]), min(c.bytes for c in found[1:]))


if __name__ == "__main__":
    sys.exit(main())
