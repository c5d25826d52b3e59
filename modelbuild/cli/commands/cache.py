"""``modelbuild cache``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.cli.commands import answers
from modelbuild.wording import output

ABOUT = "look after the cache: stats, verify, gc"
EXAMPLES = """\
examples:
  modelbuild cache stats
  modelbuild cache verify
  modelbuild cache gc --max-size 20GiB --max-age 30d
"""


def run(options: argparse.Namespace) -> int:
    import time
    from dataclasses import asdict

    from modelbuild import store
    from modelbuild.cli.terminal import caches
    from modelbuild.machine import home

    found: Any
    limited = options.max_size is not None or options.max_age is not None
    if limited != (options.job == "gc"):
        said = f"`cache {options.job}` takes no limit" if limited else "gc needs a limit"
        raise RecipeError(
            Diagnostic("recipe-invalid", said, "modelbuild cache gc --max-size 20GiB --max-age 30d")
        )
    root = options.cache_dir or home.default_root()
    if root.exists() and not root.is_dir():
        raise RecipeError(Diagnostic("recipe-invalid", f"{root} is not a folder", "name the cache's folder"))
    cache = store.Store(root)
    if options.job == "gc":
        found = store.collect(cache, options.max_size, options.max_age, time.time())
    else:
        found = store.check(cache) if options.job == "verify" else store.stats(cache)
    damaged = options.job == "verify" and bool(found.damaged)
    if options.format == "json":
        answers.as_json({"schema": 1, "ok": not damaged, "cache": str(cache.root), **_plain(asdict(found))})
    else:
        output.show(caches.render(found, cache.root))
    return EXIT_STEP_FAILED if damaged else 0


def _plain(data: Any) -> Any:
    """As JSON has it: a path is text."""
    if isinstance(data, dict):
        return {k: _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(v) for v in data]
    return str(data) if isinstance(data, Path) else data
