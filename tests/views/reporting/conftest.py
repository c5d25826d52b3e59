"""A project that was built; and a headless browser: ``$CHROME``, what `make browser` fetched, or one that is
installed."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from modelbuild.base import stat_rows
from tests.conftest import RECIPE, TINY
from tests.views.reporting.places import MORE, Place

FETCHED = Path(__file__).parents[3] / "build/browser/chromium"
NAMES = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
)  # fmt: skip


def executable() -> str | None:
    places = [os.environ.get("CHROME"), str(FETCHED), *map(shutil.which, NAMES)]
    return next((p for p in places if p and os.access(p, os.X_OK)), None)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    found = executable()
    if found is None:
        told = "no browser: install chromium, name one in $CHROME, or run `make browser`"
        if os.environ.get("MODELBUILD_BROWSER") == "required":
            pytest.fail(told)
        pytest.skip(told)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Place:
    place = Place(tmp_path_factory.mktemp("built"))
    (place.folder / "net.py").write_text(TINY)
    place.recipe.write_text(RECIPE + MORE)
    # A build trusts no recipe that may have been written while it was read.
    while stat_rows.young(stat_rows.row(str(place.recipe)), stat_rows.now()[0]):
        time.sleep(0.01)
    assert place.build().ok
    return place


@pytest.fixture
def place(built: Place, tmp_path: Path) -> Place:
    """A copy of what was built: recipes and outputs; the cache is the same."""
    shutil.copytree(built.folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache"))
    (tmp_path / "cache").symlink_to(built.folder / "cache")
    manifest = tmp_path / "build/net/manifest.json"
    text = manifest.read_text().replace(str(built.folder), str(tmp_path))
    manifest.write_text(text)
    return Place(tmp_path)
