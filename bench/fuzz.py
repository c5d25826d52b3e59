"""Mutated recipes through ``check``, ONNX files through ``inspect``: no traceback, none over 2 s or 1 GiB.

    python bench/fuzz.py [--recipes 30000] [--models 2000] [--seed 0] [--keep FOLDER]

A case is made from the seed and its number alone, so that a finding is made again by these two:
``--seed 0 --only recipe:1234``. The commands run as users run them, in processes that each look at some
hundred cases; a process that dies is a finding, and the next case goes on. Seconds are of the processor,
since a machine may have other work; bytes are the process's peak. Exits with 1 if there is a finding, and
keeps what made it in FOLDER.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS, BYTES = 2.0, 1 << 30
AT_ONCE = 250  # cases of a process
PATIENCE = 600  # seconds for a process, after which something in it hangs
COMMANDS = {"recipe": "check", "model": "inspect"}

WORDS = [
    "null", "~", "true", "yes", "-1", "0", "1e999", ".nan", ".inf", "9" * 30, "9" * 5000, "0x1F", "1_000",
    "''", '""', "[]", "{}", "[[", "{{", "- - -", "? ", ": ", "&a [*a]", "*a", "&a", "<<: *a",
    "!!python/object:os.system ''", "!!binary x", "|", ">", "|-\n  x", "#", "---", "...", "%YAML 1.1\n---",
    "\t", "\r", "\0", "\ufeff", "\u202e", "\x1b[2J", "\\x1b", '"\\u202e"', "\ud7ff", "\U0010ffff", "é",
    "../..", "/etc/passwd", "**/" * 50, "a" * 3000, "batch", "x: y", "import: os:system", "max: 2147483647",
    "{min: 1, opt: 1, max: 2147483648}", "static: [{batch: 1}]" * 3, "engines: [{precision: fp16}]",
    "name: ../x", "tolerance: {outputs: {x: {}}}", "precision: {fp32: , fp16: }",
]  # fmt: skip

# Lengths and numbers that a protobuf file does not hold, and stretches of nothing.
BYTES_OF_A_FILE = [b"\xff" * 5, b"\xff" * 9 + b"\x01", b"\x00" * 9, b"\x08\x96\x01", b"\x7f" * 60]

RECIPE = """\
name: net
model:
  import: net:Net
  kwargs: {width: 8, inner: {import: net:Inner, args: [1, two]}}
  weights: {file: w.pt, key: a.b, strip_prefix: module.}
  files: [vocab.txt, "data/*.bin"]
inputs:
  x: {shape: [batch, 3, height, width]}
  ids: {shape: [batch, tokens], dtype: int64, values: {low: 0, high: 100}}
outputs: [y, z]
dynamic_axes:
  batch: {min: 1, opt: 4, max: 8}
  height: {min: 32, opt: 64, max: 256}
  width: {min: 32, opt: 64, max: 256}
  tokens: {min: 1, opt: 16, max: 512}
opset: 18
precision:
  fp32: {tolerance: {rtol: 1.0e-3, atol: 1.0e-4}}
  fp16: {method: mixed, keep_io_types: true, node_block_list: [a, b], tolerance: {relative_l2: 1.0e-2}}
static: [{batch: 1}, {batch: 8, tokens: 128}]
engines:
  - {precision: fp16, variant: {batch: 1}, targets: [sm86, sm89], builder: {workspace: 4GiB}}
