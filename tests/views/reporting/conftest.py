"""A headless browser: ``$CHROME``, what `make browser` fetched, or one that is installed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

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
