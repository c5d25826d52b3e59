"""The workflows and hooks, this repository's and those that users get: sound, and written over nothing."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.cli import arguments
from modelbuild.setup import ci
from tests.conftest import RECIPE
from tests.setup.workflows import GIT, ROOT, VALUES, read, scripts, steps


def workflows() -> dict[str, str]:
    """The text of every workflow, by what it is called here."""
    ours = {p.name: p.read_text() for p in sorted((ROOT / ci.WORKFLOWS).glob("*.yml"))}
    theirs = {n: ci.rendered(n, VALUES) for n in ("modelbuild.yml", "modelbuild-comment.yml")}
    return ours | theirs


WORKFLOWS = workflows()


# ---- what is written ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_workflow_asks_for_no_more_than_it_needs(name: str) -> None:
    workflow = read(WORKFLOWS[name])
    assert {"name", "on", "permissions", "jobs"} <= set(workflow)
    assert "pull_request_target" not in workflow["on"]
    assert workflow["permissions"] in ({"contents": "read"}, {})
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        assert job["runs-on"]
        allowed = job.get("permissions", {})
        assert "workflow_run" in workflow["on"] or not allowed
        assert set(allowed) <= {"actions", "pull-requests"}
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] == "false"
                assert "workflow_run" not in workflow["on"]  # a right to write, and no stranger's code
            assert re.fullmatch(r"actions/[\w/-]+@v\d+", step.get("uses", "actions/x@v1"))


def test_the_files_are_what_github_and_pre_commit_take(tmp_path: Path) -> None:
    for name, text in WORKFLOWS.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "hooks.yaml").write_text(ci.rendered("pre-commit-config.yaml", VALUES))
    schema = ("check_jsonschema", "--builtin-schema", "vendor.github-workflows")
    for command in (
        [*schema, *(str(tmp_path / name) for name in WORKFLOWS)],
        ["pre_commit", "validate-config", str(tmp_path / "hooks.yaml")],
        ["pre_commit", "validate-manifest", str(ROOT / ".pre-commit-hooks.yaml")],
    ):
        done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", WORKFLOWS)
def test_no_script_holds_a_text_that_others_write(name: str) -> None:
    for script in scripts(read(WORKFLOWS[name])):
        assert "${{" not in script  # what is needed comes by the environment, and is quoted there
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_command_in_a_workflow_is_one_that_modelbuild_takes(name: str) -> None:
    found = [
        shlex.split(match[1].split(" > ")[0], comments=True)
        for script in scripts(read(WORKFLOWS[name]))
        for match in re.finditer(r"(?:^|then |; )\s*modelbuild ([^;\n]+)", script, re.MULTILINE)
    ]
    for command in found:
        options = arguments.parser().parse_args(["configs" if a == "$RECIPES" else a for a in command])
        assert callable(options.run)
    commands = [command[0] for command in found]
    if "comment" not in name and name != "comment.yml":
        assert commands == ["check", "build", "build", "cache", "report", "diff"]


def test_the_caches_key_is_restored_by_its_prefix_and_saved_whatever_happens() -> None:
    for name in ("ci.yml", "modelbuild.yml"):
        rows = {s["uses"]: s for s in steps(read(WORKFLOWS[name])) if "cache" in s.get("uses", "")}
        restore, save = rows["actions/cache/restore@v4"], rows["actions/cache/save@v4"]
        assert restore["with"]["key"] == save["with"]["key"]
        assert restore["with"]["key"].startswith(restore["with"]["restore-keys"])
        assert "github.sha" in save["with"]["key"]
        assert save["if"].startswith("always()")


def test_this_repository_runs_what_it_gives_to_users() -> None:
    ours, theirs = read(WORKFLOWS["ci.yml"]), read(WORKFLOWS["modelbuild.yml"])
    named = {s["name"]: s for s in ours["jobs"]["models"]["steps"] if "name" in s}
    for step in theirs["jobs"]["build"]["steps"]:
        if step.get("name") in ("Check", "Build", "Trim the cache", "Report", "Diff"):
            assert named[step["name"]] == step
    body = ci.rendered("modelbuild-comment.yml", {"NAME": "ci"}).partition("\nname: ")[2]
    assert WORKFLOWS["comment.yml"].partition("\nname: ")[2] == body
    assert read(WORKFLOWS["comment.yml"])["on"]["workflow_run"]["workflows"] == [ours["name"]]


# ---- init --ci ---------------------------------------------------------------------------------


def repository(folder: Path, *locks: str) -> Path:
    subprocess.run([*GIT, "init", "-q", str(folder)], check=True)
    (folder / "recipes").mkdir()
    (folder / "recipes/net.yaml").write_text(RECIPE)
    for lock in locks:
        (folder / lock).write_text("lock: 1\n")
    return folder


def test_init_writes_the_workflows_and_the_hooks_for_this_repository(tmp_path: Path) -> None:
    folder = repository(tmp_path)
    written = [".github/workflows/modelbuild.yml", ".github/workflows/modelbuild-comment.yml",
               ".pre-commit-config.yaml"]  # fmt: skip
    assert list(map(str, ci.write(folder))) == written
    workflow = read((folder / written[0]).read_text())
    assert workflow["env"]["RECIPES"] == "recipes"
    assert workflow["on"]["push"]["branches"] == ["main"]
    comment = read((folder / written[1]).read_text())
    assert comment["on"]["workflow_run"]["workflows"] == [workflow["name"]]
    (hook,) = read((folder / written[2]).read_text())["repos"][0]["hooks"]
    assert (hook["id"], hook["files"]) == ("modelbuild-check", r"^recipes/[^/]*\.ya?ml$")
    assert not any(re.search("@[A-Z]+@", (folder / path).read_text()) for path in written)


@pytest.mark.parametrize(
    ("backends", "extras", "flag"),
    [
        pytest.param([], "cpu,report", "", id="no-engine"),
        pytest.param(["tensorrt-rtx"], "cpu,rtx,report", " --require-engines", id="builds-without-a-gpu"),
        pytest.param(["tensorrt"], "cpu,tensorrt,report", "", id="needs-a-gpu"),
        pytest.param(["tensorrt-rtx", "tensorrt"], "cpu,tensorrt,rtx,report", "", id="both"),
    ],
)
def test_the_workflow_installs_what_the_recipes_need_and_skips_no_engine_in_silence(
    backends: list[str], extras: str, flag: str, tmp_path: Path
) -> None:
    folder = repository(tmp_path)
    engines = ", ".join(f"{{precision: fp32, backend: {name}}}" for name in backends)
    (folder / "recipes/more.yaml").write_text(f"{RECIPE}engines: [{engines}]\n")
    (folder / "recipes/wrong.yaml").write_text("model: 3\n")

    text = ci.write(folder) and (folder / ci.WORKFLOWS / "modelbuild.yml").read_text()

    (install,) = [s for s in scripts(read(text)) if "pip install" in s]
    assert install.startswith(f'needs=("modelbuild[{extras}]")\n')
    assert install.count("pip install") == 1  # a second one may take another torch
    assert f"modelbuild build $RECIPES --keep-going{flag}\n" in text
    assert ("TensorRT builds its engines on the GPU" in text) == ("tensorrt" in backends)


@pytest.mark.parametrize("name", ["ci.yml", "modelbuild.yml"])
def test_what_was_published_and_its_report_are_artifacts_of_the_run_also_after_a_failure(name: str) -> None:
    kept = {
        s["with"]["name"]: s
        for s in steps(read(WORKFLOWS[name]))
        if s.get("uses", "").startswith("actions/upload-artifact")
    }
    assert kept["modelbuild-models"]["with"]["path"] == "build"
    assert kept["modelbuild-report"]["with"]["path"] == "report.html"
    assert all(step["if"].startswith("always()") for step in kept.values())


def test_init_turns_the_hook_for_lock_files_on_where_there_are_some(tmp_path: Path) -> None:
    ci.write(repository(tmp_path, "recipes/net.lock.yaml"))
    hooks = read((tmp_path / ci.HOOKS).read_text())["repos"][0]["hooks"]
    assert [(h["id"], h.get("args")) for h in hooks] == [
        ("modelbuild-check", None),
        ("modelbuild-lock", ["recipes"]),
    ]


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    folder = repository(tmp_path)
    (folder / ci.WORKFLOWS).mkdir(parents=True)
    (folder / ci.WORKFLOWS / "modelbuild.yml").write_text("mine")
    with pytest.raises(RecipeError, match=r"^\.github/workflows/modelbuild\.yml: already there$"):
        ci.write(folder)
    assert [p.name for p in (folder / ci.WORKFLOWS).iterdir()] == ["modelbuild.yml"]
    assert not (folder / ci.HOOKS).exists()


def test_init_leaves_hooks_that_are_there_alone(tmp_path: Path) -> None:
    folder = repository(tmp_path)
    (folder / ci.HOOKS).write_text("repos: []\n")
    assert [p.name for p in ci.write(folder)] == ["modelbuild.yml", "modelbuild-comment.yml"]
    assert (folder / ci.HOOKS).read_text() == "repos: []\n"


def test_init_says_where_workflows_belong(tmp_path: Path) -> None:
    folder = repository(tmp_path)
    with pytest.raises(RecipeError, match="workflows belong into the root of the repository"):
        ci.write(folder / "recipes")
