"""``modelbuild cache``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base.catalogue import EXIT_OK, EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.cli.commands import answers
from modelbuild.wording import output

if TYPE_CHECKING:
    from modelbuild.remote.configured import Remote

ABOUT = "look after the cache: stats, verify, gc; share it: push, keygen"
EXAMPLES = """\
examples:
  modelbuild cache stats
  modelbuild cache verify
  modelbuild cache gc --max-size 20GiB --max-age 30d
  modelbuild cache keygen -o signing-key.pem
  MODELBUILD_SIGNING_KEY=signing-key.pem modelbuild cache push configs
  modelbuild cache gc --remote --max-age 30d
"""

_TAKES = {
    "max_size": ("gc",), "max_age": ("gc",), "remote": ("stats", "verify", "gc"), "recipes": ("push",),
    "published_only": ("push",), "output": ("keygen",),
}  # fmt: skip
_WORDS = {
    "max_size": "limit", "max_age": "limit", "remote": "--remote", "recipes": "recipes",
    "published_only": "--published-only", "output": "--output",
}  # fmt: skip


def run(options: argparse.Namespace) -> int:
    for name, jobs in _TAKES.items():
        if getattr(options, name) not in (None, False, []) and options.job not in jobs:
            raise _misused(f"`cache {options.job}` takes no {_WORDS[name]}", f"`cache {jobs[0]}` does")
    if options.job == "gc":
        _must_have_a_limit(options)
    if options.job == "keygen":
        return _keygen(options)
    if options.job == "push":
        return _push(options)
    return _of_the_remote(options) if options.remote else _of_the_folder(options)


def _must_have_a_limit(options: argparse.Namespace) -> None:
    """A collection deletes: nobody begins one by leaving something out.

    Raises:
        RecipeError: it has none, or one that the remote does not know.
    """
    if options.max_size is None and options.max_age is None:
        example = "--remote --max-age 30d" if options.remote else "--max-size 20GiB --max-age 30d"
        raise _misused("gc needs a limit", f"modelbuild cache gc {example}")
    if options.remote and options.max_size is not None:
        raise _misused(
            "gc --remote takes no --max-size: a bucket does not say what was used",
            "modelbuild cache gc --remote --max-age 30d",
        )


# ---- the folder --------------------------------------------------------------------------------


def _of_the_folder(options: argparse.Namespace) -> int:
    import time
    from dataclasses import asdict

    from modelbuild import store
    from modelbuild.cli.terminal import caches
    from modelbuild.machine import home

    found: Any
    root = options.cache_dir or home.default_root()
    if root.exists() and not root.is_dir():
        raise _misused(f"{root} is not a folder", "name the cache's folder")
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
    return EXIT_STEP_FAILED if damaged else EXIT_OK


# ---- the remote --------------------------------------------------------------------------------


def _keygen(options: argparse.Namespace) -> int:
    from modelbuild.cli.terminal import remotes
    from modelbuild.remote import keys

    path = options.output or Path("signing-key.pem")
    public = keys.written(path)
    if options.format == "json":
        answers.as_json({"schema": 1, "ok": True, "secret": str(path), "public": public})
    else:
        output.show(remotes.key_pair(path, public))
    return EXIT_OK


def _push(options: argparse.Namespace) -> int:
    from modelbuild.building import pushing, settling
    from modelbuild.building.request import Request
    from modelbuild.cli.terminal import remotes
    from modelbuild.remote import keys

    remote = _configured()
    signer = keys.signer(remote)
    asked = {"recipes": options.recipes or None, "out": None}
    known = settling.settled(asked, needs_recipes=True)
    request = Request(known["recipes"], Path(known["out"]), options.cache_dir)
    say = output.tell if options.format == "json" else output.show
    done = pushing.push(
        request, remote, signer, options.published_only, told=lambda recipe: say(remotes.pushed(recipe))
    )
    code = pushing.exit_code(done)
    if options.format == "json":
        rows = [recipe.as_json() for recipe in done]
        about = {"remote": remote.url, "key": signer.public, "recipes": rows}
        answers.as_json({"schema": 1, "ok": code == EXIT_OK, **about})
    return code


def _of_the_remote(options: argparse.Namespace) -> int:
    import time
    from dataclasses import asdict

    from modelbuild.cli.terminal import remotes
    from modelbuild.remote import checking, collecting, inventory

    found: Any
    remote = _configured()
    if options.job == "gc":
        found = collecting.collect(remote, options.max_age, time.time())
    else:
        found = checking.check(remote) if options.job == "verify" else inventory.stats(remote)
    damaged = options.job == "verify" and bool(found.damaged)
    if options.format == "json":
        answers.as_json({"schema": 1, "ok": not damaged, "remote": remote.url, **_plain(asdict(found))})
    else:
        output.show(remotes.render(found, remote.url))
    return EXIT_STEP_FAILED if damaged else EXIT_OK


def _configured() -> Remote:
    """The remote of the working folder's project file.

    Raises:
        RecipeError: there is none, or what is said of it is wrong.
    """
    from modelbuild.remote.configured import configured

    remote = configured(Path.cwd())
    if remote is None:
        raise _misused(
            "no project file names a remote",
            'put `url = "s3://bucket/prefix"` into [tool.modelbuild.remote] of pyproject.toml',
        )
    return remote


def _misused(said: str, hint: str) -> RecipeError:
    return RecipeError(Diagnostic("recipe-invalid", said, hint))


def _plain(data: Any) -> Any:
    """As JSON has it: a path is text."""
    if isinstance(data, dict):
        return {k: _plain(v) for k, v in data.items()}
    if isinstance(data, list | tuple):
        return [_plain(v) for v in data]
    return str(data) if isinstance(data, Path) else data