verify: {samples: 4, seed: 1, data: "samples/*.npz", function: "checks:close"}
"""


@dataclass(frozen=True)
class Case:
    """``kind`` and ``number`` with the seed make it again."""

    kind: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.kind}:{self.number}"


# ---- making ------------------------------------------------------------------------------------


def recipes() -> list[str]:
    """What is mutated: a recipe that has everything, and those of the repository."""
    found = [p.read_text() for p in sorted(ROOT.glob("configs/*.yaml")) if ".lock" not in p.name]
    return [RECIPE, *found]


def models() -> list[bytes]:
    """Small files with what an ONNX file can have: weights, bodies, functions, metadata, odd types."""
    import onnx
    from onnx import TensorProto, helper, parser

    found = [parser.parse_model(text).SerializeToString() for text in _TEXTS]
    model = onnx.load_from_string(found[0])
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4], bytes(16), raw=True)
    model.graph.initializer.append(weight)
    model.graph.initializer[-1].data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.data"), ("offset", "0"), ("length", "16")):
        model.graph.initializer[-1].external_data.add(key=key, value=value)
    model.metadata_props.add(key="a", value="b")
    return [*found, model.SerializeToString()]


_TEXTS = [
    """<ir_version: 8, opset_import: ["" : 18]>
    agraph (float[N, 4] x) => (float[N, 4] y) <float[4] b = {1, 2, 3, 4}> {
        a = Add(x, b)  c = Cast<to = 10>(a)  d = Relu(c)  y = Cast<to = 1>(d) }""",
    """<ir_version: 8, opset_import: ["" : 18]>
    agraph (bool c, float[4] x) => (float[4] y) {
        y = If (c) <then_branch = t () => (float[4] p) { p = Relu(x) },
                    else_branch = e () => (float[4] q) { q = Neg(x) }> }""",
    """<ir_version: 8, opset_import: ["" : 18, "own" : 1]>
    agraph (float[N] x) => (float[N] y) { y = own.twice(x) }
    <opset_import: ["" : 18], domain: "own"> twice (x) => (y) { y = Add(x, x) }""",
]


def mutated(source: bytes, rng: random.Random, words: Sequence[bytes]) -> bytes:
    """Some of: a byte changed, a stretch cut out, doubled, moved or put in from the words."""
    data = bytearray(source)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 2, 8, 40, 400)))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end] * rng.choice((1, 2, 50))
            case 4:
                part = data[at:end]
                del data[at:end]
                to = rng.randrange(len(data) + 1)
                data[to:to] = part
            case 5:
                del data[at:]
            case _:
                data[at : end if rng.random() < 0.5 else at] = rng.choice(words)
    return bytes(data)


def _relined(text: str, rng: random.Random) -> str:
    """Lines in another order, indented otherwise, or with another's value."""
    lines = text.splitlines(keepends=True)
    for _ in range(rng.choice((1, 2, 4))):
        i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
        match rng.randrange(4):
            case 0:
                lines[i], lines[j] = lines[j], lines[i]
            case 1:
                lines[i] = " " * rng.randrange(6) + lines[i].lstrip(" ")
            case 2:
                lines.insert(i, lines[j])
            case _:
                key, colon, _ = lines[i].partition(":")
                lines[i] = f"{key}{colon} {rng.choice(WORDS)}\n"
    return "".join(lines)


def made(case: Case, seed: int, sources: Sequence[bytes]) -> bytes:
    rng = random.Random(f"{seed} {case.name}")
    source = rng.choice(sources)
    if case.kind == "model":
        return mutated(source, rng, BYTES_OF_A_FILE)
    if rng.random() < 0.5:
        source = _relined(source.decode(), rng).encode("utf-8", "surrogatepass")
        if rng.random() < 0.5:
            return source
    return mutated(source, rng, [w.encode("utf-8", "surrogatepass") for w in WORDS])


# ---- looking -----------------------------------------------------------------------------------


def look(kind: str, first: int, count: int, seed: int, folder: Path) -> None:
    """In a process of its own: a line of JSON before and after each case."""
    from modelbuild.cli import main as cli

    os.environ["GITHUB_ACTIONS"] = ""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sources = models() if kind == "model" else [r.encode() for r in recipes()]
    path = folder / ("case.onnx" if kind == "model" else "case.yaml")
    for number in range(first, first + count):
        path.write_bytes(made(Case(kind, number), seed, sources))
        _line({"begins": number})
        said = io.StringIO()
        before = time.process_time()
        wrong, code = None, -1
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                code = cli.main([COMMANDS[kind], str(path)])
            wrong = None if code in (0, 2) else f"exit code {code}"
        except SystemExit:
            wrong = "SystemExit"
        except BaseException as error:
            wrong = f"{type(error).__name__} came out"
        spent = time.process_time() - before
        peak = _peak()
        if "Traceback" in said.getvalue():
            wrong = f"a traceback: {said.getvalue().strip().splitlines()[-2][:300]}"
        elif spent > SECONDS and number > first:  # the first imports the libraries
            wrong = f"{spent:.1f} s"
        elif peak > BYTES:
            wrong = f"{peak / 2**20:.0f} MiB"
        _line({"ended": number, "seconds": spent, "peak": peak, "wrong": wrong, "right": code == 0})


