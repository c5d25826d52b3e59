"""The workflows and hooks that users get, run: their steps, the comment that they post, the hooks."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from modelbuild.setup import ci
from tests.conftest import RECIPE, TINY
from tests.setup.runner import Runner, shim
from tests.setup.workflows import ROOT, VALUES, commit, git, read, scripts


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A repository with two recipes; `pip` does nothing, and `modelbuild` is this one."""
    base = tmp_path_factory.mktemp("runner")
    real = shlex.quote(sys.executable)
    shim(base / "bin/python", f'[ "$1 $2" = "-m pip" ] && {{ echo "pip $*"; exit; }}\nexec {real} "$@"')
    shim(base / "bin/modelbuild", f'exec {real} -P -m modelbuild "$@"')
    (base / "temp").mkdir()
    folder = base / "repository"
    for name, text in {
        "configs/net.yaml": RECIPE,
        "configs/plain.yaml": RECIPE.replace("net:Net", "plain:Net"),
        "configs/net.py": TINY,
        "configs/plain.py": TINY,
        "requirements.txt": "torch\n",
        ".gitignore": "build\n__pycache__\nreport.html\ncomment\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q")
    ci.write(folder)
    commit(folder, "one")
    return Runner(folder)


def pull(runner: Runner, changes: dict[str, str]) -> dict[str, int]:
    """Run the workflow on a pull request with these changes, as GitHub checks it out: merged."""
    git(runner.folder, "checkout", "-q", "--detach", "main")
    for name, text in changes.items():
        (runner.folder / name).write_text(text)
    commit(runner.folder, "theirs")
    git(runner.folder, "branch", "-f", "theirs")
    git(runner.folder, "checkout", "-q", "--detach", "main")
    git(runner.folder, "merge", "-q", "--no-ff", "-m", "merged", "theirs")
    git(runner.folder, "clean", "-xdfq")
    shutil.rmtree(runner.cache, ignore_errors=True)
    if runner.saved.exists():  # each pull request begins with the cache of the main branch
        shutil.copytree(runner.saved, runner.cache)
    runner.event = "pull_request"
    workflow = read((runner.folder / ci.WORKFLOWS / "modelbuild.yml").read_text())
    return runner.run(workflow, {"NUMBER": "7"})


ALL = ["Install", "Name the cache", "Check", "Build", "Trim the cache", "Report"]


@pytest.mark.slow
def test_the_workflow_builds_everything_on_main_and_then_what_a_pull_request_touches(runner: Runner) -> None:
    workflow = read((runner.folder / ci.WORKFLOWS / "modelbuild.yml").read_text())
    assert runner.run(workflow, {}) == dict.fromkeys(ALL, 0)
    index = "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert f"pip -m pip install {index} modelbuild[cpu,report] -r requirements.txt\n" in runner.log
    assert (runner.folder / "report.html").stat().st_size > 1000
    shutil.copytree(runner.cache, runner.saved)
    outputs = (runner.folder.parent / "GITHUB_OUTPUT").read_text()
    assert re.search(r"^prefix=modelbuild-Linux-python3\.\d+-torch[\d.]+\S*-$", outputs, re.MULTILINE)
    summary = runner.folder.parent / "GITHUB_STEP_SUMMARY"
    assert summary.read_text().startswith("### modelbuild: 2 recipes, 2 artifacts\n")

    summary.unlink()
    codes = pull(runner, {"configs/net.py": TINY + "\n\nMORE = 1\n"})
    assert codes == dict.fromkeys([*ALL, "Diff"], 0)
    assert summary.read_text().startswith("### modelbuild: 1 recipe, 1 artifact\n")
    assert (runner.folder / "comment/number").read_text() == "7\n"
    assert (runner.folder / "comment/comment.md").read_text().startswith("<!-- modelbuild diff -->\n")

    codes = pull(runner, {"README.md": "words\n"})
    assert codes == dict.fromkeys([*ALL, "Diff"], 0)
    assert not (runner.folder / "report.html").exists()
    assert "nothing changed since HEAD^1" in runner.log


@pytest.mark.slow
def test_the_workflow_fails_with_a_recipe_that_is_wrong_and_still_says_what_changes(runner: Runner) -> None:
    codes = pull(runner, {"configs/net.yaml": RECIPE + "opsets: 17\n"})
    assert codes["Check"] == 2
    assert "Build" not in codes
    assert codes["Trim the cache"] == 0
    place = "file=configs/net.yaml,line=6,col=1,title=recipe-invalid"
    assert f"::error {place}::unknown key `opsets`" in runner.log
    assert (runner.folder / "comment/comment.md").read_text().startswith("<!-- modelbuild diff -->\n")


# ---- the comment, posted -----------------------------------------------------------------------

GH = r"""
last=${@: -1}
echo "$@" >> "$GH_LOG"
case "$1 $2" in
  "run download") [ -d "$ARTIFACT" ] && cp -r "$ARTIFACT" "$last" ;;
  "api repos/o/r/pulls/"*) cat "$GH_HEAD" ;;
  "api --paginate") printf '%s' "$GH_IDS" ;;
  "api --silent") cp "${last#body=@}" "$GH_BODY" ;;
esac
"""


@dataclass
class Posted:
    code: int
    said: str
    calls: list[str]
    body: str | None


