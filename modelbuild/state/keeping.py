"""Write down what a build saw, so that the next one can be answered in milliseconds.

A row may stand for a fact only if what it is the row of cannot have changed since the fact was read.
So the facts are looked at once more, now with their rows; those that would cost much, of large files,
count as they are if nothing was written since shortly before the build began. Else they get a row that
nothing is ever equal to, and the next build looks.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from modelbuild import settings
from modelbuild.base import globs, stat_rows
from modelbuild.base.errors import RecipeError
from modelbuild.base.results import GOOD
from modelbuild.recipe import defaults, files
from modelbuild.recipe.loading import load
from modelbuild.state import format as state
from modelbuild.state.refreshing import Doubts
from modelbuild.trace import facts, kinds
from modelbuild.wording import totals

if TYPE_CHECKING:
    from modelbuild.base.results import RecipeResult
    from modelbuild.recipe.schema import Recipe

# Larger files are not read again at the end of a build (this takes 4 ms).
_SMALL = 1 << 22
# Between the two clocks, over a whole build: by this much the one on the wall may have been set back.
_SET_BACK = 5_000_000
# There while a GPU's driver is loaded, and made anew when it is loaded again.
_DRIVER = "/dev/nvidiactl"
_DEVICES = ("CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH")  # whether there is a GPU, and a library for it


def keep(
    cache: Path,
    recipe: Path,
    given: str,
    out: Path,
    result: RecipeResult,
    read: Iterable[tuple[str, str | None]],
    published: Mapping[Path, str],
    meant: Recipe,
    started: tuple[int, int],
) -> None:
    """Keep the answer ``result`` of a build that left nothing to do, if it can be trusted.

    ``read`` are the facts that it came from, relative to the folder of ``recipe``, which the command
    named ``given``. ``published`` are the files it gave, with their SHA-256 (hex). ``meant`` is what was
    built: what its patterns match now must have been read, and the recipe must still mean it, with the
    project file above. ``started`` is ``stat_rows.now()`` before the recipe was loaded.

    Nothing is kept, and nothing said, where the cache cannot be written: the next build takes the
    slow path.
    """
    wall, steady = (n - s for n, s in zip(stat_rows.now(), started, strict=True))
    program = state.program_rows()
    driver = stat_rows.row(_DRIVER)
    if steady - wall > _SET_BACK or any(stat_rows.young(r.partition("\t")[0], started[0]) for r in program):
        return
    base = recipe.parent
    try:
        projects = _projects(base)
    except RecipeError:
        return
    read = tuple(read)
    patterns = {p: _as_matched(p, base, read, started[0]) for p in _patterns(meant)}
    own = {
        **{kinds.FILE.fact(str(path.absolute())): f"sha256:{sha256}" for path, sha256 in published.items()},
        kinds.FILE.fact(str(recipe)): _as_loaded(recipe, started[0]),
        **{kinds.GLOB.fact(p): matches for p, matches in patterns.items()},
        **projects,
    }
    if None in patterns.values():
        return
    everything = (*((n, v) for n, v in read if n not in own), *own.items())
    variables = {n: v for fact in everything for n, v in kinds.variables(*fact).items()}
    doubts = Doubts({p for n, v in everything for p in kinds.guards(n, v, base) or ()})
    rows: dict[str, str] = {}
    kept: list[state.Fact] = []
    for name, value in everything:
        mine = _rows(name, value, base, started[0], doubts)
        if mine is None:
            return
        if not mine and kinds.variables(name, value):  # these are looked at every time
            continue
        rows.update({p: r if rows.get(p, r) == r else stat_rows.RACY for p, r in mine.items()})
        kept.append((name, value, list(mine)))
    if not _means(recipe, meant):  # asked when the rows are there: they stand for this answer
        return
    if any(a.kind == "engine" for a in result.artifacts):
        if stat_rows.young(driver, started[0]):
            return
        rows[_DRIVER] = driver
        variables = {**{n: os.environ.get(n) for n in _DEVICES}, **variables}
    whose = (str(recipe), str(out.absolute()), os.getcwd())
    if any(c in text for text in (*rows, *whose, given, *variables) for c in "\t\n\0"):
        return
    _write(str(cache), whose, given, result, state.program(program), rows, variables, kept)


def _as_loaded(recipe: Path, started: int) -> str | None:
    """The digest of the recipe's bytes, unless they may have changed since they were loaded."""
    return None if stat_rows.young(stat_rows.row(str(recipe)), started) else facts.file_digest(recipe)


