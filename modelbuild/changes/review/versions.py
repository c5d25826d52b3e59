"""The recipes of one side: which YAML files are some, what they mean there, and what is wrong with them.

A recipe has a ``model:`` at its top, with an ``import`` or an ``onnx`` in it or ``inputs:`` beside
it; other YAML is nobody's concern. A file that cannot be read at all is held to be a recipe if a line
of it begins with ``model:``, or if it lies among recipes, as ``modelbuild build FOLDER`` would hold it.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from modelbuild import lockfile
from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.changes.bounds import FILE, Clock
from modelbuild.changes.sides import PROJECT, Side, inside
from modelbuild.git import FAILED, Blob
from modelbuild.lockfile.reading import INVALID as LOCK_INVALID
from modelbuild.lockfile.reading import read as read_lock
from modelbuild.recipe import defaults, loading
from modelbuild.recipe.finding import LOCKS, SUFFIXES
from modelbuild.recipe.problems import INVALID, clean
from modelbuild.recipe.reading import read as read_yaml
from modelbuild.recipe.schema import Recipe

_TOP = re.compile(rb"""(?m)^(?:\{\s*)?["']?model["']?\s*:""")
_SIBLINGS = 20
_LARGE = 1 << 16


@dataclass(frozen=True)
class Version:
    """A recipe as it is on one side; ``recipe`` is None where ``wrong`` says why."""

    path: str
    recipe: Recipe | None
    wrong: tuple[Diagnostic, ...] = ()

    @property
    def folder(self) -> str:
        return posixpath.dirname(self.path)


class Versions:
    """Reads the recipes, lock files and project files of one side, each once."""

    def __init__(self, side: Side, clock: Clock) -> None:
        self.side = side
        self.clock = clock
        self._defaults: dict[str, defaults.Defaults | tuple[Diagnostic, ...]] = {}
        self._folders: dict[str, set[str]] = {}
        self._versions: dict[str, Version | None] = {}

    def prefetch(self, paths: Iterable[str]) -> None:
        """Read files that will be asked for, all by one call of git."""
        self.side.read(paths, FILE)

    def version(self, path: str) -> Version | None:
        """The recipe at ``path``; None if there is no file, or it is none."""
        if path not in self._versions:
            self.clock.tick()
            self._versions[path] = self._version(path)
        return self._versions[path]

    def lock(self, path: str) -> tuple[lockfile.Lock | None, tuple[Diagnostic, ...]]:
        """The lock file beside the recipe at ``path``, or what is wrong with it; None where is none."""
        place = lock_place(path)
        entry = self.side.files.get(place)
        if entry is None:
            return None, ()
        if not entry.is_file:
            return None, (_link(LOCK_INVALID, self.where(place)),)
        self.clock.tick()
        try:
            return read_lock(self._bytes(place), self.where(place)), ()
        except RecipeError as error:
            return None, error.diagnostics

    def where(self, path: str) -> str:
        """A file as a person finds it: in the older revision it is named as git names it."""
        return clean(path, 300) if self.side.revision.commit is None else f"{self._rev}:{clean(path, 300)}"

    @property
    def _rev(self) -> str:
        return clean(self.side.revision.rev)

    def _version(self, path: str) -> Version | None:
        entry = self.side.files.get(path)
        if entry is None or not path.endswith(SUFFIXES) or path.endswith(LOCKS):
            return None
        if entry.is_link:
            return self._linked(path)
        if not entry.is_file:
            return None
        source = self._bytes(path)
        if b"model" not in source and not self._among_recipes(path):
            return None
        folder, name = posixpath.split(path)
        found = self._project(folder)
        try:
            if isinstance(found, tuple):
                loading.parse(source, self.where(path), posixpath.splitext(name)[0])
                return Version(path, None, found)
            return Version(path, loading.parse(source, self.where(path), posixpath.splitext(name)[0], found))
        except RecipeError as error:
            if not self._means_recipe(source, path):
                return None
            return Version(path, None, error.diagnostics)

    def _means_recipe(self, source: bytes, path: str) -> bool:
        top = bool(_TOP.search(source))
        if len(source) > _LARGE:  # reading 1 MiB takes seconds, and this is the second time
            return top or self._among_recipes(path)
        document = read_yaml(source)
        if document.root is None:
            return top or self._among_recipes(path)
        data = document.root.data
        if not isinstance(data, dict) or "model" not in data:
            return False
        model = data["model"]
        return "inputs" in data or (isinstance(model, dict) and ("import" in model or "onnx" in model))

    def _among_recipes(self, path: str) -> bool:
        """Whether there is a recipe in the folder, this file aside."""
        folder = posixpath.dirname(path)
        if folder not in self._folders:
            yaml = [p for p in self.side.files if posixpath.dirname(p) == folder and p.endswith(SUFFIXES)]
            found = self.side.read([p for p in yaml if not p.endswith(LOCKS)][:_SIBLINGS], FILE)
            recipes = (p for p, b in found.items() if _TOP.search(b.data) and b"inputs" in b.data)
            self._folders[folder] = set(recipes)
        return bool(self._folders[folder] - {path})

    def _linked(self, path: str) -> Version | None:
        """A link is not followed: what it leads to may lie anywhere."""
        blob = self.side.files[path].blob
        held = self.side.repository.read([blob], FILE)[blob] if blob else None
        target = (held or self.side.repository.content(path, FILE) or Blob(0, b"")).data
        place = inside(posixpath.dirname(path), target.decode("utf-8", "surrogateescape"))
        entry = self.side.files.get(place) if place is not None else None
        if place is not None and entry is not None and entry.is_file and self.version(place) is None:
            return None
        return Version(path, None, (_link(INVALID, self.where(path)),))

    def _project(self, folder: str) -> defaults.Defaults | tuple[Diagnostic, ...]:
        """What recipes in a folder leave unsaid: of the nearest project file that speaks of it."""
        if folder not in self._defaults:
            self._defaults[folder] = self._read_project(folder)
        return self._defaults[folder]

    def _read_project(self, folder: str) -> defaults.Defaults | tuple[Diagnostic, ...]:
        path = posixpath.join(folder, PROJECT)
        entry = self.side.files.get(path)
        if entry is not None:
            if not entry.is_file:
                return (_link(INVALID, self.where(path)),)
            try:
                found = defaults.read(self._bytes(path), self.where(path))
            except RecipeError as error:
                return error.diagnostics
            if found.where:
                return found
        return self._project(posixpath.dirname(folder)) if folder else defaults.NONE

    def _bytes(self, path: str) -> bytes:
        blob = self.side.read([path], FILE)[path]
        if blob.missing:
            said = f"this clone does not have the content of {self.where(path)}"
            raise RecipeError(Diagnostic(FAILED, said, "`git fetch --refetch` gets it"))
        return blob.data


def lock_place(recipe: str) -> str:
    return posixpath.splitext(recipe)[0] + LOCKS[0]


def _link(code: Code, where: str) -> Diagnostic:
    return Diagnostic(code, "a symbolic link is not followed", "put the file itself there", where)
