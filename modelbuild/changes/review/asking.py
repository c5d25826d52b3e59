"""What a review is asked for: two revisions, the recipes to look at, and where their builds went."""

from __future__ import annotations

import contextlib
import fnmatch
import itertools
import os
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbuild import settings
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.changes.bounds import FILE
from modelbuild.changes.review.costs import BuildFolders
from modelbuild.changes.sides import PROJECT, Side, Sides, inside
from modelbuild.git import Repository
from modelbuild.machine import home
from modelbuild.recipe.problems import INVALID, clean


@dataclass(frozen=True)
class ReviewRequest:
    """``head`` None is the working tree; ``A..B`` and ``A...B`` as ``base`` are two revisions, the
    latter from where they parted. ``paths`` are as the command in ``folder`` names them."""

    base: str
    head: str | None
    paths: Sequence[str]
    folder: Path
    out: Path | None = None
    cache: Path | None = None


def revisions(repository: Repository, asked: ReviewRequest) -> tuple[str, str | None]:
    for dots in ("...", ".."):
        old, found, new = asked.base.partition(dots)
        if found:
            if asked.head is not None:
                hint = f"`modelbuild diff {clean(old or 'HEAD')} {clean(new or 'HEAD')}`"
                raise RecipeError(Diagnostic(INVALID, "a range and a revision are three", hint))
            old, new = old or "HEAD", new or "HEAD"
            if dots == "...":
                old = repository.merge_base(repository.commit(old), repository.commit(new))
            return old, new
    return asked.base, asked.head


def places(asked: ReviewRequest, base: Side) -> BuildFolders:
    """Where builds of this project go: as the command line says, else the environment, else the project
    file of the older revision, since the newer may be a stranger's."""
    root = base.repository.root
    folder, table = _project(base, _here(asked, root))

    def place(given: Path | None, option: str, key: str, otherwise: str) -> Path:
        named = settings.environment(option)
        if given or named:
            return Path(given or named)
        said = table.get(key)
        return root / folder / os.path.expanduser(said) if isinstance(said, str) else Path(otherwise)

    cache = place(asked.cache, "cache_dir", "cache", home.cache_folder())
    return BuildFolders(root, cache, place(asked.out, "out", "out", "build"))


def _project(base: Side, here: str) -> tuple[str, dict[str, Any]]:
    """The folder of the nearest project file at or above ``here``, and its table."""
    folders = ["", *itertools.accumulate(here.split("/"), posixpath.join)] if here != "." else [""]
    found = base.read([posixpath.join(folder, PROJECT) for folder in folders], FILE)
    for folder in reversed(folders):
        blob = found.get(posixpath.join(folder, PROJECT))
        if blob is not None and blob.size < FILE and settings.may_speak(blob.data):
            with contextlib.suppress(ValueError, RecursionError):
                table = settings.table(blob.data.decode())
                if table is not None:
                    return folder, table
    return "", {}


def _here(asked: ReviewRequest, root: Path) -> str:
    return posixpath.relpath(os.path.realpath(asked.folder), root)


def wanted(asked: ReviewRequest, sides: Sides) -> list[str]:
    """The paths that were named, as the repository has them.

    Raises:
        RecipeError: one of them is outside, or nothing is there in either revision.
    """
    root = str(sides.head.repository.root)
    here = _here(asked, sides.head.repository.root)
    found = []
    for name in asked.paths:
        relative = posixpath.relpath(name, root) if name.startswith("/") else posixpath.join(here, name)
        path = inside("", relative)
        if path is None:
            raise RecipeError(
                Diagnostic(INVALID, f"`{clean(name)}` is not in this repository", "name a recipe")
            )
        if path != "." and not any(
            p == path or p.startswith(f"{path}/") or fnmatch.fnmatchcase(p, path)
            for p in {*sides.base.files, *sides.head.files}
        ):
            said = f"`{clean(name)}` is in neither revision"
            raise RecipeError(Diagnostic(INVALID, said, "paths are seen from the working folder"))
        found.append(path)
    return found
