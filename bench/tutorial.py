"""docs/tutorial.md, followed to the letter by a program, in an environment that has only what pip installs.

    python bench/tutorial.py                              as pip finds everything
    python bench/tutorial.py --torch torch==2.13.0        that torch first, as for a CPU build of it
    python bench/tutorial.py --wheels FOLDER --no-index   from wheels that lie there

The wheel is built from this checkout, a fresh virtual environment takes it with the extras that the page
names, and each block is saved or run in its order, in an empty folder with an empty cache. What the
page says that is printed has to be printed, numbers apart. Prints seconds, of each block too.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.docs.pages import Block, blocks, unprinted  # noqa: E402  # how blocks are marked is told there

PAGE = ROOT / "docs/tutorial.md"
EXTRAS = "cpu,rtx"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--torch", metavar="SPEC", help="install this first")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="look for wheels there, too")
    parser.add_argument("--no-index", action="store_true", help="and nowhere else")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tutorial-") as name:
        folder = Path(name)
        installed = time.monotonic()
        python = _installed(folder, asked)
        followed = time.monotonic()
        failed = _followed(folder, python)
        ended = time.monotonic()
    print(f"\ninstalled in {followed - installed:.0f} s, followed in {ended - followed:.0f} s: ", end="")
    print("something is not as the page says" if failed else "all is as the page says")
    return int(failed)


def _installed(folder: Path, asked: argparse.Namespace) -> Path:
    """The Python of a new environment with the wheel of this checkout."""
    where = [f"--find-links={asked.wheels}"] if asked.wheels else []
    where += ["--no-index"] if asked.no_index else []
    _called([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", *where, "-w", str(folder), str(ROOT)])
    (wheel,) = folder.glob("modelbuild-*.whl")
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv/bin/python"
    pip = [str(python), "-m", "pip", "install", "-q", *where]
    if asked.torch:
        _called([*pip, asked.torch])
    _called([*pip, f"{wheel}[{EXTRAS}]"])
    return python


def _called(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _followed(folder: Path, python: Path) -> bool:
    """Whether a block of the page did not do what it says."""
    project = folder / "project"
    project.mkdir()
    mine = {
        k: v for k, v in os.environ.items() if not k.startswith(("MODELBUILD", "PYTHON", "GIT_", "GITHUB"))
    }
    environ = {
        **mine, "PATH": f"{python.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder / "home"),
        "XDG_CACHE_HOME": str(folder / "cache"), "COLUMNS": "1000",
    }  # fmt: skip
    printed, failed = "", False
    for block in blocks(PAGE):
        if "not run" in block.rules:
            continue
        if "prints" in block.rules:
            wrong = [f"not printed: {line}" for line in unprinted(block, printed)]
        elif "file" in block.rules:
            (project / block.rules["file"]).write_text(block.text)
            continue
        else:
            printed, wrong = _run(block, project, environ)
        for line in wrong:
            print(f"{block.name}: {line}")
        failed |= bool(wrong)
    return failed


def _run(block: Block, project: Path, environ: dict[str, str]) -> tuple[str, list[str]]:
    """What a block printed, and what is wrong with how it ended."""
    command = ["python", "-c", block.text] if block.language == "python" else ["bash", "-euc", block.text]
    started = time.monotonic()
    done = subprocess.run(command, cwd=project, env=environ, capture_output=True, text=True, check=False)
    first = block.text.strip().splitlines()[0]
    print(f"{time.monotonic() - started:6.1f} s  {first}")
    printed = done.stdout + done.stderr
    wanted = int(block.rules.get("exit", "0"))
    if done.returncode == wanted:
        return printed, []
    return printed, [f"exit code {done.returncode}, not {wanted}:\n{printed}"]


if __name__ == "__main__":
    sys.exit(main())
