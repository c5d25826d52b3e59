"""The workflow of a project with a remote cache: all read, and one job, in which no model runs, writes."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.remote.signing import generate
from modelbuild.setup import ci
from tests.conftest import RECIPE, TINY
from tests.setup.runner import Runner, shim
from tests.setup.workflows import commit, git, read

KEY = "MODELBUILD_SIGNING_KEY"
TRUSTED = "ed25519:" + "A" * 43 + "="
S3 = f'[tool.modelbuild.remote]\nurl = "s3://models/team"\ntrust = ["{TRUSTED}"]\n'
RUNS_MODELS = ("build", "verify", "audit", "init")


def written(folder: Path, project: str, recipe: str = RECIPE) -> str:
    """The workflow of a repository with this project file."""
    git(folder, "init", "-q")
    (folder / "configs").mkdir()
    (folder / "configs/net.yaml").write_text(recipe)
    (folder / "pyproject.toml").write_text(project)
    ci.write(folder)
    return (folder / ci.WORKFLOWS / "modelbuild.yml").read_text()


def uncommented(text: str) -> str:
    """With every example in it turned on: a line of YAML has no space after its `#`, or several."""
    return re.sub(r"(?m)^( *)#(?! \S)", r"\1", text)


def runs_models(job: dict[str, Any]) -> bool:
    said = "\n".join(step.get("run", "") for step in job["steps"])
    return any(re.search(rf"\bmodelbuild {command}\b", said) for command in RUNS_MODELS)


def rights(workflow: dict[str, Any], job: dict[str, Any]) -> list[str]:
    """What a job has that lets it sign or write."""
    allowed = {**workflow["permissions"], **workflow.get("env", {}), **job.get("permissions", {})}
    found = [name for name, level in allowed.items() if level == "write" or name == KEY]
    said = json.dumps(job)
    return found + [
        sign for sign in (KEY, "aws-actions", "role-to-assume", "environment") if f'"{sign}' in said
    ]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("shared"), S3)


@pytest.mark.parametrize("change", [str, uncommented], ids=["as-written", "with-all-examples"])
def test_no_job_that_runs_a_models_code_can_sign_or_write(text: str, change: Any) -> None:
    workflow = read(change(text))
    building = {name: rights(workflow, job) for name, job in workflow["jobs"].items() if runs_models(job)}
    assert building == {"build": []}
    assert workflow["permissions"] == {"contents": "read"}
    assert "permissions" not in workflow["jobs"]["build"]
    assert {"id-token", KEY} <= set(rights(workflow, workflow["jobs"]["push"]))


@pytest.mark.parametrize(
    ("old", "more", "found"),
    [
        pytest.param("minutes: 120\n", "    permissions: {id-token: write}\n", "id-token", id="of-the-job"),
        pytest.param("permissions:\n  contents: read\n", "  id-token: write\n", "id-token", id="of-all-jobs"),
        pytest.param("check $RECIPES\n", f"        env: {{{KEY}: x}}\n", KEY, id="the-key-in-a-step"),
        pytest.param("\nenv:\n", f"  {KEY}: x\n", KEY, id="the-key-for-all"),
    ],
)
def test_a_right_that_gets_into_the_build_would_be_seen(text: str, old: str, more: str, found: str) -> None:
    assert text.count(old) == 1
    workflow = read(text.replace(old, old + more))
    assert rights(workflow, workflow["jobs"]["build"]) == [found]


def test_only_the_step_that_pushes_is_given_the_key(text: str) -> None:
    job = read(text)["jobs"]["push"]
    assert [step["name"] for step in job["steps"] if KEY in json.dumps(step)] == ["Push"]
    (push,) = [step for step in job["steps"] if step.get("name") == "Push"]
    assert push["env"] == {KEY: "${{ secrets.MODELBUILD_SIGNING_KEY }}"}
    assert push["run"] == "modelbuild cache push $RECIPES"
    assert job["steps"][-1] == push  # nothing runs with credentials after it
    assert set(job.get("env", {})) == set()


def test_only_the_branch_that_pull_requests_go_into_is_pushed_and_only_after_its_build(text: str) -> None:
    workflow = read(text)
    job = workflow["jobs"]["push"]
    where = "github.event_name == 'push' && github.ref == 'refs/heads/main'"
    assert (job["needs"], job["if"]) == ("build", where)
    assert workflow["on"]["push"]["branches"] == ["main"]
    handed = [s for s in workflow["jobs"]["build"]["steps"] if "cache.tar" in json.dumps(s)]
    assert [s["if"] for s in handed] == [where, where]


def test_the_branch_is_the_repositorys_own(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / ".git/HEAD").write_text("ref: refs/heads/trunk\n")
    text = written(tmp_path, S3)
    assert read(text)["jobs"]["push"]["if"].endswith("github.ref == 'refs/heads/trunk'")


def test_what_goes_from_job_to_job_is_one_archive_in_a_folder_of_its_own(text: str) -> None:
    jobs = read(text)["jobs"]
    (up,) = [s for s in jobs["build"]["steps"] if s.get("with", {}).get("name") == "modelbuild-cache"]
    (down,) = [s for s in jobs["push"]["steps"] if s.get("with", {}).get("name") == "modelbuild-cache"]
    assert up["uses"].startswith("actions/upload-artifact@")
    assert down["uses"].startswith("actions/download-artifact@")
    assert up["with"]["path"] == "${{ runner.temp }}/cache.tar"
    assert down["with"]["path"] == "${{ runner.temp }}/artifact"
    assert not any("actions/cache" in step.get("uses", "") for step in jobs["push"]["steps"])


def test_both_jobs_install_the_same_and_what_reaches_a_remote(text: str) -> None:
    installs = [
        step["run"]
        for job in read(text)["jobs"].values()
        for step in job["steps"]
        if step.get("name") == "Install"
    ]
    assert len(installs) == 2
    assert len(set(installs)) == 1
    assert installs[0].startswith('needs=("modelbuild[cpu,report,remote]")\n')


@pytest.mark.parametrize("change", [str, uncommented], ids=["as-written", "with-all-examples"])
def test_github_takes_the_workflow(text: str, change: Any, tmp_path: Path) -> None:
    (tmp_path / "modelbuild.yml").write_text(change(text))
    schema = ("check_jsonschema", "--builtin-schema", "vendor.github-workflows")
    done = subprocess.run(
        [sys.executable, "-m", *schema, str(tmp_path / "modelbuild.yml")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_examples_are_credentials_that_read_and_a_role_that_writes(text: str) -> None:
    jobs = read(uncommented(text))["jobs"]
    (build,) = [step for step in jobs["build"]["steps"] if step.get("name") == "Build"]
    assert set(build["env"]) == {"AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    uses = [step.get("uses", step.get("name", "")) for step in jobs["push"]["steps"]]
    assert uses[-2:] == ["aws-actions/configure-aws-credentials@v4", "Push"]
    assert jobs["push"]["environment"] == "modelbuild-push"


@pytest.mark.parametrize(
    "project",
    [
        pytest.param("", id="no-table"),
        pytest.param('[tool.modelbuild.remote]\nurl = "file:///srv/models"\n', id="a-folder"),
        pytest.param(S3.replace("s3://models", "http://127.0.0.1:8333"), id="a-server-on-this-machine"),
    ],
)
def test_without_a_remote_that_github_reaches_there_is_no_such_job(project: str, tmp_path: Path) -> None:
    text = written(tmp_path, project)
    assert list(read(text)["jobs"]) == ["build"]
    assert not re.search(r"cache push|cache\.tar|secrets\.|id-token|,remote", text)


def test_engines_that_need_a_gpu_are_pushed_from_a_machine_with_it(tmp_path: Path) -> None:
    text = written(tmp_path, S3, f"{RECIPE}engines: [{{precision: fp32, backend: tensorrt}}]\n")
    assert "name the runner of `build` here, too." in text
    assert list(read(text)["jobs"]) == ["build", "push"]


def test_a_remote_that_is_wrong_is_told_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"^\[tool\.modelbuild\.remote\]: `trust` names nobody"):
        written(tmp_path, '[tool.modelbuild.remote]\nurl = "s3://models/team"\n')
    assert not (tmp_path / ci.WORKFLOWS).exists()


@pytest.mark.slow
def test_the_second_job_pushes_from_another_checkout_what_the_first_has_built(tmp_path: Path) -> None:
    """The steps themselves, on two machines: what comes from one to the other is the archive alone."""
    public, secret = generate()
    project = S3.replace(TRUSTED, public)
    builder, pusher = (Runner(tmp_path / name / "repository") for name in ("builder", "pusher"))
    builder.folder.mkdir(parents=True)
    workflow = read(written(builder.folder, project))
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    (builder.folder / "pyproject.toml").write_text(project.replace("s3://models/team", f"file://{bucket}"))
    (builder.folder / "configs/net.py").write_text(TINY)
    commit(builder.folder, "one")
    pusher.folder.parent.mkdir()
    git(tmp_path, "clone", "-q", str(builder.folder), str(pusher.folder))
    real = shlex.quote(sys.executable)
    for runner in (builder, pusher):
        base = runner.folder.parent
        shim(base / "bin/python", f'[ "$1 $2" = "-m pip" ] && exit\nexec {real} "$@"')
        shim(base / "bin/modelbuild", f'exec {real} -P -m modelbuild "$@"')
        (base / "temp/artifact").mkdir(parents=True)

    codes = builder.run(workflow, {})
    assert (codes["Build"], codes["Pack the cache"]) == (0, 0)
    assert list(bucket.iterdir()) == []  # who builds writes nothing there
    shutil.copy(builder.folder.parent / "temp/cache.tar", pusher.folder.parent / "temp/artifact")
    shutil.rmtree(builder.folder.parent)

    assert pusher.run(workflow, {KEY: secret}, "push") == dict.fromkeys(
        ["Install", "Unpack the cache", "Push"], 0
    )
    assert "configs/net.yaml: 5 results sent (" in pusher.log
    assert len(list(bucket.rglob("*.json"))) == 5
    assert not list(pusher.folder.rglob("__pycache__"))  # no model's code was imported
