"""modelbuild: PyTorch models into proven ONNX files and TensorRT engines, incrementally.

The commands as functions: ``build``, ``status``, ``why``, ``verify``, ``check``, ``diff``, ``audit`` and
``inspect``; ``resolve`` is ``check --resolved``. They print nothing, and answer what ``--format json``
says as typed values. What is wrong with a recipe, and a step that fails, is in the result, whose ``ok``
is then False; a path that names no recipe raises ``RecipeError``. Where ``out``, ``cache_dir`` and
``jobs`` are left out, the environment and the project file say what they are, as for the command line.

    result = modelbuild.build("configs/resnet50.yaml")
    for artifact in result.recipes[0].artifacts:
        print(artifact.name, artifact.status, artifact.path)

Importing this package imports nothing else: every command line starts with it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # what typing says, without the 10 ms that importing it takes
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from typing import Any, Literal

    from modelbuild.base.errors import (
        Diagnostic,
        ModelbuildError,
        ProofError,
        RecipeError,
        StepError,
        ToolchainError,
    )
    from modelbuild.base.results import ArtifactResult, BuildResult, RecipeResult
    from modelbuild.building.explaining import Because, Why
    from modelbuild.building.request import Request
    from modelbuild.changes.review.values import RecipeReview, Review
    from modelbuild.views.reporting import Written

    __version__: str
    Place = str | os.PathLike[str]

__all__ = [
    "ArtifactResult",
    "Because",
    "BuildResult",
    "Diagnostic",
    "ModelbuildError",
    "ProofError",
    "RecipeError",
    "RecipeResult",
    "RecipeReview",
    "Review",
    "StepError",
    "ToolchainError",
    "Why",
    "Written",
    "__version__",
    "audit",
    "build",
    "check",
    "diff",
    "inspect",
    "report",
    "resolve",
    "status",
    "verify",
    "why",
]

_HOMES = {
    **dict.fromkeys(("ArtifactResult", "BuildResult", "RecipeResult"), "modelbuild.base.results"),
    **dict.fromkeys(("Because", "Why"), "modelbuild.building.explaining"),
    "Written": "modelbuild.views.reporting",
    **dict.fromkeys(("RecipeReview", "Review"), "modelbuild.changes.review.values"),
}  # of the types; the others are errors


def build(
    recipes: Place | Sequence[Place],
    out: Place | None = None,
    cache_dir: Place | None = None,
    jobs: int = 0,
    keep_going: bool = False,
    dry_run: bool = False,
    force: bool = False,
    only: str | None = None,
    require_engines: bool = False,
    write_back: bool = False,
    lock: bool = False,
    locked: bool = False,
    changed_since: str | None = None,
    remote: Literal["off", "read"] = "read",
    require_remote: bool = False,
) -> BuildResult:
    """Build what is not fresh, as ``modelbuild build`` does.

    ``recipes`` are files, folders or globs; ``jobs`` 0 is as many as there are cores. ``lock``
    writes the lock files, ``locked`` publishes nothing that differs from them. ``changed_since`` is a
    git revision: only what a change since then can touch is built. ``remote`` says whether the remote
    cache is asked that the project file names; it has to answer with ``require_remote``. After Ctrl-C the
    children are gone and the result is marked ``interrupted``.

    Raises:
        RecipeError: a path or ``only`` names nothing, two recipes have one name, ``lock`` comes
            with ``dry_run`` or ``only``, or a lock file to hold to is missing or damaged.
        ToolchainError: ``require_remote``, and there is no remote cache that answers.
    """
    request = _request(
        recipes, out, cache_dir, jobs=jobs, keep_going=keep_going, force=force, only=only,
        require_engines=require_engines, write_back=write_back, lock=lock, locked=locked,
        changed_since=changed_since, remote=remote, require_remote=require_remote,
    )  # fmt: skip
    from modelbuild.building import builds
    from modelbuild.building.scheduling.runs import Silent

    return (builds.foresee if dry_run else builds.build)(request, Silent())


def status(
    recipes: Place | Sequence[Place],
    out: Place | None = None,
    cache_dir: Place | None = None,
    only: str | None = None,
    changed_since: str | None = None,
    remote: Literal["off", "read"] = "read",
    require_remote: bool = False,
) -> BuildResult:
    """Each artifact ``fresh``, ``remote`` or ``stale``, and why, as ``modelbuild status`` says; nothing is
    run. ``remote`` and ``require_remote`` are as for ``build``.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
        ToolchainError: ``require_remote``, and there is no remote cache that answers.
    """
    _supported()
    from modelbuild.building import explaining
    from modelbuild.building.scheduling.runs import Silent

    request = _request(
        recipes, out, cache_dir, only=only, changed_since=changed_since, remote=remote,
        require_remote=require_remote,
    )  # fmt: skip
    return explaining.status(request, Silent())


def why(
    artifact: str,
    recipes: Place | Sequence[Place],
    out: Place | None = None,
    cache_dir: Place | None = None,
    remote: Literal["off", "read"] = "read",
    require_remote: bool = False,
) -> Why:
    """What moved since an artifact was built, and every fact of the keys behind it; nothing is run.
    ``remote`` and ``require_remote`` are as for ``build``.

    Raises:
        RecipeError: a recipe is wrong, or none of them makes such an artifact.
        ToolchainError: ``require_remote``, and there is no remote cache that answers.
    """
    _supported()
    from modelbuild.building import explaining
    from modelbuild.building.scheduling.runs import Silent

    request = _request(recipes, out, cache_dir, remote=remote, require_remote=require_remote)
    return explaining.why(artifact, request, Silent())


def verify(
    recipes: Place | Sequence[Place],
    out: Place | None = None,
    cache_dir: Place | None = None,
    jobs: int = 0,
    only: str | None = None,
) -> BuildResult:
    """Measure the published artifacts in ``out`` against PyTorch again, as ``modelbuild verify`` does.

    Raises:
        RecipeError: a path or ``only`` names nothing.
    """
    request = _request(recipes, out, cache_dir, jobs=jobs, only=only)
    from modelbuild.building import builds
    from modelbuild.building.scheduling.runs import Silent

    return builds.verify(request, Silent())


def check(
    recipes: Place | Sequence[Place],
    out: Place | None = None,
    cache_dir: Place | None = None,
    locked: bool = False,
    changed_since: str | None = None,
) -> BuildResult:
    """Everything that can be wrong without running the model's code.

    ``locked`` asks also whether each lock file is of its recipe and of the files that are there. ``out`` is
    where a build would write; the cache is looked at only with ``changed_since``, a git revision.

    Raises:
        RecipeError: a path names no recipe, or there is no such revision. What is wrong in a recipe
            is in the result.
    """
    _supported()
    from modelbuild.building import checking

    return checking.check(_request(recipes, out, cache_dir, locked=locked, changed_since=changed_since))


def diff(
    base: str,
    head: str | None = None,
    paths: Place | Sequence[Place] = (),
    out: Place | None = None,
    cache_dir: Place | None = None,
) -> Review:
    """What a change means for the recipes, as ``modelbuild diff`` says; nothing is run.

    ``base`` and ``head`` are git revisions of the repository that the working folder is in; without
    ``head``, ``base`` is compared with the working tree. ``paths`` are recipes and folders. What
    rebuilds last took is looked for in ``cache_dir`` and ``out``.

    Raises:
        RecipeError: there is no such revision or path, or the change is too large to be looked at.
            What is wrong in a recipe is in the result.
    """
    _supported()
    from modelbuild.changes.review import asking, reviewing

    places = [None if place is None else _path(place) for place in (out, cache_dir)]
    return reviewing.review(asking.ReviewRequest(base, head, _texts(paths), _path("."), *places))


def resolve(recipe: Place) -> dict[str, Any]:
    """A recipe's data with every default in it, those of the project file too: a recipe itself.

    Raises:
        RecipeError: the recipe or the project file is wrong.
    """
    _supported()
    from modelbuild.recipe.resolving import resolve

    return resolve(_path(recipe)).data()


def audit(recipes: Place | Sequence[Place]) -> BuildResult:
    """Reads that no key sees, found under a tracer: each is an ``undeclared-read`` in the result.

    Raises:
        RecipeError: a path names no recipe.
        ToolchainError: there is no tracer, or it may not trace here.
    """
    _supported()
    from modelbuild.setup import auditing

    return auditing.audit(_texts(recipes))


def report(
    path: Place,
    recipes: Place | Sequence[Place] = (),
    out: Place | None = None,
    cache_dir: Place | None = None,
    remote: Literal["off", "read"] = "read",
    require_remote: bool = False,
) -> Written:
    """Write an HTML file about these recipes, or all in ``out``, as ``modelbuild report`` does.
    ``remote`` and ``require_remote`` are as for ``build``.

    Raises:
        RecipeError: a path names nothing, two recipes have one name, or nothing was built.
        ToolchainError: the extra ``report`` is not installed, or ``require_remote``, and there is no remote
            cache that answers.
        ModelbuildError: the file cannot be written.
    """
    _supported()
    from modelbuild.building.scheduling.runs import Silent
    from modelbuild.views import reporting

    request = _request(recipes, out, cache_dir, remote=remote, require_remote=require_remote)
    return reporting.write(request, _path(path), Silent())


def inspect(path: Place, *, nodes: bool = False) -> dict[str, Any]:
    """What is in an ONNX file or an engine, as ``modelbuild inspect --format json`` says it.

    ``nodes`` lists every node of an ONNX file, too.

    Raises:
        ModelbuildError: the file is missing, broken, or of another kind.
    """
    _supported()
    from modelbuild import inspection

    return inspection.inspect_file(_path(path), nodes=nodes)


def _request(
    recipes: Place | Sequence[Place], out: Place | None, cache_dir: Place | None, **more: Any
) -> Request:
    _supported()
    from modelbuild.building.request import Request
    from modelbuild.building.settling import settled

    asked = {"out": out, "cache_dir": cache_dir, "jobs": more.pop("jobs", 0) or None}
    known = settled(asked)
    return Request(_texts(recipes), _path(known["out"]), _path(known["cache_dir"]), known["jobs"], **more)


def _supported() -> None:
    from modelbuild.machine import system

    system.required()


def _texts(recipes: Place | Sequence[Place]) -> tuple[str, ...]:
    import os

    if isinstance(recipes, str | os.PathLike):
        return (os.fspath(recipes),)
    return tuple(os.fspath(r) for r in recipes)


def _path(place: Place) -> Any:
    from pathlib import Path

    return Path(place)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("modelbuild")
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_HOMES.get(name, "modelbuild.base.errors")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
