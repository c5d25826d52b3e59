"""Two clones of one commit, in different folders and of different users, have the same keys."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.errors import ModelbuildError
from modelbuild.base.keys import digest
from modelbuild.building import request as requests
from modelbuild.building.request import Request
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Ended
from modelbuild.store import Entry, Store, Tree
from tests.conftest import Project

ROOT = Path(__file__).parents[2]
RECIPES = [
    path.relative_to(ROOT)
    for folder in ("configs", "examples", "examples/digits")
    for path in sorted((ROOT / folder).glob("*.yaml"))
    if not path.name.endswith(".lock.yaml")
]

NET = """\
import os
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

import tinypack
from blocks import head

HERE = Path(__file__).resolve().parent


class Net(nn.Module):
    def __init__(self, width=tinypack.WIDTH):
        super().__init__()
        sizes = (HERE / "tables" / "sizes.txt").read_text().split()
        names = sorted(os.listdir(HERE / "tables"))
        if (HERE / "override.txt").exists() or os.environ.get("NET_WIDTH"):
            width += 1
        assert version("tinypack") == "1.0" and names == ["sizes.txt"]
        self.first = nn.Linear(int(sizes[0]), width)
        self.second = head(width)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))
"""


BLOCKS = "from torch import nn\n\n\ndef head(width):\n    return nn.Linear(width, 3)\n"


def _user(patch: pytest.MonkeyPatch, name: str, home: Path) -> None:
    home.mkdir(parents=True)
    for variable in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        patch.setenv(variable, name)
    for variable in ("HOME", "XDG_CACHE_HOME", "TMPDIR", "VIRTUAL_ENV", "HF_HOME", "TORCH_HOME"):
        patch.setenv(variable, str(home))
    patch.setenv("PWD", str(home))
    assert getpass.getuser() == name


def _keys(recipes: list[str], cache: Path) -> dict[tuple[str, str], tuple[str, Mapping[str, Any]]]:
    """By recipe's name and action: where the ledger is asked, if what was made before it is the same, and the
    facts. Not of what has no files to work on yet, as weights that are trained first."""
    request = Request(recipes, cache_dir=cache)
    store = request.store()
    judge, found = Judge(store, Store(cache).folder), {}
    for run in requests.runs(request, requests.read(request), store):
        for action in run.plan.actions:
            made = Tree(digest(action.id), {})
            run.ended[action.id] = Ended("built", Entry(digest(action.id), made, {"step": ""}))
        for action in run.plan.actions:
            try:
                known = judge.known(run, action)
            except ModelbuildError:
                continue
            found[run.name, action.id] = digest(known), known
    store.close()
    return found


def test_every_action_of_every_recipe_here_has_one_key_in_two_clones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for clone, start in (("one", "."), ("deeper/down/another one", "examples")):
        folder = tmp_path / clone
        for part in ("configs", "examples"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "build"))
        with monkeypatch.context() as patch:
            _user(patch, f"user of {folder.name}", tmp_path / "homes" / folder.name)
            patch.chdir(folder / start)
            found.append(
                _keys([str(folder / path) for path in RECIPES], tmp_path / f"cache of {folder.name}")
            )
    assert len(found[0]) > 5 * len(RECIPES)
    for action in found[0]:
        assert found[0][action] == found[1][action], action
    assert found[0].keys() == found[1].keys()
    for _, facts in found[0].values():
        assert str(tmp_path) not in str(facts)
        assert sys.prefix not in str(facts)


@dataclass
class Clone(Project):
    """A project whose command runs in a virtual environment of its own."""

    python: str = ""

    def command(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "modelbuild", *arguments]


def _clone(folder: Path, environment: Path, home: Path) -> Clone:
    """A clone with NET, and an environment: the packages here, and one that is installed there alone."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    packages = next((environment / "lib").glob("python*")) / "site-packages"
    (packages / "here.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    (packages / "tinypack.py").write_text("WIDTH = 8\n")
    about = packages / "tinypack-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: tinypack\nVersion: 1.0\n")
    (about / "RECORD").write_text("tinypack.py,,\ntinypack-1.0.dist-info/METADATA,,\n")
    home.mkdir(parents=True)
    own = {"HOME": str(home), "USER": home.name, "VIRTUAL_ENV": str(environment), "NET_WIDTH": ""}
    made = Clone(folder, own, cold=True, python=str(environment / "bin/python"))
    made.write("models/net.py", NET)
    made.write("models/blocks.py", BLOCKS)
    made.write("models/tables/sizes.txt", "6\n")
    made.recipe("precision: {fp32: {}, fp16: {method: convert}}", name="models/net.yaml")
    return made


def _discovered(project: Project) -> list[Mapping[str, str | None]]:
    """What the runs read by themselves whose results are in the ledger."""
    store = Store(project.folder / "cache")
    folders = {file.parent.name for file in (project.folder / "cache/ledger").rglob("*.json")}
    return [entry.discovered for name in folders for entry in store.entries(f"sha256:{name}")]


def test_what_one_clone_has_built_stands_in_another_with_an_environment_and_a_home_of_its_own(
    tmp_path: Path,
) -> None:
    first = _clone(tmp_path / "first", tmp_path / "venvs/a", tmp_path / "homes/a")
    second = _clone(tmp_path / "x/y/second", tmp_path / "x/other venvs/b", tmp_path / "homes/b")
    built = first.build(recipe="models/net.yaml")
    assert built.code == 0, built.stdout + built.stderr
    second.take_cache(first)
    found = second.run("build", "../models/net.yaml", "--format", "json", cwd=second.folder / "models")
    assert found.code == 0, found.stdout + found.stderr
    assert set(found.statuses.values()) == {"cached"}
    keys = {name: artifact["key"] for name, artifact in built.artifacts.items()}
    assert {name: artifact["key"] for name, artifact in found.artifacts.items()} == keys
    facts = str(_discovered(second))
    for fact in ("file blocks.py", "file tables/sizes.txt", "listing tables", "absent override.txt",
                 "env NET_WIDTH", "package tinypack", "distribution tinypack"):  # fmt: skip
        assert fact in facts, facts
    assert str(tmp_path) not in facts, facts
