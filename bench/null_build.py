"""A build with nothing to do, as a multiple of ``python -c pass``.

    python bench/null_build.py [-n 20] [--limit 10] [--recipes FOLDER] [--built FOLDER]

Builds the recipes first, which takes minutes, into a temporary folder or into ``--built``, where
the next run finds everything fresh. A recipe that cannot be built here is named and left out. Then
``build resnet50.yaml``, ``build`` of all recipes, and bare Python run in turn. Exits with 1 if
resnet50's ratio is above ``--limit``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
MAIN = "resnet50.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-n", type=int, default=20, metavar="ROUNDS")
    parser.add_argument("--limit", type=float, default=10.0, help="the highest ratio that passes")
    parser.add_argument("--recipes", type=Path, default=ROOT / "configs", metavar="FOLDER")
    parser.add_argument("--built", type=Path, metavar="FOLDER", help="keep cache and artifacts there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return compare(options.recipes, options.built or Path(temporary), options.n, options.limit)


def compare(folder: Path, place: Path, rounds: int, limit: float) -> int:
    recipes = built(folder, place)
    every = [str(r) for r in recipes]
    one = [r for r in every if Path(r).name == MAIN] or every[:1]
    name = Path(one[0]).stem
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        name: build_command(one, place),
        f"all {len(every)} recipes": build_command(every, place),
    }
    seconds = in_turn(commands, rounds)
    bare = seconds["python -c pass"]
    for what, took in seconds.items():
        print(f"{what}: {1000 * took:.1f} ms, x{took / bare:.2f}")
    ratio = seconds[name] / bare
    print(f"{name} x{ratio:.2f} (limit x{limit:.2f})")
    return int(ratio > limit)


def built(folder: Path, place: Path) -> list[Path]:
    """Build every recipe of ``folder``; those that can be, checked to be fresh afterwards."""
    every = sorted(folder.glob("*.yaml"))
    first = answer(every, place)
    good = [Path(r["recipe"]) for r in first if r["status"] == "ok"]
    for path in every:
        if path not in good:
            print(f"left out: {path.name} cannot be built here")
    states = {a["status"] for r in answer(good, place) for a in r["artifacts"]}
    if not good or not states <= {"cached", "skipped"}:
        raise SystemExit(f"a second build is not all cached: {', '.join(sorted(states))}")
    return good


def answer(recipes: Sequence[Path], place: Path) -> list[Any]:
    argv = build_command([*map(str, recipes), "--keep-going", "--format", "json"], place)
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False)
    found = json.loads(done.stdout)["recipes"]
    assert isinstance(found, list)
    return found


def build_command(arguments: Sequence[str], place: Path) -> list[str]:
    """The command as users type it: the script that pip installed beside this Python."""
    script = shutil.which("modelbuild", path=str(Path(sys.executable).parent))
    command = [script] if script else [sys.executable, "-m", "modelbuild"]
    places = ["--cache-dir", str(place / "cache"), "--out", str(place / "out")]
    return [*command, "build", *arguments, *places]


def in_turn(commands: Mapping[str, Sequence[str]], rounds: int) -> dict[str, float]:
    """The median seconds of each command; all of them once per round."""
    took: dict[str, list[float]] = {what: [] for what in commands}
    for _ in range(rounds + 1):
        for what, argv in commands.items():
            start = time.perf_counter()
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            took[what].append(time.perf_counter() - start)
    return {what: statistics.median(times[1:]) for what, times in took.items()}  # the first warms up


if __name__ == "__main__":
    sys.exit(main())
