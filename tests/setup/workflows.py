"""A workflow as GitHub reads it, and a repository to run it in."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
GIT = ("git", "-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false",
       "-c", "init.defaultBranch=main")  # fmt: skip

VALUES = {"NAME": "models", "BRANCH": '"main"', "PYTHON": "3.11", "RECIPES": "configs",
          "FILES": "'^configs/'", "LOCK": "", "EXTRAS": "cpu,rtx,report",
          "ENGINES": " --require-engines", "GPU": "", "READS": "", "PACK": "", "PUSH": ""}  # fmt: skip


class _Loader(yaml.SafeLoader):
    """YAML as GitHub reads it: `on` is a key, and no key comes twice."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in rows if tag != "tag:yaml.org,2002:bool"]
    for first, rows in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key) for key, _ in node.value]
    assert len(set(keys)) == len(keys), f"a key comes twice: {keys}"
    return dict(zip(keys, [loader.construct_object(v, deep=True) for _, v in node.value], strict=True))


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read(text: str) -> dict[str, Any]:
    return yaml.load(text, _Loader)


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def scripts(workflow: dict[str, Any]) -> list[str]:
    return [step["run"] for step in steps(workflow) if "run" in step]


def git(folder: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=folder, check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message)
