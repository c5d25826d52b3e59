"""A repository beside which lies what must not be touched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.changes.review.repositories import RECIPE, Repo, made

SECRET = "the secret beside the repository"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repo]:
    """A repository, and a folder beside it that must stay as it is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.yaml").write_text(RECIPE + f"# {SECRET}\n")
    (outside / "secret.pt").write_text(SECRET)
    made_ = made(tmp_path / "repository")
    monkeypatch.chdir(made_.folder)
    before = listing(tmp_path)
    yield made_
    after = listing(tmp_path)
    assert {p: after.get(p) for p in before} == before
    assert not any("canary" in path for path in after)


def listing(folder: Path) -> dict[str, bytes]:
    """Everything beside the repository."""
    found = (p for p in folder.rglob("*") if "repository" not in p.parts and p.is_file())
    return {str(p): p.read_bytes() for p in found}
