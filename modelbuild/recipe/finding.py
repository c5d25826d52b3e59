"""Which recipes are meant: files, folders and globs."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from modelbuild.errors import Diagnostic, RecipeError
from modelbuild.recipe.problems import INVALID, clean, listed, nearest

SUFFIXES = (".yaml", ".yml")


def find(args: Sequence[str]) -> list[Path]:
    """The recipes that the arguments name, in order, each once.

    A folder stands for its ``*.yaml`` and ``*.yml``, sorted; a glob for the recipes among its
    matches. A file is taken as it is.

    Raises:
        RecipeError: an argument names nothing; every such argument is told.
    """
    found: dict[Path, Path] = {}
    missing: list[Diagnostic] = []
    for arg in args:
        try:
            paths = _named_by(arg)
        except (OSError, ValueError) as error:
            missing.append(Diagnostic(INVALID, f"cannot look for `{clean(arg)}`: {error}", "name a file"))
            continue
        if not paths:
            missing.append(_nothing(arg))
        for path in paths:
            found.setdefault(path.resolve(), path)
    if missing:
        raise RecipeError(missing)
    return list(found.values())


def _named_by(arg: str) -> list[Path]:
    path = Path(arg)
    if path.is_dir():
        return sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and p.is_file())
    if path.exists():
        return [path]
    if not glob.has_magic(arg):
        return []
    matches = (Path(match) for match in glob.glob(arg, recursive=True))
    return sorted(p for p in matches if p.suffix in SUFFIXES and p.is_file())


def _nothing(arg: str) -> Diagnostic:
    path = Path(arg)
    if path.is_dir():
        hint = "a recipe's name ends in .yaml or .yml"
        return Diagnostic(INVALID, f"no recipe in the folder `{clean(arg)}`", hint)
    if glob.has_magic(arg):
        return Diagnostic(INVALID, f"no recipe matches `{clean(arg)}`", beside(path))
    return Diagnostic(INVALID, f"no such recipe: `{clean(arg)}`", beside(path))


def beside(path: Path) -> str:
    """The name that was meant, or what there is where it was looked for."""
    folder = path.parent
    try:
        names = sorted(p.name for p in folder.iterdir() if p.suffix in SUFFIXES)
    except OSError:
        return "`modelbuild init IMPORT` writes a first recipe"
    near = nearest(path.name, names)
    if near:
        return f"did you mean `{clean(str(folder / near))}`?"
    return f"there are {listed(names)}" if names else f"`{clean(str(folder))}` holds no recipe"
