"""A pull request from somebody who means harm: nothing that it holds is run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelbuild
from modelbuild.base.errors import RecipeError
from tests.changes.review.repositories import Repo
from tests.program.strangers import OBEYED, looked_at

PLANTED = "import pathlib; pathlib.Path({!r}).touch()\n"


@pytest.fixture
def planted(repo: Repo) -> Repo:
    """A repository whose every file would leave a canary if Python ran it."""
    text = PLANTED.format(str(repo.folder.parent / "canary"))
    for name in (
        "net.py", "sitecustomize.py", "usercustomize.py", "torch.py", "yaml.py", "modelbuild.py",
        "pydantic.py", "subprocess.py", "json.py", "conftest.py", "checks.py", "__init__.py",
        "onnx/__init__.py",
    ):  # fmt: skip
        repo.write(name, text)
    repo.write("evil.pth", text)
    repo.write("setup.py", text)
    repo.edit("samples: 4", 'samples: 4, function: "checks:near"')
    repo.edit("{width: 8}", '{width: {import: "os:system", args: ["touch ../canary"]}}')
    return repo


def script() -> str:
    """The command as users have it, beside this Python."""
    return str(Path(sys.executable).with_name("modelbuild"))


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["diff", "HEAD"], id="diff"),
        pytest.param(["diff", "HEAD", "--format", "markdown"], id="markdown"),
        pytest.param(["check", "."], id="check"),
        pytest.param(["status", "net.yaml"], id="status"),
    ],
)
def test_no_code_of_the_repository_is_run(planted: Repo, arguments: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MODELBUILD")}
    done = subprocess.run(
        [script(), *arguments], cwd=planted.folder, capture_output=True, text=True, timeout=60,
        env={**environment, "MODELBUILD_CACHE_DIR": str(planted.folder / "cache")},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 2), done.stderr
    assert not (planted.folder.parent / "canary").exists()


def test_neither_torch_nor_the_model_is_imported(planted: Repo) -> None:
    code = (
        "import sys, json; from modelbuild.cli.main import main; main(['diff', 'HEAD', '--format', 'json']);"
        "print(json.dumps(sorted(m for m in sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=planted.folder, capture_output=True, text=True, timeout=60
    )
    loaded = set(json.loads(done.stderr.splitlines()[-1]))
    assert json.loads(done.stdout)["recipes"]
    assert loaded.isdisjoint({"torch", "onnx", "numpy", "onnxruntime", "transformers", "net", "checks"})


@pytest.mark.parametrize(
    "rev",
    [
        "--output=canary", "-p", "--upload-pack=touch canary", "HEAD\n--output=canary", "$(touch canary)",
        "HEAD:net.yaml", "--", "a..b..c", "-p..HEAD", "HEAD...--output=canary", "\udcff", "x" * 100_000,
    ],
)  # fmt: skip
def test_a_revision_that_looks_like_something_else_is_refused(repo: Repo, rev: str) -> None:
    for arguments in ((rev,), ("HEAD", rev)):
        with pytest.raises(RecipeError) as caught:
            modelbuild.diff(*arguments)
        said = caught.value.diagnostics[0].render()
        assert caught.value.exit_code == 2
        assert len(said) < 500
        assert not OBEYED.search(said)
    assert sorted(p.name for p in repo.folder.iterdir()) == [".git", "net.py", "net.yaml", "w.pt"]


def test_attributes_hooks_and_submodules_run_nothing(repo: Repo) -> None:
    repo.write(".gitattributes", "* filter=evil diff=evil merge=evil\n*.yaml filter=lfs diff=lfs -text\n")
    repo.write(".gitmodules", '[submodule "x"]\n\tpath = x.yaml\n\turl = ext::sh -c touch% canary\n')
    repo.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},x.yaml")
    repo.write(".gitconfig", "[core]\n\tfsmonitor = touch canary\n")
    repo.write(".git-hooks/post-checkout", "#!/bin/sh\ntouch canary\n").chmod(0o755)
    repo.edit("max: 8", "max: 16")
    found, _ = looked_at(repo)
    assert [r.recipe for r in found.recipes] == ["net.yaml"]
    repo.git("commit", "-qam", "x")
    assert [r.recipe for r in modelbuild.diff("HEAD~1", "HEAD").recipes] == ["net.yaml"]
