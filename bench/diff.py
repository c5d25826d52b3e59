"""``modelbuild diff`` on a repository of 1000 recipes, beside ``git diff`` of the same revisions.

    python bench/diff.py [-n 10]

Makes the repository in a temporary folder: each recipe has a lock file beside it, and each ten of them
share a model's source. The last commit changes 10 recipes: an axis, a tolerance, the opset, a precision.
The commands run in turn, and medians are compared. Exits with 1 if the comparison of the 10 takes
longer than 1 s. Beside it, without a limit: one source file that 10 recipes depend on, and the defaults
of all 1000 in the project file.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modelbuild.lockfile import Lock, Onnx, Worst
from modelbuild.lockfile.writing import render

RECIPES, CHANGED = 1000, 10
LIMIT = 1.0  # seconds

MODEL = """\
from torch import nn


class Net(nn.Linear):
    def __init__(self, width):
        super().__init__(6, width)
"""
RECIPE = """\
# One of many.
name: {name}
model: {{import: "net:Net", kwargs: {{width: 8}}}}
inputs:
  input: {{shape: [batch, 6]}}
outputs: [output]
dynamic_axes:
  batch: {{min: 1, opt: 4, max: 8}}
opset: 18
precision:
  fp32: {{tolerance: {{rtol: 1e-3, atol: 1e-4}}}}
  fp16: {{tolerance: {{relative_l2: 0.01}}}}
static: [{{batch: 1}}, {{batch: 4}}]
engines: [{{precision: fp16}}]
verify: {{samples: 4}}
"""
EDITS = (
    ("max: 8", "max: 16"),
    ("relative_l2: 0.01", "relative_l2: 0.02"),
    ("opset: 18", "opset: 20"),
    ("  fp16: {tolerance: {relative_l2: 0.01}}\n", "  fp16:\n  bf16:\n"),
    ("samples: 4", "samples: 2"),
)


@dataclass(frozen=True)
class Case:
    """A command; ``recipes`` are those that it must find changed, None: it is not ours."""

    name: str
    argv: Sequence[str]
    recipes: int | None = None
    limit: float | None = None


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=10, metavar="ROUNDS")
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # modules are compiled once
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        repository(folder)
        cases = commands()
        for case in cases:
            check(case, folder)
        seconds = in_turn(cases, folder, options.n)
    return report(cases, seconds)


def repository(folder: Path) -> None:
    """Four commits: the recipes, a change of 10, of a source file, and of the project file."""
    git(folder, "init", "-q", "-b", "main")
    text = {}
    for i in range(RECIPES):
        place = folder / f"models/group{i // CHANGED:03}"
        place.mkdir(parents=True, exist_ok=True)
        name = f"r{i:04}"
        text[place / f"{name}.yaml"] = RECIPE.format(name=name)
        (place / f"{name}.lock.yaml").write_text(render(lock(name)))
        (place / "net.py").write_text(MODEL)
    for path, recipe in text.items():
        path.write_text(recipe)
    commit(folder, "recipes")
    for i, path in enumerate(sorted(text)[:: RECIPES // CHANGED]):
        old, new = EDITS[i % len(EDITS)]
        path.write_text(text[path].replace(old, new))
    commit(folder, "changed")
    (folder / "models/group000/net.py").write_text(MODEL.replace("6, width", "6, 2 * width"))
    commit(folder, "source")
    (folder / "pyproject.toml").write_text("[tool.modelbuild.tolerance]\nbf16 = {relative_l2 = 0.1}\n")
    commit(folder, "defaults")


def lock(name: str) -> Lock:
    row = Onnx("sha256:" + "0" * 64, 100_000, 18, {"float32": 40, "other": 10}, "rtol 0.001",
               Worst("output", 1e-7, 1e-6, 800.0))  # fmt: skip
    onnx = {f"{name}.{p}{s}.onnx": row for p in ("fp32", "fp16") for s in ("", ".batch1", ".batch4")}
    toolchain = {"torch": "2.9.0", "onnx": "1.20.0", "onnxruntime": "1.23.0"}
    files = {"net.py": "outline:" + "1" * 64}
    return Lock(name, onnx, {f"{name}.fp16.tensorrt-rtx.engine": None}, toolchain, {}, files, "sha256:2")


def commands() -> list[Case]:
    ours = shutil.which("modelbuild", path=str(Path(sys.executable).parent)) or "modelbuild"
    return [
        Case("git diff, 10 of 1000 recipes", ["git", "--no-pager", "diff", "HEAD~3", "HEAD~2"]),
        Case("git diff, to the working tree", ["git", "--no-pager", "diff", "HEAD~3"]),
        Case("python -c pass", [sys.executable, "-c", "pass"]),
        Case("modelbuild diff, 10 of 1000", [ours, "diff", "HEAD~3", "HEAD~2"], CHANGED, LIMIT),
        Case("the same as markdown", [ours, "diff", "HEAD~3", "HEAD~2", "--format", "markdown"], None, LIMIT),
        Case("a source file of 10", [ours, "diff", "HEAD~2", "HEAD~1"], CHANGED),
        Case("nothing, to the working tree", [ours, "diff", "HEAD"], 0, LIMIT),
        Case("the defaults of 1000, 2 changed", [ours, "diff", "HEAD~1", "HEAD"], 2),
    ]


def check(case: Case, folder: Path) -> None:
    """See that a command of ours finds what was changed."""
    if case.recipes is None:
        return
    said = subprocess.run([*case.argv, "--format", "json"], cwd=folder, capture_output=True, check=True)
    found = len(json.loads(said.stdout)["recipes"])
    if found != case.recipes:
        raise SystemExit(f"{case.name}: {found} recipes, and not {case.recipes}")


def in_turn(cases: Sequence[Case], folder: Path, rounds: int) -> dict[str, float]:
    """The median seconds of each command; all of them once per round, the first to warm up."""
    took: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(rounds + 1):
        for case in cases:
            start = time.perf_counter()
            subprocess.run(case.argv, cwd=folder, check=True, capture_output=True)
            took[case.name].append(time.perf_counter() - start)
    return {name: statistics.median(times[1:]) for name, times in took.items()}


def report(cases: Sequence[Case], seconds: dict[str, float]) -> int:
    """Print the table; 1 if a limit is passed."""
    git_takes = seconds[cases[0].name]
    failed = 0
    for case in cases:
        took = seconds[case.name]
        words = f"{case.name:32} {1000 * took:8.1f} ms  x{took / git_takes:.1f} of git diff"
        if case.limit is not None:
            words += f" (limit {case.limit:.0f} s)"
            failed |= took > case.limit
        print(words)
    return int(failed)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-qm", message)


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


if __name__ == "__main__":
    sys.exit(main())
