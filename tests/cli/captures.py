"""What terminals of three widths show, for the documents: real commands on real models.

``python -m tests.cli.captures`` writes ``docs/captures/`` anew.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs/captures"
WIDTHS = (60, 80, 120)
_LINES = 24
_AS = "/home/ann/models"  # as long as what it stands for

NET = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.hidden = nn.Linear(8, width)
        self.scores = nn.Linear(width, 4)

    def forward(self, x):
        return self.scores(torch.tanh(self.hidden(x)))
"""
RECIPE = """\
model: {{import: net:Net, kwargs: {{width: {width}}}}}
inputs: {{features: {{shape: [batch, 8]}}}}
outputs: [scores]
dynamic_axes: {{batch: {{min: 1, opt: 4, max: 16}}}}
"""
SIX = ("classifier", "detector", "encoder", "ranker", "segmenter", "tagger")
HALF = "precision: {fp32: , fp16: }\nstatic: [{batch: 1}]\n"
STRICT = "precision: {fp32: , fp16: {method: convert, tolerance: {relative_l2: 1.0e-6}}}\n"


def taken() -> dict[str, str]:
    """Each capture by its file's name: what the screen and what scrolled off it hold at the end."""
    found = {}
    with _project() as shop:
        for width in WIDTHS:
            shutil.rmtree(shop / "cache", ignore_errors=True)
            shutil.rmtree(shop / "build", ignore_errors=True)
            found[f"build-{width}.txt"] = _shown(shop, width, "build", "net.yaml")
        for width in WIDTHS:
            found[f"failure-{width}.txt"] = _shown(shop, width, "build", "strict.yaml")
        _shown(shop, 80, "build", "configs")
        for width in WIDTHS:
            found[f"nothing-to-do-{width}.txt"] = _shown(shop, width, "build", "configs")
    return found


def masked(capture: str) -> str:
    """What has to stay: all but numbers, which are another machine's, and the room that they take."""
    words = re.sub(r"(?<![\w.])x?\d[\d.,]*(?:e[-+]?\d+)?", "#", capture)
    whole = re.sub("(?:scores|…): ", "scores: ", words)  # elided where the numbers are long
    return " ".join(re.sub(r"─+", "─", whole).split())


@contextmanager
def _project() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="tmp-ab") as name:
        shop = Path(name) / "shop"
        (shop / "configs").mkdir(parents=True)
        (shop / "pyproject.toml").touch()
        (shop / "net.py").write_text(NET)
        (shop / "net.yaml").write_text(RECIPE.format(width=16) + HALF)
        (shop / "strict.yaml").write_text(RECIPE.format(width=16) + STRICT)
        for number, recipe in enumerate(SIX):
            (shop / f"configs/{recipe}.yaml").write_text(RECIPE.format(width=8 + number))
        yield shop


def _shown(shop: Path, width: int, *arguments: str) -> str:
    """A command, and what a terminal of this width shows of it at its end."""
    raw = _on_a_terminal(shop, width, [sys.executable, "-m", "modelbuild", *arguments, "-j", "1"])
    text = f"$ modelbuild {' '.join(arguments)}\n" + _screen(raw)
    return re.sub(r"shop-[0-9a-f]{8}", "shop-1f2e3d4c", text.replace(str(shop.parent), _AS))


def _on_a_terminal(shop: Path, width: int, command: list[str]) -> str:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", _LINES, width, 0, 0))
    ours = ("COLUMNS", "LINES", "NO_COLOR", "GITHUB_ACTIONS")
    kept = {k: v for k, v in os.environ.items() if k not in ours and not k.startswith("MODELBUILD")}
    root = str(Path(__file__).parents[2])
    environment = {**kept, "TERM": "xterm", "MODELBUILD_CACHE_DIR": str(shop / "cache"), "PYTHONPATH": root}
    process = subprocess.Popen(
        command, cwd=shop, env=environment, stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    parts = []
    try:
        while part := os.read(leader, 1 << 16):
            parts.append(part)
    except OSError:  # the last writer is gone
        pass
    os.close(leader)
    process.wait(timeout=60)
    return b"".join(parts).decode()


def _screen(raw: str) -> str:
    """The text that is left once a terminal has obeyed: colours are gone, and so is what was drawn over."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", raw):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif not part.startswith("\x1b["):
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + len(part) :]
            column += len(part)
        elif part[-1] == "A":
            row = max(0, row - int(part[2:-1] or 1))
        elif part == "\x1b[2K":
            lines[row] = ""
        elif part[-1] not in "mhl":
            raise ValueError(f"a terminal was told {part!r}, which no capture knows")
    return "\n".join(line.rstrip() for line in lines).rstrip() + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in taken().items():
        (FOLDER / name).write_text(text)


if __name__ == "__main__":
    main()