def post(
    tmp_path: Path, comment: bytes | None, number: str = "7", head: str = "abc", ids: str = ""
) -> Posted:
    """Run the workflow that posts, with what another run left and a `gh` that writes down its calls."""
    shim(tmp_path / "bin/gh", GH)
    (tmp_path / "temp").mkdir()
    (tmp_path / "head").write_text(head + "\n")
    if comment is not None:
        (tmp_path / "artifact").mkdir()
        (tmp_path / "artifact/comment.md").write_bytes(comment)
        (tmp_path / "artifact/number").write_text(number)
    (script,) = scripts(read(ci.rendered("modelbuild-comment.yml", VALUES)))
    env = {
        **os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "GH_TOKEN": "t",
        "REPOSITORY": "o/r", "RUN_ID": "1", "HEAD_SHA": "abc", "RUNNER_TEMP": str(tmp_path / "temp"),
        "GH_LOG": str(tmp_path / "log"), "GH_HEAD": str(tmp_path / "head"), "GH_IDS": ids,
        "GH_BODY": str(tmp_path / "body"), "ARTIFACT": str(tmp_path / "artifact"),
    }  # fmt: skip
    done = subprocess.run(["bash", "-e", "-c", script], env=env, capture_output=True, text=True)
    body = tmp_path / "body"
    calls = (tmp_path / "log").read_text().splitlines()
    posted = [c for c in calls if "--silent" in c]
    return Posted(done.returncode, done.stdout, posted, body.read_text() if body.exists() else None)


GOOD = b"<!-- modelbuild diff -->\n### modelbuild\n"


def test_the_comment_is_posted_once_and_then_updated(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = post(tmp_path / "a", GOOD)
    assert (first.code, first.body) == (0, GOOD.decode())
    assert "--method POST repos/o/r/issues/7/comments" in first.calls[0]
    second = post(tmp_path / "b", GOOD, ids="31\n32\n")
    assert (second.code, second.body) == (0, GOOD.decode())
    assert "--method PATCH repos/o/r/issues/comments/31 " in second.calls[0]


@pytest.mark.parametrize(
    ("comment", "number", "head", "code", "said"),
    [
        pytest.param(None, "7", "abc", 0, "that run left no comment", id="no-artifact"),
        pytest.param(GOOD, "7", "def", 0, "pull request 7 is not at that run's commit", id="another-commit"),
        pytest.param(GOOD, "7; rm x", "abc", 1, "that is no pull request's number", id="no-number"),
        pytest.param(GOOD, "../../issues/1", "abc", 1, "that is no pull request's number", id="a-path"),
        pytest.param(b"LGTM", "7", "abc", 1, "that is no comment of modelbuild diff", id="another-text"),
    ],
)
def test_what_is_not_the_comment_of_that_run_is_not_posted(
    tmp_path: Path, comment: bytes | None, number: str, head: str, code: int, said: str
) -> None:
    found = post(tmp_path, comment, number, head)
    assert (found.code, found.calls, found.body) == (code, [], None)
    assert said in found.said


def test_a_strangers_comment_is_cut_and_mentions_nobody(tmp_path: Path) -> None:
    found = post(tmp_path, GOOD + b"@all \xff\xfe $(touch x) `touch x`" + b"x" * 200_000)
    assert found.code == 0
    assert found.body is not None
    assert found.body.startswith("<!-- modelbuild diff -->\n### modelbuild\n&#64;all")
    assert "@" not in found.body
    assert 50_000 < len(found.body) < 65_536


# ---- hooks -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_hooks_are_run_by_pre_commit(tmp_path: Path) -> None:
    """Through pre-commit itself: what it is given, what it passes on, and what its exit code becomes."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "configs").mkdir()
    shim(tmp_path / "bin/modelbuild", f'exec {shlex.quote(sys.executable)} -P -m modelbuild "$@"')
    hooks = {hook["id"]: dict(hook) for hook in read((ROOT / ".pre-commit-hooks.yaml").read_text())}
    for hook in hooks.values():
        hook.pop("description")
        hook["pass_filenames"] = hook.get("pass_filenames", "true") == "true"
    config = {"repos": [{"repo": "local", "hooks": list(hooks.values())}]}
    (folder / ci.HOOKS).write_text(yaml.safe_dump(config))
    (folder / "configs/net.yaml").write_text(RECIPE)
    (folder / "configs/net.py").write_text(TINY)
    (folder / "note.yaml").write_text("no: recipe\n")
    git(folder, "add", "-A")

    def run(hook: str) -> tuple[int, str]:
        env = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "home"),
               "MODELBUILD_CACHE_DIR": str(tmp_path / "cache"),
               "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"}  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-m", "pre_commit", "run", hook, "--color", "never"],
            cwd=folder, env=env, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    assert run("modelbuild-check")[0] == 0
    code, said = run("modelbuild-lock")
    assert code == 1
    assert "error[lock-missing]: configs/net.lock.yaml: there is no lock file" in said

    (folder / "configs/net.yaml").write_text(RECIPE + "opsets: 17\n")
    (folder / "configs/net.lock.yaml").write_text("lock: 1\n")  # is no recipe, and not checked as one
    git(folder, "add", "-A")
    code, said = run("modelbuild-check")
    assert code == 1
    assert "- exit code: 2" in said
    assert "configs/net.yaml:6:1: unknown key `opsets`" in said
    assert "note.yaml" not in said
