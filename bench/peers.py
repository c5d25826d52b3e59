"""The null build of other tools: make, ninja, doit and DVC on one graph of 100 recipes x 8 artifacts.

Each artifact depends on its recipe and on the model's source, and making one is a ``touch``: what is
measured is how long a tool takes to see that there is nothing to do. DVC writes its lock file anew
after every stage, so it gets a stage per recipe with 8 outputs, an eighth of the others' work.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

RECIPES = 100
ARTIFACTS = 8
SOURCE = "net.py"


@dataclass(frozen=True)
class Peer:
    name: str
    argv: Sequence[str]
    cwd: Path


def cases(place: Path, tools: Path) -> tuple[list[Peer], list[str]]:
    """Every tool that is here or can be installed, with all of its graph built; and why one is not."""
    found, left_out = [], []
    for name, (write, arguments) in _GRAPHS.items():
        program, why = _program(name, tools)
        if program is None:
            left_out.append(f"{name}: {why}")
            continue
        folder = place / name
        if not (folder / ".made").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _lay_out(folder)
            write(folder)
            if name == "dvc":
                _run([program, "init", "--no-scm", "-q"], folder)
                _run([program, "config", "core.analytics", "false"], folder)
        peer = Peer(name, [program, *arguments], folder)
        _run(peer.argv, folder)
        (folder / ".made").touch()
        found.append(peer)
    return found, left_out


def rebuilds_after_a_touch(peer: Peer) -> bool:
    """Whether an artifact is made again when the source has a new time and the old bytes."""
    made = peer.cwd / "out" / "r000.0"
    before = made.stat().st_mtime_ns
    (peer.cwd / SOURCE).touch()
    _run(peer.argv, peer.cwd)
    return made.stat().st_mtime_ns != before


def _program(name: str, tools: Path) -> tuple[str | None, str]:
    """A tool on the path, or installed by pip into ``tools``; else None, and why."""
    if name in ("make", "ninja"):
        return shutil.which(name), "not on the path"
    program = tools / "bin" / name
    if not program.exists():
        try:
            if not (tools / "bin" / "python").exists():
                _run([sys.executable, "-m", "venv", str(tools)], Path.cwd())
            _run([str(tools / "bin" / "python"), "-m", "pip", "install", "-q", name], Path.cwd())
        except subprocess.CalledProcessError as error:
            said = error.stderr.strip().splitlines() or ["no reason given"]
            return None, f"cannot be installed: {said[-1]}"
    return str(program), ""


def _run(argv: Sequence[str], cwd: Path) -> None:
    subprocess.run(argv, cwd=cwd, check=True, capture_output=True, text=True,
                   env={**os.environ, "DVC_NO_ANALYTICS": "1"})  # fmt: skip


def _lay_out(folder: Path) -> None:
    (folder / "out").mkdir(parents=True)
    (folder / SOURCE).write_text("class Net: ...\n")
    for recipe in _recipes():
        (folder / f"{recipe}.yaml").write_text(f"name: {recipe}\n")


def _recipes() -> list[str]:
    return [f"r{i:03}" for i in range(RECIPES)]


def _artifacts() -> list[tuple[str, str]]:
    """``(artifact, the recipe it depends on)``."""
    return [(f"out/{r}.{i}", f"{r}.yaml") for r in _recipes() for i in range(ARTIFACTS)]


def _make(folder: Path) -> None:
    rules = [f"{made}: {recipe} {SOURCE}\n\t@touch $@\n" for made, recipe in _artifacts()]
    every = " ".join(made for made, _ in _artifacts())
    (folder / "Makefile").write_text(f"all: {every}\n.PHONY: all\n" + "".join(rules))


def _ninja(folder: Path) -> None:
    rules = [f"build {made}: touch {recipe} {SOURCE}\n" for made, recipe in _artifacts()]
    (folder / "build.ninja").write_text("rule touch\n  command = touch $out\n" + "".join(rules))


def _doit(folder: Path) -> None:
    (folder / "dodo.py").write_text(
        f"def task_build():\n"
        f"    for made, recipe in {_artifacts()!r}:\n"
        f"        yield dict(name=made, file_dep=[recipe, {SOURCE!r}], targets=[made],\n"
        f"                   actions=['touch ' + made])\n"
    )


def _dvc(folder: Path) -> None:
    lines = ["stages:"]
    for recipe in _recipes():
        made = [m for m, r in _artifacts() if r == f"{recipe}.yaml"]
        outs = "".join(f"\n      - {m}: {{cache: false}}" for m in made)
        lines.append(f"  {recipe}:\n    cmd: touch {' '.join(made)}\n    deps: [{recipe}.yaml, {SOURCE}]\n"
                     f"    outs:{outs}")  # fmt: skip
    (folder / "dvc.yaml").write_text("\n".join(lines) + "\n")


_GRAPHS: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "make": (_make, ["-s"]),
    "ninja": (_ninja, ["--quiet"]),
    "doit": (_doit, ["-v", "0"]),
    "dvc": (_dvc, ["repro", "-q"]),
}
