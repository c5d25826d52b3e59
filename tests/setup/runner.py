"""A machine of GitHub's, as far as the steps of a workflow can tell."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Runner:
    """A machine that runs the steps of a workflow in a checkout, one after the other, as GitHub does."""

    folder: Path
    event: str = "push"
    log: str = ""

    @property
    def cache(self) -> Path:
        return self.folder.parent / "temp/modelbuild"

    @property
    def saved(self) -> Path:
        return self.folder.parent / "saved"

    def environ(self) -> dict[str, str]:
        own = {k: v for k, v in os.environ.items() if not k.startswith(("MODELBUILD", "GITHUB", "GIT_"))}
        files = {n: str(self.folder.parent / n) for n in
                 ("GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_STEP_SUMMARY")}  # fmt: skip
        return {**own, **files, "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": self.event,
                "GITHUB_WORKSPACE": str(self.folder), "RUNNER_OS": "Linux",
                "RUNNER_TEMP": str(self.folder.parent / "temp"),
                "PATH": f"{self.folder.parent / 'bin'}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip

    def run(self, workflow: dict[str, Any], env: dict[str, str], job: str = "build") -> dict[str, int]:
        """The exit code of each step by its name; what comes after a failure runs only if it says so."""
        codes: dict[str, int] = {}
        self.log = ""
        more = dict(workflow.get("env", {}))
        for step in workflow["jobs"][job]["steps"]:
            if "run" not in step or (any(codes.values()) and "always()" not in step.get("if", "")):
                continue
            events = re.findall(r"github\.event_name == '(\w+)'", step.get("if", ""))
            if events and self.event not in events:
                continue
            mine = {name: env[name] for name in step.get("env", {})}
            done = subprocess.run(
                ["bash", "-e", "-c", step["run"]], cwd=self.folder, env={**self.environ(), **more, **mine},
                capture_output=True, text=True, timeout=300,
            )  # fmt: skip
            assert "Traceback" not in done.stderr, done.stderr
            codes[step["name"]] = done.returncode
            self.log += done.stdout + done.stderr
            handed = self.folder.parent / "GITHUB_ENV"
            if handed.exists():
                more |= dict(line.split("=", 1) for line in handed.read_text().splitlines())
        return codes


def shim(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
