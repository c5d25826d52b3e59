"""What a run imported: the distributions behind it, and how its names resolve in first-party folders.

The process that makes a model has libraries in memory already, so a module's absence from
``sys.modules`` before the run is not the question. It is what the user's code imports, and what
that imports in turn, down to a library that was there before.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from importlib.machinery import BuiltinImporter, FileFinder, FrozenImporter
from types import ModuleType

from modelbuild.trace import distributions, facts, kinds, places, searching
from modelbuild.trace.frames import Kind

_OWN = "modelbuild"
_CUSTOMIZERS = {"sitecustomize", "usercustomize"}  # run when Python starts, before anybody watches


class Imports:
    def __init__(self, around: places.Places) -> None:
        self._places = around
        self._path = tuple(sys.path)
        self._search = facts.search_path()
        self._before = frozenset(sys.modules)
        self._known = {_top(name) for name in self._before}
        self._ids = {id(module): _top(name) for name, module in list(sys.modules.items())}
        self._by_user: set[str] = set()
        self._by_library: dict[str, set[str]] = defaultdict(set)  # the library's top package -> names

    def note(self, name: str, kind: Kind | None, importer: str) -> None:
        """A module that was not in memory is asked for; perhaps there is none."""
        if _top(name) == _OWN:
            return
        if kind == "user":
            self._by_user.add(name)
        elif kind == "library":
            self._by_library[_top(importer)].add(name)

    def files(self) -> Iterator[str]:
        """The files of the modules that came since."""
        for name in set(sys.modules) - self._before:
            with contextlib.suppress(Exception):  # some modules run code when they are asked
                if file := sys.modules[name].__file__:
                    yield file

    def early_files(self, named: Iterable[str]) -> Iterator[str]:
        """The files of first-party modules that were there before: those of a library that the server
        has imported from somebody's checkout, and what customizes Python."""
        tops = _CUSTOMIZERS | {top for top in self._tops(named) & self._known if self._is_users(top)}
        for name in self._before:
            file = getattr(sys.modules.get(name), "__file__", None) if _top(name) in tops else None
            if file:
                yield file

    def facts(self, named: Iterable[str]) -> dict[str, str | None]:
        """``named`` are the packages that the first-party sources import."""
        tops = self._tops(named)
        return {**self._packages(tops), **self._resolutions(tops, named)}

    def _tops(self, named: Iterable[str]) -> set[str]:
        return self._reached({*named, *map(_top, self._by_user)})

    def _reached(self, tops: set[str]) -> set[str]:
        """These packages and those that they import, without looking into those known before."""
        fresh: dict[str, list[str]] = defaultdict(list)
        for name in set(sys.modules) - self._before:
            fresh[_top(name)].append(name)
        reached: set[str] = set()
        waiting = set(tops)
        while waiting:
            top = waiting.pop()
            reached.add(top)
            if top not in self._known and top not in sys.stdlib_module_names:
                further = {_top(n) for n in self._by_library[top]} | self._references(fresh[top])
                waiting |= further - reached
        return reached - {_OWN}

    def _references(self, modules: Iterable[str]) -> set[str]:
        """The packages known before that these modules hold: no import event tells of them."""
        held: set[int] = set()
        for name in modules:
            values = list(getattr(sys.modules.get(name), "__dict__", {}).values())
            held.update([id(value) for value in values if type(value) is ModuleType])
        return {self._ids[h] for h in held & self._ids.keys()}

    # ---- distributions ----

    def catalogued(self, names: Iterable[str]) -> dict[str, str | None]:
        """Facts of ``importlib.metadata`` by their names, as they were for the run when it began."""
        asked = ((name, *kinds.parted(name)) for name in sorted(names))
        base, path = self._places.base, self._path
        return {name: distributions.catalogued(kind.name, what, base, path) for name, kind, what in asked}

    def _packages(self, tops: Iterable[str]) -> dict[str, str | None]:
        facts: dict[str, str | None] = {}
        wanted = {_top(name) for name in self._by_user}
        for top in sorted(set(tops) - sys.stdlib_module_names):
            # One that was tried and not found may be installed one day.
            if self._is_installed(top) if top in sys.modules else top in wanted:
                facts[kinds.PACKAGE.fact(top)] = distributions.standing(top, self._places.base, self._path)
        return facts

    def _is_installed(self, top: str) -> bool:
        """Did it come from where ``distributions`` looks, and not from a folder that was nearer?"""
        homes = distributions.home(top, self._places.base, self._path)
        file = getattr(sys.modules[top], "__file__", None)
        if not file:  # a package without __init__.py, or one that was put together at run time
            return bool(homes)
        return any(os.path.realpath(file) == os.path.realpath(home) for home in homes)

    def _is_users(self, top: str) -> bool:
        file = getattr(sys.modules.get(top), "__file__", None)
        path = self._places.absolute(file) if file else None
        return path is not None and self._places.counts(path)

    # ---- search folders ----

    def _is_searched_by_user(self, folder: str) -> bool:
        """Not so this program's own checkout, which is there for the workers alone."""
        return self._places.counts(folder) and (
            folder != os.path.dirname(places.own()[0].rstrip(os.sep)) or self._places.near(folder + os.sep)
        )

    def _resolutions(self, tops: set[str], named: Iterable[str]) -> dict[str, str | None]:
        fresh = tops - self._known
        names = {*named, *self._by_user}
        names |= {n for top, imported in self._by_library.items() if top in fresh for n in imported}
        inside: dict[str, set[str]] = defaultdict(set)
        for name in names:
            package, _, last = name.rpartition(".")
            inside[package].add(last)
            while package:  # a.b.c was looked for in a.b, and a.b in a
                package, _, last = package.rpartition(".")
                inside[package].add(last)
        facts: dict[str, str | None] = {}
        for package, lasts in inside.items():
            folders = sys.path if not package else _search_folders(package)
            for folder, found in self._searched(folders, lasts):
                facts[kinds.MODULES.fact(self._places.name(folder))] = searching.as_text(found)
        facts[kinds.SEARCH.fact()] = self._on_the_way(inside[""])
        return dict(sorted(facts.items()))

    def _on_the_way(self, names: Iterable[str]) -> str:
        """How the command's folder and PYTHONPATH, which may be others the next time, resolve what the
        recipe's folder does not have."""
        base = self._places.base
        here = searching.resolved(base, sorted(n for n in names if _could_be_a_file(n)))
        left = sorted({n for n, file in here.items() if file is None or file.endswith("/")} | _CUSTOMIZERS)
        return searching.as_text(searching.on_the_way(self._search, left, base))

    def _searched(
        self, folders: Iterable[str], names: Iterable[str]
    ) -> Iterator[tuple[str, dict[str, str | None]]]:
        """Each first-party folder that is looked into for some of the names, and what it has."""
        left = {n for n in names if _could_be_a_file(n)}
        rows: list[tuple[str, bool]] = []
        for folder in folders:
            path = self._places.absolute(folder or ".")
            finder = sys.path_importer_cache.get(folder)
            # Else a zip file, or a word that an editable installation's own finder knows.
            if path is not None and (finder is None or isinstance(finder, FileFinder)):
                rows.append((path, self._is_searched_by_user(path)))
        last = max((i for i, (_, counts) in enumerate(rows) if counts), default=-1)
        for path, counts in rows[: last + 1]:
            found = searching.resolved(path, sorted(left))
            if counts and left:
                yield path, found
            # A folder without __init__.py only adds to a package: the search goes on.
            left -= {name for name, what in found.items() if what and not what.endswith("/")}


def _could_be_a_file(name: str) -> bool:
    built_in = BuiltinImporter.find_spec(name) or FrozenImporter.find_spec(name)
    return built_in is None and bool(name) and not set(name) & set(" \t\n:/")


def _search_folders(package: str) -> list[str]:
    try:
        return [p for p in sys.modules[package].__path__ if isinstance(p, str)]
    except Exception:
        return []


def _top(name: str) -> str:
    return name.partition(".")[0]