def _line(row: object) -> None:
    os.write(1, json.dumps(row).encode() + b"\n")


@dataclass
class Tally:
    cases: int = 0
    right: int = 0  # whole recipes, and files that can be told of, in spite of it
    seconds: float = 0.0
    slowest: float = 0.0
    peak: int = 0


def _peak() -> int:
    """Resident memory at its highest, in bytes. ``ru_maxrss`` would begin with that of who started this."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def run(kind: str, first: int, count: int, seed: int, keep: Path, tally: Tally) -> list[str]:
    """Look at these cases; the findings, a sentence each."""
    found: list[str] = []
    number, end = first, first + count
    while number < end:
        some = min(AT_ONCE, end - number)
        with tempfile.TemporaryDirectory() as folder:
            argv = [sys.executable, __file__, "--look", kind, str(number), str(some), "--seed", str(seed)]
            argv += ["--folder", folder]
            done = subprocess.run(argv, capture_output=True, timeout=PATIENCE, cwd=ROOT, check=False)
            rows = [json.loads(line) for line in done.stdout.splitlines()]
            for row in rows:
                if "ended" in row:
                    tally.cases += 1
                    tally.right += row["right"]
                    tally.seconds += row["seconds"]
                    tally.slowest = max(tally.slowest, row["seconds"] if row["ended"] > number else 0)
                    tally.peak = max(tally.peak, row["peak"])
                    if row["wrong"]:
                        found.append(_kept(Case(kind, row["ended"]), row["wrong"], seed, keep))
            if not rows:
                raise SystemExit(f"nothing was looked at: {done.stderr.decode()[-2000:]}")
            if done.returncode:
                number = rows[-1].get("begins", number)
                said = f"the process ended with {done.returncode}"
                found.append(_kept(Case(kind, number), said, seed, keep))
                number += 1
            else:
                number += some
    return found


def _kept(case: Case, wrong: str, seed: int, keep: Path) -> str:
    sources = models() if case.kind == "model" else [r.encode() for r in recipes()]
    keep.mkdir(parents=True, exist_ok=True)
    path = keep / f"{case.kind}-{seed}-{case.number}.{'onnx' if case.kind == 'model' else 'yaml'}"
    path.write_bytes(made(case, seed, sources))
    return f"--seed {seed} --only {case.name}: {wrong} ({path})"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--recipes", type=int, default=30_000)
    parser.add_argument("--models", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, metavar="NUMBER", help="begin there")
    parser.add_argument("--only", metavar="KIND:NUMBER", help="one case again")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "modelbuild-fuzz")
    parser.add_argument("--look", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        kind, first, count = options.look
        look(kind, int(first), int(count), options.seed, options.folder)
        return 0
    todo = [("recipe", options.first, options.recipes), ("model", options.first, options.models)]
    if options.only:
        kind, _, number = options.only.partition(":")
        todo = [(kind, int(number), 1)]
    wrong = 0
    for kind, first, count in todo:
        tally = Tally()
        found = run(kind, first, count, options.seed, options.keep, tally)
        print(
            f"{COMMANDS[kind]}: {tally.cases} cases, {tally.right} still right, {tally.seconds:.0f} s, "
            f"the slowest {tally.slowest:.2f} s, at most {tally.peak / 2**20:.0f} MiB; {len(found)} findings"
        )
        for line in found:
            print(f"  {line}")
        wrong += len(found)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