def _patterns(recipe: Recipe) -> tuple[str, ...]:
    return tuple(pattern for route, pattern in files.named(recipe) if files.takes_patterns(route))


def _projects(base: Path) -> dict[str, str | None]:
    """Every place of a project file, up to the one that counts for the recipes of this folder.

    Raises:
        RecipeError: one is wrong by now.
    """
    found: dict[str, str | None] = {}
    for path in settings.candidates(str(base)):
        name, seen = path.removeprefix(f"{base}/"), facts.presence(path)
        if seen == "file":
            found[kinds.FILE.fact(name)] = facts.file_digest(path)
            if defaults.at(path).where:
                break
        else:
            found[(kinds.PRESENT if seen else kinds.ABSENT).fact(name)] = seen
    return found


def _means(path: Path, recipe: Recipe) -> bool:
    try:
        return load(path) == recipe
    except RecipeError:
        return False


def _as_matched(pattern: str, base: Path, read: Iterable[tuple[str, str | None]], started: int) -> str | None:
    """What the pattern stands for, unless it matches more now than was read."""
    if any(stat_rows.young(stat_rows.row(p), started) for p in facts.looked_into(pattern, str(base))):
        seen = {(base / path).resolve() for path in kinds.of(kinds.FILE, dict(read))}
        if any((base / m).resolve() not in seen for m in globs.matches(pattern, base)):
            return None
    return facts.matched(pattern, str(base))


def _rows(name: str, value: str | None, base: Path, started: int, doubts: Doubts) -> dict[str, str] | None:
    """Rows that stand for a fact; None if it is not what it was, or nobody can tell."""
    content = kinds.parted(name)[0].content
    paths = kinds.guards(name, value, base)
    if paths is None or (content and value is None):
        return None
    rows = {p: stat_rows.row(p) for p in paths}
    looked = time.time_ns()
    if content and sum(map(stat_rows.size, rows.values())) > _SMALL:
        unsure = {p for p, r in rows.items() if doubts.doubted(p) or _moved(p, r, started)}
        return {p: stat_rows.RACY if p in unsure else r for p, r in rows.items()}
    if rows and kinds.current(name, value, base) != value:
        return None
    return {
        p: r if stat_rows.steady(p, r, looked) and doubts.settled(p, r) else stat_rows.RACY
        for p, r in rows.items()
    }


def _moved(path: str, row: str, started: int) -> bool:
    """Whether a file, or a folder that it is in, may have been put there since."""
    return any(
        stat_rows.young(r, started) for r in (row, *(stat_rows.row(str(p)) for p in Path(path).parents))
    )


def _write(
    cache: str,
    whose: tuple[str, str, str],
    given: str,
    result: RecipeResult,
    program: str,
    rows: Mapping[str, str],
    variables: Mapping[str, str | None],
    kept: list[state.Fact],
) -> None:
    idle = replace(
        result,
        artifacts=tuple(
            replace(a, status="cached", reason=None, seconds=0.0) if a.status in GOOD else a
            for a in result.artifacts
        ),
    )
    answer = json.dumps(idle.as_json()).encode()
    cached, skipped, warnings = _counts(idle)
    told = totals.line(1, {"cached": cached, "skipped": skipped}, None, warnings=warnings)
    known = state.State(
        program, whose, given, result.name, [f"{r}\t{p}" for p, r in rows.items()], list(variables.items()),
        state.packed_facts(kept), told, (cached, skipped, warnings), f"{zlib.crc32(answer):08x}",
    )  # fmt: skip
    place = state.place(cache, *whose)
    if state.unpacked(known.packed()) is not None and state.save(place + ".json", answer):
        state.save(place, known.packed())


def _counts(result: RecipeResult) -> tuple[int, int, int]:
    skipped = sum(a.status == "skipped" for a in result.artifacts)
    diagnostics = [*result.diagnostics, *(d for a in result.artifacts for d in a.diagnostics)]
    return len(result.artifacts) - skipped, skipped, sum(d.level == "warning" for d in diagnostics)
