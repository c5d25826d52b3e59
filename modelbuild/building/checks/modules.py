"""Where Python would find a module, without importing one: neither the module nor a package above it."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.machinery import all_suffixes
from pathlib import Path

from modelbuild.building.checks.source import Source, Sources


@dataclass(frozen=True)
class FoundModule:
    """A module. ``file`` is its Python file, if it has one that is the user's own: below the recipe's folder
    or the command's, where no link leads out of these. ``folders`` are a package's."""

    name: str
    file: Path | None
    folders: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The package that its relative imports are from."""
        return self.name if self.folders else self.name.rpartition(".")[0]


@dataclass
class Modules:
    """Looked for as in a build: in the folder of the recipe, in the command's, and where Python does."""

    base: Path
    cwd: Path
    reader: Sources
    _known: dict[str, FoundModule | None] = field(default_factory=dict)

    def find(self, name: str) -> FoundModule | None:
        """The module; None if it, or a package above it, is nowhere."""
        if name not in self._known:
            self._known[name] = self._find(name)
        return self._known[name]

    def missing(self, name: str) -> str | None:
        """The first part of a module's path that is nowhere (``a.b`` of ``a.b.c``); None if who knows."""
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            part = ".".join(parts[:end])
            if self.find(part) is None:
                above = self.find(".".join(parts[: end - 1])) if end > 1 else None
                return part if above is None or self._is_plain(above) else None
        return None

    def source(self, file: Path) -> Source:
        return self.reader.read(file)

    def beside(self) -> Iterator[str]:
        """The names of the modules in the recipe's folder and in the command's."""
        for folder in (self.base, self.cwd):
            try:
                names = sorted(os.listdir(folder))
            except OSError:
                continue
            for name in names:
                if name.endswith(".py") or os.path.isfile(os.path.join(folder, name, "__init__.py")):
                    yield name.removesuffix(".py")

    def _is_plain(self, package: FoundModule) -> bool:
        """Whether what is in a package's folders is all that it has."""
        if not package.folders:
            return package.file is not None
        init = next((p for f in package.folders if (p := Path(f, "__init__.py")).is_file()), None)
        return init is None or not self.source(init).moves_paths

    def _find(self, name: str) -> FoundModule | None:
        above, _, tail = name.rpartition(".")
        if above:
            package = self.find(above)
            return self._in(name, tail, package.folders) if package is not None else None
        return self._in(name, tail, [str(self.base), str(self.cwd), *sys.path]) or _otherwise(name)

    def _in(self, name: str, tail: str, folders: Sequence[str]) -> FoundModule | None:
        """In these folders, in Python's order: a package before a module, and folders without code last."""
        bare: list[str] = []
        for folder in folders:
            place = os.path.join(folder or str(self.cwd), tail)
            for front, inside in ((os.path.join(place, "__init__"), (place,)), (place, ())):
                file = next((front + end for end in all_suffixes() if os.path.isfile(front + end)), None)
                if file is not None:
                    return FoundModule(name, Path(file) if self._is_own(file) else None, inside)
            if os.path.isdir(place):
                bare.append(place)
        return FoundModule(name, None, tuple(bare)) if bare else None

    def _is_own(self, file: str) -> bool:
        """Whether it is the user's file, and not one that a link leads to: that is nobody's to quote."""
        place = os.path.realpath(file)
        homes = [os.path.realpath(folder).rstrip("/") + "/" for folder in (self.base, self.cwd)]
        mine = any(place.startswith(home) for home in homes)
        return mine and file.endswith(".py") and "/site-packages/" not in file


def _otherwise(name: str) -> FoundModule | None:
    """What only Python's own finders know: a built-in module, an editable install behind a hook."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return FoundModule(name, None) if name in sys.modules else None
    return None if spec is None else FoundModule(name, None, tuple(spec.submodule_search_locations or ()))
