"""Files that put a repository's recipes under continuous integration: workflows and commit hooks.

They are written once and are the user's then: ``templates/`` has them, with the places where a repository
differs from another as ``@NAME@``. Where a project has a remote, ``shared-*.yml`` go into the workflow.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.git import Repository
from modelbuild.recipe.finding import LOCKS, is_recipe
from modelbuild.recipe.loading import load
from modelbuild.recipe.schema import Recipe
from modelbuild.setup.ci.rendering import rendered
from modelbuild.setup.ci.sharing import is_shared, shared, unshared

__all__ = ["HOOKS", "WORKFLOWS", "rendered", "write"]

WORKFLOWS = Path(".github/workflows")
HOOKS = Path(".pre-commit-config.yaml")

_FOLDERS = ("configs", "recipes", "models", ".")  # where recipes are looked for
_MODEL = re.compile(rb"^model[ \t]*:", re.MULTILINE)
_EXTRAS = {"tensorrt": "tensorrt", "tensorrt-rtx": "rtx"}  # by an engine's backend
_ON_A_GPU = """
      # TensorRT builds its engines on the GPU that they are for, and without one they are skipped: name a
      # runner that has one under `runs-on`, and call `modelbuild build` with --require-engines."""
_ENOUGH = 1 << 16  # bytes of a file in which a recipe says that it is one


def write(folder: Path) -> list[Path]:
    """Write the workflows, and the configuration of pre-commit if there is none; returns what was written.

    Raises:
        RecipeError: there is such a workflow already, the folder is not the root of its repository, what its
            project file says of a remote is wrong, or a file cannot be written. Nothing is written then.
    """
    _at_the_root(folder)
    recipes = next((name for name in _FOLDERS if _has_recipes(folder / name)), _FOLDERS[0])
    branch = _branch(folder)
    values = {
        "NAME": "models",
        "BRANCH": json.dumps(branch),
        "PYTHON": f"{sys.version_info.major}.{sys.version_info.minor}",
        "RECIPES": recipes,
        **_needs(folder / recipes),
        "FILES": "'^[^/]*\\.ya?ml$'" if recipes == "." else f"'^{recipes}/[^/]*\\.ya?ml$'",
        "LOCK": "" if _has_locks(folder / recipes) else "#",
    }
    values = shared(values, branch) if is_shared(folder) else unshared(values)
    texts = {
        WORKFLOWS / "modelbuild.yml": rendered("modelbuild.yml", values),
        WORKFLOWS / "modelbuild-comment.yml": rendered("modelbuild-comment.yml", values),
    }
    if not (folder / HOOKS).exists():
        texts[HOOKS] = rendered("pre-commit-config.yaml", values)
    taken = [str(path) for path in texts if (folder / path).exists() or (folder / path).is_symlink()]
    if taken:
        raise _refused(f"{' and '.join(taken)}: already there", "move it away to have it written anew")
    for path, text in texts.items():
        try:
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            with (folder / path).open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise _refused(f"{path} cannot be written: {error.strerror}", "check the folder") from error
    return list(texts)


def _needs(folder: Path) -> dict[str, str]:
    """What is installed for these recipes, and how a build is called that has all of it.

    TensorRT-RTX builds on any machine, so that an engine that is skipped is a mistake there. TensorRT wants
    a GPU.
    """
    backends = {engine.backend for recipe in _readable(folder) for engine in recipe.engines}
    extras = [_EXTRAS[backend] for backend in sorted(backends)]
    only_here = "tensorrt" in backends
    return {
        "EXTRAS": ",".join(["cpu", *extras, "report"]),
        "ENGINES": " --require-engines" if backends and not only_here else "",
        "GPU": _ON_A_GPU if only_here else "",
    }


def _readable(folder: Path) -> Iterator[Recipe]:
    """The recipes of a folder, but those with mistakes, of which `check` tells."""
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if is_recipe(path):
                with contextlib.suppress(RecipeError):
                    yield load(path)


def _at_the_root(folder: Path) -> None:
    try:
        root = Repository.at(folder).root
    except RecipeError:
        return  # it will become one
    if root != folder.resolve():
        raise _refused(
            f"workflows belong into the root of the repository, and this is a folder in {root}",
            f"cd {root}",
        )


def _has_recipes(folder: Path) -> bool:
    try:
        found = [path for path in folder.iterdir() if is_recipe(path)]
        return any(_MODEL.search(path.open("rb").read(_ENOUGH)) for path in found)
    except OSError:
        return False


def _has_locks(folder: Path) -> bool:
    try:
        return any(path.name.endswith(LOCKS) for path in folder.iterdir())
    except OSError:
        return False


def _branch(folder: Path) -> str:
    """The branch that pull requests go into, as far as this clone knows."""
    for place in ("refs/remotes/origin/HEAD", "HEAD"):
        try:
            head = (folder / ".git" / place).read_text(encoding="utf-8")
        except (OSError, ValueError):
            continue
        match = re.fullmatch(r"ref: refs/(?:remotes/origin|heads)/([\w./-]+)\s*", head)
        if match and (place != "HEAD" or match[1] in ("main", "master", "trunk", "develop")):
            return match[1]
    return "main"


def _refused(said: str, hint: str) -> RecipeError:
    return RecipeError(Diagnostic("recipe-invalid", said, hint))
