"""What a command was asked for, and the runs that come of it: recipes found, read and planned."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from modelbuild.base.catalogue import EXIT_USAGE
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.escaping import line
from modelbuild.base.results import RecipeResult
from modelbuild.building.scheduling.judging import unreachable
from modelbuild.building.scheduling.runs import RemoteCache, Run
from modelbuild.changes import selecting
from modelbuild.machine import cores, home, toolchain
from modelbuild.plan.actions import Plan
from modelbuild.plan.planning import plan
from modelbuild.recipe.finding import find
from modelbuild.recipe.loading import load
from modelbuild.recipe.schema import Recipe
from modelbuild.remote.configured import configured
from modelbuild.remote.reading import Reader
from modelbuild.state.recalling import Recall
from modelbuild.store import Store
from modelbuild.wording.phrases import did_you_mean
from modelbuild.worker.jobs import Surroundings


@dataclass(frozen=True)
class Request:
    """What the command line asked for."""

    recipes: Sequence[str]
    out: Path = Path("build")
    cache_dir: Path | None = None
    jobs: int = 0  # 0: as many as there are cores
    keep_going: bool = False
    force: bool = False
    only: str | None = None
    require_engines: bool = False
    write_back: bool = False  # put the nodes that a search kept in fp32 into the recipe
    lock: bool = False  # write what was built into the lock file beside the recipe
    locked: bool = False  # publish nothing but what the lock file says
    in_process: str | None = None  # the action that runs in this process, and not in a child
    changed_since: str | None = None  # a git revision: only what a change since then can touch
    remote: str = "read"  # or off: whether a remote cache that the project file names is asked
    require_remote: bool = False  # without one that answers, nothing is done

    def __post_init__(self) -> None:
        if self.remote not in ("off", "read"):
            raise ValueError(f"remote is 'off' or 'read', not {self.remote!r}")

    def job_count(self) -> int:
        return self.jobs or cores.available()

    def store(self) -> Store:
        return Store((self.cache_dir or home.default_root()).absolute())

    def reader(self, store: Store) -> Reader | None:
        """Of the remote cache that the working folder's project file names; None if nothing is to be asked.

        Raises:
            RecipeError: what it says of one is wrong.
            Unreachable: it names none, and one is required.
        """
        if self.remote == "off":
            return None
        found = configured(Path.cwd())
        if found is None and self.require_remote:
            raise unreachable("the project file names no remote cache")
        return None if found is None else Reader(found, store)


@dataclass(frozen=True)
class Loaded:
    """The recipes of a request: read, wrong (``broken``), or with nothing to do (``idle``)."""

    paths: Sequence[Path]
    recipes: Sequence[tuple[Path, Recipe]]
    broken: Sequence[RecipeResult] = ()
    idle: Sequence[RecipeResult] = ()
    notes: Mapping[str, Diagnostic] = field(default_factory=dict)  # what there is to say of one, by its path

    def in_order(self, results: Iterable[RecipeResult]) -> tuple[RecipeResult, ...]:
        """These results and those of the other recipes, as they were asked for."""
        place = {str(p): i for i, p in enumerate(self.paths)}
        every = [_noted(r, self.notes) for r in (*results, *self.broken, *self.idle)]
        return tuple(sorted(every, key=lambda r: place.get(r.recipe, 0)))


def loaded(request: Request) -> Loaded:
    """Find and read every recipe, but those with nothing to do.

    Raises:
        RecipeError: a path names nothing, or two recipes would write into one folder.
    """
    paths, notes = meant(request)
    return _beside(_idle(request, paths), paths, notes)


def read(request: Request) -> Loaded:
    """Find and read every recipe, also those with nothing to do: their actions are asked for.

    Raises:
        RecipeError: as ``loaded``.
    """
    return _beside({}, *meant(request))


def _beside(
    idle: Mapping[str, RecipeResult], paths: Sequence[Path], notes: Mapping[str, Diagnostic]
) -> Loaded:
    """These recipes, read, but for those that are known to have nothing to do.

    Raises:
        RecipeError: two of them would write into one folder.
    """
    good, broken = [], []
    for path in paths:
        if str(path) in idle:
            continue
        recipe, result = checked(path)
        if recipe is None:
            broken.append(result)
        else:
            good.append((path, recipe))
    names: dict[str, str] = {}
    for place, name in [*((p, r.name) for p, r in idle.items()), *((str(p), r.name) for p, r in good)]:
        if name in names:
            raise RecipeError(
                Diagnostic(
                    "recipe-invalid",
                    f"{place} and {names[name]} both have the name `{name}`, and would write into one folder",
                    "give one of them another `name`",
                )
            )
        names[name] = place
    return Loaded(paths, good, broken, list(idle.values()), notes)


def meant(request: Request) -> tuple[Sequence[Path], Mapping[str, Diagnostic]]:
    """The recipes that a request is about, and what there is to say of some, by their paths.

    Raises:
        RecipeError: a path names nothing, or git cannot tell what has changed.
    """
    paths = find(request.recipes)
    if request.changed_since is None:
        return paths, {}
    chosen = selecting.touched(paths, request.changed_since, request.store(), request.out)
    return chosen.paths, chosen.notes


def _noted(result: RecipeResult, notes: Mapping[str, Diagnostic]) -> RecipeResult:
    note = notes.get(result.recipe)
    return result if note is None else replace(result, diagnostics=(*result.diagnostics, note))


def _idle(request: Request, paths: Sequence[Path]) -> dict[str, RecipeResult]:
    """The last answers of the recipes with nothing to do: a change in one of a thousand recipes
    must not cost the reading of all the others."""
    everything = request.force or request.only or request.in_process
    if everything or request.write_back or request.lock or request.locked:
        return {}
    recall = Recall(str(request.store().root), str(request.out.absolute()), os.getcwd())
    found = {}
    for path in paths:
        known = recall.known(str(path.absolute()))
        if known is None or (known.counts[1] and request.require_engines):
            continue
        answer = recall.answer(known, str(path), str(request.out))
        if answer is not None:
            found[str(path)] = RecipeResult.from_json(answer).retold()
    return found


def with_runtime(results: list[RecipeResult]) -> list[RecipeResult]:
    """With a word on what runs the files, once for a command, where that is wrong."""
    if not results or not (doubled := toolchain.doubled_runtime()):
        return results
    said = Diagnostic("runtime-doubled", doubled, level="warning")
    first, *rest = results
    return [replace(first, diagnostics=(*first.diagnostics, said)), *rest]


def with_remote(results: Sequence[RecipeResult], remote: RemoteCache | None) -> list[RecipeResult]:
    """With what there is to say of the remote cache, once for a command."""
    if not results or remote is None:
        return list(results)
    first, *rest = results
    return [replace(first, diagnostics=(*first.diagnostics, *remote.said())), *rest]


def checked(path: Path) -> tuple[Recipe | None, RecipeResult]:
    """The recipe in a file, or what is wrong with it."""
    try:
        recipe = load(path)
    except RecipeError as error:
        result = RecipeResult(str(path), path.stem, "failed", error.diagnostics, exit_code=EXIT_USAGE)
        return None, result
    return recipe, RecipeResult(str(path), recipe.name, "ok")


def runs(request: Request, recipes: Loaded, store: Store) -> list[Run]:
    """A run for each recipe: all of its artifacts, or those that the request wants.

    Raises:
        RecipeError: ``only`` matches nothing, or no one action is the one to run in this process.
    """
    made = [_run(request, path, todo, store) for path, todo in _planned(request, recipes)]
    _must_match(request, recipes, made)
    if request.in_process is not None:
        _is_one(request.in_process, made)
    return made


def measuring(request: Request, recipes: Loaded, store: Store) -> list[Run]:
    """A run for each recipe that measures its published files, or those that the request wants, again.

    Raises:
        RecipeError: ``only`` matches nothing, or nothing that could be measured is published.
    """
    made = []
    unpublished: set[str] = set()
    for path, todo in _planned(request, recipes):
        folder = request.out / todo.recipe.name
        todo = todo.measuring(folder.absolute())
        absent = {a.name for a in todo.artifacts if not (folder / a.name).is_file()}
        todo = todo.only(lambda a, absent=absent: a.name not in absent)  # type: ignore[misc]
        unpublished |= absent
        made.append(_run(request, path, todo, store))
    if unpublished and not any(r.plan.artifacts for r in made):
        raise _nothing_to_measure(request.out, sorted(unpublished))
    _must_match(request, recipes, made)
    return made


def _planned(request: Request, recipes: Loaded) -> Iterator[tuple[Path, Plan]]:
    """What there is to do for the artifacts of each recipe that the request wants."""
    device = toolchain.gpu() if any(r.engines for _, r in recipes.recipes) else None
    for path, recipe in recipes.recipes:
        todo = plan(recipe, gpu=device.target if device else None)
        if request.only:
            todo = todo.only(lambda a: fnmatch.fnmatch(a.name, str(request.only)))
        yield path, todo


def _run(request: Request, path: Path, todo: Plan, store: Store) -> Run:
    around = Surroundings(path.absolute().parent, Path.cwd(), store.root, request.out.absolute())
    return Run(todo, str(path), around, str(path.absolute()))


def _must_match(request: Request, recipes: Loaded, made: Sequence[Run]) -> None:
    if request.only and request.changed_since is None and not any(r.plan.artifacts for r in made):
        raise _nothing_matches(request, [plan(r) for _, r in recipes.recipes])


def _is_one(action: str, runs: Sequence[Run]) -> None:
    """One action runs in this process, of one recipe.

    Raises:
        RecipeError: none has this name, or several recipes have one.
    """
    having = [run.path for run in runs if action in run.actions]
    names = list(dict.fromkeys(a for run in runs for a in run.actions))
    if not having:
        hint = did_you_mean(action, names, f"there are {', '.join(names)}")
        raise RecipeError(Diagnostic("recipe-invalid", f"no action is called `{line(action)}`", hint))
    if len(having) > 1:
        said = f"`{action}` is an action of {having[0]} and {having[1]}: one runs in this process"
        raise RecipeError(Diagnostic("recipe-invalid", said, "name one recipe"))


def _nothing_matches(request: Request, plans: Iterable[Plan]) -> RecipeError:
    names = ", ".join(a.name for p in plans for a in p.artifacts)
    return RecipeError(
        Diagnostic("recipe-invalid", f"no artifact matches `{line(str(request.only))}`", f"there are {names}")
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
