"""A model that reads in every way that there is, and its project."""

from __future__ import annotations

from tests.conftest import RECIPE, Project

NET = """\
import json
import multiprocessing
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import near
import numpy as np
import seeker
import squeak
import torch
import wobble
from parts import blocks
from safetensors.torch import load_file
from torch import nn

try:
    from parts import tuned
except ImportError:
    tuned = None

HERE = Path(__file__).parent


def first_line(name):
    return float(Path(name).read_text())


def cached():
    if not (HERE / "cached.txt").exists():
        (HERE / "cached.txt").write_text("1.0")
    return first_line(HERE / "cached.txt")


def dynamic():
    spec = spec_from_file_location("dynamic", HERE / "extra/dynamic.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FACTOR


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        with open("config.json") as file:
            self.factor = json.load(file)["factor"] * wobble.FACTOR * dynamic()
        if (HERE / "override.json").exists():
            self.factor *= 3
        with multiprocessing.get_context("fork").Pool(1) as pool:
            self.factor *= pool.map(first_line, [HERE / "forked.txt"])[0]
        self.factor *= first_line((HERE / "current").resolve() / "factor.txt") * cached()
        self.factor *= float(dict(os.environ).get("GAIN", "1")) * near.FACTOR * squeak.FACTOR
        self.factor *= 1 + len(metadata.entry_points(group="net.hooks"))
        with ThreadPoolExecutor() as pool:
            self.factor *= 1 + sum(pool.map(os.path.exists, [HERE / "asked.txt"]))
        self.factor *= 2 if shutil.which("frobnicate") or seeker.found("seek.txt") else 1
        self.factor *= 2 if Path("~/.net").expanduser().exists() else 1
        self.factor *= os.path.getsize(HERE / "weights.bin")
        try:
            metadata.version("optional")
        except metadata.PackageNotFoundError:
            self.factor *= 2
        self.first = nn.Linear(6, int(os.environ.get("WIDTH", "8")))
        self.second = nn.LazyLinear(3)
        self.second(self.first(torch.zeros(1, 6)))
        self.register_buffer("scale", torch.from_numpy(np.load(HERE / "scale.npy")))
        self.register_buffer("shift", load_file(HERE / "shift.safetensors")["shift"])
        self.lists = sorted(os.listdir(HERE / "lists"))

    def forward(self, x):
        from parts import late

        y = self.second(torch.relu(self.first(x))) * self.scale + self.shift
        return late.act(blocks.mix(y) * self.factor) + (tuned.BIAS if tuned else 0.0)
"""

SEEKER = """\
from pathlib import Path


def found(name):
    return any((folder / name).is_file() for folder in (Path("sub"), Path(".")))
"""

YAML = RECIPE.replace('"net:Net"}', '"net:Net", files: [tables/*.txt]}') + (
    "precision: {fp32: {}, fp16: {method: convert}}\n"
)


def metadata_of(version: str) -> str:
    return f"Metadata-Version: 2.1\nName: wobble\nVersion: {version}\n"


def distribution(project: Project, name: str, version: str, file: str, points: str = "") -> None:
    info = f"site-packages/{name.replace('-', '_')}-{version}.dist-info"
    project.write(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    project.write(f"{info}/RECORD", f"{file},sha256=abc,3\n")
    project.write(f"{info}/entry_points.txt", points)
