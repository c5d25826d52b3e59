"""Whether a lock file was made from its recipe and from the files that are there: no build, no model.

What is looked at is what the lock file says: a digest of what the recipe means, names, opset and
tolerances as the recipe has them, and the digests of files.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from modelbuild import lockfile
from modelbuild.base import links
from modelbuild.base.catalogue import EXIT_STEP_FAILED, EXIT_USAGE
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.keys import digest
from modelbuild.base.results import RecipeResult
from modelbuild.git import Repository
from modelbuild.lockfile.naming import FAR, outlined, shortened
from modelbuild.lockfile.values import OUTLINE, Lock
from modelbuild.plan.actions import Plan
from modelbuild.plan.planning import plan
from modelbuild.recipe.problems import clean
from modelbuild.recipe.schema import DEFAULT_OPSET, Recipe
from modelbuild.trace import facts
from modelbuild.trace.outline import outline
from modelbuild.wording.phrases import few

_LARGEST_SOURCE = 1 << 24

_MOST = 8  # differences in one message

Inside = Callable[[str], bool]


def agreed(path: Path, recipe: Recipe, told: RecipeResult) -> RecipeResult:
    """``told`` of a recipe, and what is wrong with its lock file if something is.

    Files are read within the recipe's repository, or else within its folder.
    """
    lock, base = lockfile.place(path), path.absolute().parent
    try:
        root = str(Repository.at(base).root)
    except RecipeError:
        root = os.path.realpath(base)
    try:
        if lock.is_symlink() and not links.leads_into(str(lock.absolute()), root):
            raise RecipeError(
                Diagnostic("lock-invalid", "the lock file is a link that leads elsewhere",
                           "put the file itself there", str(lock))
            )  # fmt: skip
        held = lockfile.load(lock)
    except RecipeError as error:
        missing = all(d.code == "lock-missing" for d in error.diagnostics)
        return _failed(told, error.diagnostics, EXIT_STEP_FAILED if missing else EXIT_USAGE)
    said = disagreements(held, plan(recipe), base, lambda place: links.leads_into(place, root))
    if not said:
        return told
    found = Diagnostic(
        "lock-mismatch",
        f"the lock file is not of this recipe and these files: {few(said, _MOST, '; ')}",
        "`modelbuild build --lock` writes the new one, to be reviewed",
        str(lock),
    )
    return _failed(told, (found,), EXIT_STEP_FAILED)


def _failed(told: RecipeResult, diagnostics: tuple[Diagnostic, ...], code: int) -> RecipeResult:
    return replace(told, status="failed", diagnostics=(*told.diagnostics, *diagnostics), exit_code=code)


def disagreements(lock: Lock, planned: Plan, base: Path, inside: Inside) -> list[str]:
    """Where a lock file says something else than its recipe or the files of today, in words.

    ``base`` is the recipe's folder. Only files whose absolute path is ``inside`` are read.
    """
    return [clean(said, 200) for said in (*_recipe(lock, planned), *_files(lock, base, inside))]


def definition(recipe: Recipe) -> str:
    """A digest of what a recipe means. A key that a later modelbuild knows, at its default, is not in it."""
    data = recipe.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    if recipe.model.onnx is None and recipe.effective_opset == DEFAULT_OPSET:
        data.pop("opset", None)
    for knobs in data.get("precision", {}).values():  # lists of which no build sees the order
        for key in {"op_block_list", "node_block_list"} & set(knobs or ()):
            knobs[key] = knobs[key] and sorted(set(knobs[key]))
    return shortened(digest({"recipe": data, "order": list(recipe.inputs)}))


def named(name: str) -> str:
    """A file's name without the number that tells it from another of its name."""
    return re.sub(r" \(\d+\)$", "", name)


def _recipe(lock: Lock, planned: Plan) -> Iterator[str]:
    recipe = planned.recipe
    if lock.recipe != recipe.name:
        yield f"recipe {lock.recipe} -> {recipe.name}"
    made: dict[str, list[str]] = {"onnx": [], "engine": []}
    for artifact in planned.artifacts:
        made[artifact.kind].append(artifact.name)
    held: Mapping[str, Mapping[str, object]] = {"onnx": lock.onnx, "engine": lock.engines}
    for kind, names in made.items():
        yield from (f"{name} is not in the lock file" for name in names if name not in held[kind])
        yield from (f"{name} is in the lock file alone" for name in held[kind] if name not in names)
    steps = {action.id: action.step for action in planned.actions}
    said = []
    for artifact in planned.artifacts:
        row = lock.onnx.get(artifact.name) if artifact.kind == "onnx" else None
        if row is None:
            continue
        asked = recipe.effective_opset
        raised = artifact.precision == "bf16" and row.opset > asked  # as far as its operators need
        if planned.source is not None and row.opset != asked and not raised:
            said.append(f"opset {row.opset} -> {asked}")
        tolerance = str(getattr(steps[artifact.proof or ""], "tolerance", row.tolerance))
        if row.tolerance is not None and row.tolerance != tolerance:
            said.append(f"{artifact.name}: tolerance {row.tolerance} -> {tolerance}")
    yield from dict.fromkeys(said)
    if lock.definition is not None and lock.definition != definition(recipe):
        yield "the recipe is another one"


def _files(lock: Lock, base: Path, inside: Inside) -> Iterator[str]:
    contents = set(lock.files.values())
    for name, value in lock.files.items():
        path = os.path.join(base, named(name))
        if name.startswith(FAR) or name.endswith("/*") or name == "*" or not inside(path):
            continue
        now = _digest(path, value, lock)
        if now is None:
            if not os.path.lexists(path):
                yield f"{name} is in the lock file, and not there"
        elif now != value and not (named(name) != name and now in contents):
            yield f"{name} changed"


def _digest(path: str, value: str, lock: Lock) -> str | None:
    """A file's digest, of the kind that the lock file has; None where that cannot be said."""
    if not value.startswith(OUTLINE):
        return facts.file_digest(path)
    if lock.toolchain.get("python") != f"{sys.version_info.major}.{sys.version_info.minor}":
        return None  # each Python outlines a source in its own way
    try:
        if not os.path.isfile(path) or os.path.getsize(path) > _LARGEST_SOURCE:
            return None
        found = outline(Path(path).read_bytes())
    except OSError:
        return None
    return None if found is None else outlined(found)
