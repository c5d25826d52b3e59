"""Change one thing and build again: as a share of a cold build, and of running a script by hand again.

    python bench/one_change.py [-n 3] [--only small|resnet50]

Two projects, each built cold first: 20 recipes of one small model with 10 artifacts each, of which one is
changed, and the ResNet-50 of ``cold_build.py`` with the script ``by_hand.py`` that does the same work. The
script has one answer to every change, which is to run again. The model's class is in a file of the project,
so that it can be edited. A comment in it has to export again, so its build stands beside a script that does
nothing but that. Printed are medians; exits with 1 if a share is above its limit.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from cold_build import BY_HAND, MODELS, WORK
from null_build import MODEL, RECIPE

# The highest share of a cold build that passes.
LIMITS = {"a tolerance": 0.03, "an fp16 knob": 0.09}
ALONE = "the export alone"
COMMENT = "a comment in the model"
# The export and nothing else, as a script of two lines has it.
EXPORT = """\
import torch
from {module} import {name} as make

model = make().eval()
example = torch.randn({shape})
torch.onnx.export(
    model, (example,), {target!r}, dynamo=True, optimize=False, verbose=False,
    dynamic_shapes=({{0: "batch"}},),
)
"""

RESNET = """\
from transformers import ResNetConfig, ResNetForImageClassification


def make():
    model = ResNetForImageClassification(ResNetConfig())
    return model
"""
# (file, text before, text after: {i} is the round)
Edit = tuple[str, str, str]
SMALL_EDITS: dict[str, Edit] = {
    "nothing": ("a.yaml", "", ""),
    "a tolerance": ("a.yaml", "fp32: {}", "fp32: {{tolerance: {{rtol: 1.{i}5e-3, atol: 1.0e-4}}}}"),
    "an fp16 knob": ("a.yaml", "fp16: {}", "fp16: {{max_finite_val: 6000{i}}}"),
    "a comment in the model": ("net.py", "class Net", "# {i}\nclass Net"),
    "the model's weights": (
        "net.py", "        super()",
        "        import torch\n\n        torch.manual_seed(1{i})\n        super()",
    ),
}  # fmt: skip
RESNET_EDITS: dict[str, Edit] = {
    "nothing": ("resnet50.yaml", "", ""),
    "a tolerance": ("resnet50.yaml", "1.0e-4", "1.{i}5e-4"),
    "an fp16 knob": ("resnet50.yaml", "method: convert", "method: convert, max_finite_val: 6000{i}"),
    "a comment in the model": ("net.py", "    return", "    # {i}\n    return"),
    "the model's weights": (
        "net.py",
        "    return",
        "    model.classifier[1].bias.data += 0.{i}1\n    return",
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--only", choices=("small", "resnet50"))
    options = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    failed = False
    for name, measure in (("small", small), ("resnet50", resnet50)):
        if options.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                failed |= measure(Path(folder), options.n)
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return int(failed)


def small(folder: Path, rounds: int) -> bool:
    """20 recipes that share a model; the model's edits concern the first alone, which has its own."""
    (folder / "shared.py").write_text(MODEL)
    (folder / "net.py").write_text(MODEL)
    for i in range(19):
        (folder / f"r{i:02}.yaml").write_text(RECIPE.replace("net:Net", "shared:Net"))
    (folder / "a.yaml").write_text(RECIPE)
    cold = build(folder)
    export = EXPORT.format(module="net", name="Net", shape="4, 6", target="alone.onnx")
    print(f"20 recipes x 10, cold: {cold:.1f} s")
    return told(measured(folder, SMALL_EDITS, rounds, export), cold)


def resnet50(folder: Path, rounds: int) -> bool:
    (folder / "net.py").write_text(RESNET)
    start = MODELS["resnet50"].index("inputs:")
    (folder / "resnet50.yaml").write_text('model: {import: "net:make"}\n' + MODELS["resnet50"][start:] + WORK)
    cold = build(folder)
    by_hand = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as out:
            by_hand.append(timed([sys.executable, str(BY_HAND), "resnet50", out], folder))
    script = statistics.median(by_hand)
    print(f"ResNet-50, cold: {cold:.1f} s; by hand: {script:.1f} s")
    export = EXPORT.format(module="net", name="make", shape="4, 3, 224, 224", target="alone.onnx")
    return told(measured(folder, RESNET_EDITS, rounds, export), cold, script)


def told(took: Mapping[str, float], cold: float, script: float | None = None) -> bool:
    """Print the table; whether a limit is passed."""
    failed = False
    for what, seconds in took.items():
        words = f"  {what:24} {seconds:7.2f} s  {100 * seconds / cold:6.1f} % of cold"
        if script is not None:
            words += f"  {100 * seconds / script:6.1f} % of by hand"
        if (limit := LIMITS.get(what)) is not None:
            words += f" (limit {100 * limit:.0f} %)"
            failed |= seconds > limit * cold
        if what == COMMENT:
            words += f"  x{seconds / took[ALONE]:.2f} of the export alone"
        print(words)
    return failed


def measured(folder: Path, edits: Mapping[str, Edit], rounds: int, export: str) -> dict[str, float]:
    """Median seconds of the build after each edit. Every round makes a new one, and takes it back."""
    took: dict[str, list[float]] = {what: [] for what in (*edits, ALONE)}
    for i in range(rounds):
        took[ALONE].append(timed([sys.executable, "-c", export], folder))
        for what, (name, before, after) in edits.items():
            path = folder / name
            text = path.read_text()
            if before:
                edited = text.replace(before, after.format(i=i), 1)
                if edited == text:
                    raise SystemExit(f"{what}: `{before}` is not in {name}")
                path.write_text(edited)
            took[what].append(build(folder))
            if before:
                path.write_text(text)
                build(folder)
            build(folder)
    return {what: statistics.median(times) for what, times in took.items()}


def build(folder: Path) -> float:
    script = shutil.which("modelbuild", path=str(Path(sys.executable).parent))
    start = [script] if script else [sys.executable, "-m", "modelbuild"]
    return timed([*start, "build", ".", "--cache-dir", "cache"], folder)


def timed(argv: Sequence[str], cwd: Path) -> float:
    start = time.perf_counter()
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(argv[:3])}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
