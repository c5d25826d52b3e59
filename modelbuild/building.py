"""From recipes to results: load, plan, schedule, sum up. The functions behind the commands."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelbuild import cores, state, toolchain, writing_back
from modelbuild.errors import EXIT_USAGE, Diagnostic, RecipeError
from modelbuild.plan import Plan, plan
from modelbuild.publishing import MANIFEST, Publisher
from modelbuild.recipe.finding import find
from modelbuild.recipe.loading import load
from modelbuild.recipe.schema import Recipe
from modelbuild.results import GOOD, BuildResult, RecipeResult
from modelbuild.scheduler import Options, Reporter, Run, Scheduler
from modelbuild.store import Store
from modelbuild.worker.jobs import Surroundings


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    recipes: Sequence[str]
    out: Path = Path("build")
    cache: Path | None = None
    jobs: int = 0  # 0: as many as there are cores
    keep_going: bool = False
    dry_run: bool = False
    force: bool = False
    only: str | None = None
    require_engines: bool = False
    measure: bool = False  # verify: compare the published files again, build nothing
    write_back: bool = False  # put the nodes that a search kept in fp32 into the recipe

    def job_count(self) -> int:
        return self.jobs or cores.available()


def build(request: Request, reporter: Reporter) -> BuildResult:
    """Build (or with ``dry_run`` judge, or with ``measure`` compare) every recipe.

    Without ``keep_going`` a recipe that is wrong stops all of them before anything is built; with
    it the others are built. A step that fails never stops what does not need it.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
    """
    started = state.now()
    texts = writing_back.loaded(_paths(request)) if request.write_back else {}
    loaded, broken = _load(request)
    if broken and not request.keep_going:
        return BuildResult(tuple(broken))
    cache = (request.cache or state.default_root()).absolute()
    store = Store(cache)
    out = request.out
    device = toolchain.gpu() if any(r.engines for _, r in loaded) else None
    gpu = device.target if device else None
    runs = []
    unpublished: set[str] = set()
    for path, recipe in loaded:
        todo = plan(recipe, gpu=gpu)
        if request.only:
            todo = todo.only(lambda a: fnmatch.fnmatch(a.name, str(request.only)))
        if request.measure:
            todo = todo.measuring((out / recipe.name).absolute())
            absent = {a.name for a in todo.artifacts if not (out / recipe.name / a.name).is_file()}
            todo = todo.only(lambda a, absent=absent: a.name not in absent)  # type: ignore[misc]
            unpublished |= absent
        base = path.absolute().parent
        around = Surroundings(base, Path.cwd(), cache, out.absolute())
        runs.append(Run(todo, str(path), around, str(path.absolute())))
    if unpublished and not any(r.plan.artifacts for r in runs):
        raise _nothing_to_measure(out, sorted(unpublished))
    if request.only and not any(r.plan.artifacts for r in runs):
        raise _nothing_matches(request, [plan(r) for _, r in loaded])
    publisher = Publisher(store, request.out, request.dry_run, request.measure)
    options = Options(request.job_count(), request.dry_run, request.force, request.require_engines)
    scheduler = Scheduler(runs, store, options, reporter, publisher.publish)
    interrupted = False
    try:
        scheduler.run()
    except KeyboardInterrupt:
        interrupted = True
    if not request.dry_run and not request.measure:
        scheduler.remember()
    done = [publisher.result(run) for run in runs]
    if interrupted:
        done = [
            r if run.all_ended() else replace(r, status="failed") for run, r in zip(runs, done, strict=True)
        ]
    if not request.dry_run and not request.measure and not interrupted:
        for run, result in zip(runs, done, strict=True):
            publisher.write_manifest(run, result)
            if not request.only:
                _keep(cache, run, result, out, started)
    if request.write_back and not (interrupted or request.dry_run):
        recipes = {str(path): recipe for path, recipe in loaded}
        done = [writing_back.written_back(recipes[r.recipe], r, texts) for r in done]
    order = {str(p): i for i, p in enumerate(_paths(request))}
    everything = sorted([*done, *broken], key=lambda r: order.get(r.recipe, 0))
    return BuildResult(tuple(everything), interrupted)


def _keep(cache: Path, run: Run, result: RecipeResult, out: Path, started: int) -> None:
    """Let the next build answer from stat rows, if this one left nothing to do."""
    if result.exit_code or not all(a.status in (*GOOD, "skipped") for a in result.artifacts):
        return
    base = run.around.base
    names = {n for e in run.ended.values() for n in e.data.get("discovered", {})}
    read = {str(base / n.removeprefix("file ")) for n in names if n.startswith("file ")}
    read |= {str(Path(p).parent) for p in read} | {run.path, str(base), str(run.around.cwd)}
    cached = [
        replace(a, status="cached", reason=None, seconds=0.0) if a.status in GOOD else a
        for a in result.artifacts
    ]
    written = [a.path for a in result.artifacts if a.path]
    written += [p + ".data" for p in written]
    answer = replace(result, artifacts=tuple(cached)).as_json()
    state.keep(cache, run.path, out, answer, read, [*written, str(out / run.name / MANIFEST)], started)


def check(arguments: Sequence[str]) -> BuildResult:
    """Everything that can be wrong without running the model's code."""
    found = [_checked(path) for path in find(arguments)]
    return BuildResult(tuple(r for _, r in found))


def _load(request: Request) -> tuple[list[tuple[Path, Recipe]], list[RecipeResult]]:
    good, broken = [], []
    for path in _paths(request):
        recipe, result = _checked(path)
        if recipe is None:
            broken.append(result)
        else:
            good.append((path, recipe))
    names: dict[str, Path] = {}
    for path, recipe in good:
        if recipe.name in names:
            raise RecipeError(
                Diagnostic(
                    "recipe-invalid",
                    f"{path} and {names[recipe.name]} both have the name `{recipe.name}`, "
                    "and would write into one folder",
                    "give one of them another `name`",
                )
            )
        names[recipe.name] = path
    return good, broken


def _paths(request: Request) -> list[Path]:
    return find(request.recipes)


def _checked(path: Path) -> tuple[Recipe | None, RecipeResult]:
    try:
        recipe = load(path)
    except RecipeError as error:
        result = RecipeResult(str(path), path.stem, "failed", error.diagnostics, exit_code=EXIT_USAGE)
        return None, result
    return recipe, RecipeResult(str(path), recipe.name, "ok")


def _nothing_matches(request: Request, plans: Iterable[Plan]) -> RecipeError:
    names = ", ".join(a.name for p in plans for a in p.artifacts)
    return RecipeError(
        Diagnostic("recipe-invalid", f"no artifact matches `{request.only}`", f"there are {names}")
    )


def _nothing_to_measure(out: Path, names: Sequence[str]) -> RecipeError:
    more = f" or any of {len(names) - 1} more" if len(names) > 1 else ""
    return RecipeError(
        Diagnostic(
            "recipe-invalid",
            f"nothing to verify: {out} has no {names[0]}{more}",
            "`modelbuild build` puts them there; `--out` names another folder",
        )
    )
