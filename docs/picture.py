"""Writes docs/build.svg: what a terminal shows of the tutorial's model, built, built again and edited.

    python docs/picture.py

The commands run on a pseudo-terminal of 100 columns; rich draws what they wrote there.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
PLACE = ROOT / "docs/build.svg"
COLUMNS = 100
COMMANDS = (
    "modelbuild build net.yaml",
    "modelbuild build net.yaml",
    "sed -i s/1e-6/1e-5/ net.py; modelbuild why net.fp16.onnx net.yaml",
)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, text in _files().items():
            (folder / file).write_text(text)
        shown = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
        for command in COMMANDS:
            shown.print(Text.assemble(("$ ", "green"), (command, "bold")))
            shown.print(Text.from_ansi(_terminal(command, folder)), soft_wrap=True)
            shown.print()
    svg = shown.export_svg(title="modelbuild", theme=MONOKAI, unique_id="modelbuild")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # a picture asks no network
    PLACE.write_text("\n".join(line.rstrip() for line in svg.splitlines()) + "\n")
    print(f"wrote {PLACE.relative_to(ROOT)}")


def _files() -> dict[str, str]:
    """The tutorial's model and recipe."""
    page = (ROOT / "docs/tutorial.md").read_text()
    return dict(re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)```", page, re.DOTALL))


def _terminal(command: str, folder: Path) -> str:
    """What the command's answer writes on a terminal; its progress, which moves, is left out."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (50, COLUMNS))
    environ = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")} | {
        "TERM": "xterm-256color",
        "MODELBUILD_CACHE_DIR": str(folder / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    with subprocess.Popen(
        ["bash", "-c", command], cwd=folder, env=environ, stdout=theirs, stderr=subprocess.DEVNULL
    ):
        os.close(theirs)
        written = b""
        while True:
            try:
                more = os.read(ours, 1 << 16)
            except OSError:  # the terminal is closed
                break
            if not more:
                break
            written += more
    os.close(ours)
    return written.decode().replace("\r\n", "\n").rstrip("\n")


if __name__ == "__main__":
    main()
