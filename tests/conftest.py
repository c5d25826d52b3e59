"""What tests share: a tiny project in a folder of its own, and the command run on it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from modelbuild.worker import client
from tests import zygote

settings.register_profile("untimed", deadline=None)  # machines that run tests are busy
settings.load_profile("untimed")

TINY = """\
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.first = nn.Linear(6, width)
        self.second = nn.Linear(width, 3)

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))
"""

RECIPE = """\
model: {import: "net:Net"}
inputs: {x: {shape: [batch, 6]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
verify: {samples: 2}
"""

# Lines for the tiny recipe: a file of each kind.
VARIANTS = ("precision: {fp32: {}, fp16: {method: convert}}", "static: [{batch: 1}]")


@dataclass
class Answer:
    """What the command said."""

    code: int
    stdout: str
    stderr: str

    @property
    def report(self) -> dict[str, Any]:
        return json.loads(self.stdout)

    @property
    def recipe(self) -> dict[str, Any]:
        return self.report["recipes"][0]

    @property
    def artifacts(self) -> dict[str, dict[str, Any]]:
        return {a["name"]: a for r in self.report["recipes"] for a in r["artifacts"]}

    @property
    def statuses(self) -> dict[str, str]:
        return {name: a["status"] for name, a in self.artifacts.items()}

    @property
    def diagnostics(self) -> list[dict[str, Any]]:
        rows = [d for r in self.report["recipes"] for d in r["diagnostics"]]
        return rows + [d for a in self.artifacts.values() for d in a["diagnostics"]]

    def said(self, code: str) -> str:
        """The message of the first diagnostic with this code."""
        return next(d["message"] for d in self.diagnostics if d["code"] == code)


@dataclass
class Project:
    """A folder with ``net.py`` and ``net.yaml``, and a cache of its own."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    cold: bool = False  # each command in an interpreter of its own

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def recipe(self, *more: str, base: str = RECIPE, name: str = "net.yaml") -> Path:
        """The tiny recipe with lines added."""
        return self.write(name, base + "".join(line + "\n" for line in more))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "modelbuild", *arguments]

    def environ(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("MODELBUILD")}
        return {**clean, "MODELBUILD_CACHE_DIR": str(self.folder / "cache"), **self.environment}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command, running; signals are as on a terminal, also where the tests run under nohup."""

        def as_on_a_terminal() -> None:
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)

        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=self.environ(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=as_on_a_terminal,
        )  # fmt: skip

    def run(self, *arguments: str, cwd: Path | None = None) -> Answer:
        done = self._done(arguments, cwd or self.folder)
        assert "Traceback" not in done.stderr, done.stderr
        return Answer(done.returncode, done.stdout, done.stderr)

    def _done(self, arguments: tuple[str, ...], cwd: Path) -> subprocess.CompletedProcess[str]:
        if self.cold:
            return subprocess.run(
                self.command(*arguments), cwd=cwd, env=self.environ(), capture_output=True, text=True,
                timeout=600,
            )  # fmt: skip
        return zygote.run(arguments, cwd, self.environ(), timeout=600)

    def build(self, *arguments: str, recipe: str = "net.yaml") -> Answer:
        return self.run("build", recipe, "--format", "json", *arguments)

    def take_cache(self, other: Project) -> None:
        """Begin with a copy of what another project has built, but for what is said of its own folder."""
        own = shutil.ignore_patterns("state")
        shutil.copytree(other.folder / "cache", self.folder / "cache", symlinks=True, ignore=own)

    def output(self, name: str) -> Path:
        return self.folder / "build" / name.partition(".")[0] / name


@pytest.fixture
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    made = Project(tmp_path, cold=request.node.get_closest_marker("cold") is not None)
    made.write("net.py", TINY)
    made.recipe()
    return made


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The tiny project with its ``VARIANTS``, built. Not to be touched: others begin with its cache."""
    made = Project(tmp_path_factory.mktemp("built"))
    made.write("net.py", TINY)
    made.recipe(*VARIANTS)
    assert made.build().code == 0
    return made


@pytest.fixture
def warm(project: Project, built: Project) -> Project:
    """A project whose cache has what the tiny recipe makes: for tests that are not about making it."""
    project.take_cache(built)
    return project


@pytest.fixture(autouse=True, scope="session")
def _forks() -> Iterator[None]:
    """What builds in this process forks its server, too, also for fixtures that several tests share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "start_server", lambda *given: zygote.servers().server(*given))
        yield


@pytest.fixture(autouse=True)
def _cold(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.node.get_closest_marker("cold") is not None:
        monkeypatch.setattr(client, "start_server", zygote.start_server)


@pytest.fixture(autouse=True, scope="session")
def _in_no_repository(tmp_path_factory: pytest.TempPathFactory) -> None:
    """CI's temporary folders lie in the checkout, and a test's folder is in no repository but its own."""
    os.environ["GIT_CEILING_DIRECTORIES"] = str(tmp_path_factory.getbasetemp())
