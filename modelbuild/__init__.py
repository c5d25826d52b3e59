"""modelbuild: PyTorch models into proven ONNX files and TensorRT engines, incrementally.

The commands as functions: ``build``, ``check``, ``verify`` and ``inspect``. They print nothing, and
answer what ``--format json`` says as typed values. What is wrong with a
recipe, and a step that fails, is in the result, whose ``ok`` is then False; a path that names no
recipe raises ``RecipeError``.

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
    from typing import Any

    from modelbuild.errors import (
        Diagnostic,
        ModelbuildError,
        ProofError,
        RecipeError,
        StepError,
        ToolchainError,
    )
    from modelbuild.results import ArtifactResult, BuildResult, RecipeResult

    __version__: str
    Place = str | os.PathLike[str]

__all__ = [
    "ArtifactResult",
    "BuildResult",
    "Diagnostic",
    "ModelbuildError",
    "ProofError",
    "RecipeError",
    "RecipeResult",
    "StepError",
    "ToolchainError",
    "__version__",
    "build",
    "check",
    "inspect",
    "verify",
]

_RESULTS = ("ArtifactResult", "BuildResult", "RecipeResult")


def build(
    recipes: Place | Sequence[Place],
    out: Place = "build",
    cache_dir: Place | None = None,
    jobs: int = 0,
    keep_going: bool = False,
    dry_run: bool = False,
    force: bool = False,
    only: str | None = None,
    require_engines: bool = False,
    write_back: bool = False,
) -> BuildResult:
    """Build what is not fresh, as ``modelbuild build`` does.

    ``recipes`` are files, folders or globs; ``jobs`` 0 is as many as there are cores. After Ctrl-C
    the children are gone and the result is marked ``interrupted``.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
    """
    from modelbuild.request import Request

    request = Request(
        _texts(recipes), _path(out), _path(cache_dir) if cache_dir is not None else None, jobs,
        keep_going, dry_run, force, only, require_engines, write_back=write_back,
    )  # fmt: skip
    return _run(request)


def verify(
    recipes: Place | Sequence[Place],
    out: Place = "build",
    cache_dir: Place | None = None,
    jobs: int = 0,
    only: str | None = None,
) -> BuildResult:
    """Measure the published artifacts in ``out`` against PyTorch again, as ``modelbuild verify`` does.

    Raises:
        RecipeError: a path or ``only`` names nothing.
    """
    from modelbuild.request import Request

    cache = _path(cache_dir) if cache_dir is not None else None
    request = Request(_texts(recipes), _path(out), cache, jobs, only=only, measure=True)
    return _run(request)


def check(recipes: Place | Sequence[Place]) -> BuildResult:
    """Everything that can be wrong without running the model's code.

    Raises:
        RecipeError: a path names no recipe. What is wrong in a recipe is in the result.
    """
    from modelbuild import building

    return building.check(_texts(recipes))


def inspect(path: Place) -> dict[str, Any]:
    """What is in an ONNX file or an engine, as ``modelbuild inspect --format json`` says it.

    Raises:
        ModelbuildError: the file is missing, broken, or of another kind.
    """
    from modelbuild import inspection

    return inspection.inspect_file(_path(path))


def _run(request: Any) -> BuildResult:
    from modelbuild import building
    from modelbuild.report.progress import Silent

    return building.build(request, Silent())


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
    if name in _RESULTS:
        from modelbuild import results

        return getattr(results, name)
    if name in __all__:
        from modelbuild import errors

        return getattr(errors, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
