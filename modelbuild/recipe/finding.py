"""Which recipes are meant: files, folders and globs."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.recipe.problems import INVALID, clean, listed
from modelbuild.wording.phrases import meant, nearest

SUFFIXES = (".yaml", ".yml")
LOCKS = (".lock.yaml", ".lock.yml")
"""How a lock file's name ends; the first is what is written. It lies beside its recipe."""


def find(args: Sequence[str]) -> list[Path]:
    """The recipes that the arguments name, in order, each once.

    A folder stands for its ``*.yaml`` and ``*.yml``, sorted, without the lock files and, as in a
    shell, without hidden files (``.pre-commit-config.yaml``); a glob for the recipes among its
    matches. A file is taken as it is. A lock file is passed over if its recipe is
    named, too: then a shell has spelled out ``configs/*.yaml``.

    Raises:
        RecipeError: an argument names nothing, or a lock file; every such argument is told.
    """
    found: dict[Path, Path] = {}
    locks: list[Path] = []
    wrong: list[Diagnostic] = []
    for arg in args:
        try:
            paths = _named_by(arg)
        except (OSError, ValueError) as error:
            wrong.append(Diagnostic(INVALID, f"cannot look for `{clean(arg)}`: {error}", "name a file"))
            continue
        if not paths:
            wrong.append(_nothing(arg))
        for path in paths:
            if path.name.endswith(LOCKS):
                locks.append(path)
            else:
                found.setdefault(path.resolve(), path)
    named = {path.absolute().with_suffix("") for path in found.values()}
    wrong += [_no_recipe(lock) for lock in locks if _unlocked(lock.absolute()) not in named]
    if wrong:
        raise RecipeError(wrong)
    return list(found.values())


def is_recipe(path: Path) -> bool:
    """Whether a folder or a glob that holds ``path`` means it."""
    return _named_as_one(path) and path.is_file()


def _named_as_one(path: Path) -> bool:
    return path.suffix in SUFFIXES and not path.name.endswith(LOCKS) and not path.name.startswith(".")


def _named_by(arg: str) -> list[Path]:
    path = Path(arg)
    if path.is_dir():
        return sorted(p for p in path.iterdir() if is_recipe(p))
    if path.exists():
        return [path]
    if not glob.has_magic(arg):
        return []
    return sorted(p for p in map(Path, glob.glob(arg, recursive=True)) if is_recipe(p))


def _nothing(arg: str) -> Diagnostic:
    path = Path(arg)
    if path.is_dir():
        hint = "a recipe's name ends in .yaml or .yml"
        return Diagnostic(INVALID, f"no recipe in the folder `{clean(arg)}`", hint)
    if glob.has_magic(arg):
        return Diagnostic(INVALID, f"no recipe matches `{clean(arg)}`", beside(path))
    return Diagnostic(INVALID, f"no such recipe: `{clean(arg)}`", beside(path))


def _no_recipe(lock: Path) -> Diagnostic:
    stem = _unlocked(lock)
    candidates = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    meant = next((path for path in candidates if path.is_file()), candidates[0])
    message = f"`{clean(str(lock))}` is a lock file, not a recipe"
    return Diagnostic(INVALID, message, f"name `{clean(str(meant))}`")


def _unlocked(lock: Path) -> Path:
    """A recipe's path without its suffix, from its lock file's."""
    return lock.with_suffix("").with_suffix("")


def beside(path: Path) -> str:
    """The name that was meant, or what there is where it was looked for."""
    folder = path.parent
    try:
        names = sorted(p.name for p in folder.iterdir() if _named_as_one(p))
    except OSError:
        return "`modelbuild init IMPORT` writes a first recipe"
    near = next((name for name in names if Path(name).stem == path.stem), None) or nearest(path.name, names)
    if hint := meant(near and str(folder / near)):
        return hint
    if not names:
        return f"`{clean(str(folder))}` holds no recipe"
    return f"there {'is' if len(names) == 1 else 'are'} {listed(names)}"
