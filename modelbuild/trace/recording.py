"""What a run read by itself: first-party sources, data files, third-party packages.

Facts are named so that they mean the same in another checkout: ``file models/net.py`` is relative
to the recipe's folder, ``package transformers`` is a version.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import site
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from modelbuild.trace.facts import file_digest

_installed = tuple(
    {
        os.path.realpath(p) + os.sep
        for p in (
            *sysconfig.get_paths().values(),
            *site.getsitepackages(),
            site.getusersitepackages(),
        )
    }
)
# The installation's other folders hold no user files; a virtual environment inside a project does
# not hide the project, because only its library folders are named above.
# modelbuild's own code is in the keys as the steps' versions.
_OWN = "modelbuild"
_elsewhere = (
    os.path.dirname(os.path.realpath(__file__)) + os.sep,
    "/proc/",
    "/sys/",
    "/dev/",
    "/usr/lib/",
    "/usr/share/",
    "/etc/",
)


@dataclass(frozen=True)
class Found:
    """What a run read. ``unstable`` are the files that changed while it ran; ``outlines`` has, for
    each Python file, a digest of every definition at its top (see ``trace.outline``)."""

    facts: dict[str, str | None] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()
    outlines: dict[str, dict[str, str]] = field(default_factory=dict)


class Trace:
    """Watches this process, and the forks it makes, from the moment it is made."""

    def __init__(self, base: Path, ignored: Iterable[Path] = ()) -> None:
        self.base = base
        self._before = set(sys.modules)
        self._opened: set[str] = set()
        self._ignored = tuple(os.path.realpath(p) + os.sep for p in ignored)
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[object, ...]) -> None:
        if event == "open" and isinstance(args[0], str):
            mode = args[1]
            if mode is None or (isinstance(mode, str) and not set(mode) & set("wxa+")):
                self._opened.add(args[0])

    def found(self, declared: Iterable[Path] = ()) -> Found:
        """Every fact so far."""
        named = (*self._sources(), *self._opened, *map(str, declared))
        paths = {os.path.realpath(p) for p in named}
        facts: dict[str, str | None] = {}
        for path in sorted(paths):
            if self._counts(path):
                facts[f"file {self._name(path)}"] = file_digest(Path(path))
        facts.update(packages(set(sys.modules) - self._before))
        return Found(facts)

    def _sources(self) -> Iterable[str]:
        for name in set(sys.modules) - self._before:
            with contextlib.suppress(Exception):
                file = sys.modules[name].__file__
                if file:
                    yield file

    def _counts(self, path: str) -> bool:
        if path.startswith(_installed + self._ignored + _elsewhere) or path.endswith(".pyc"):
            return False
        return os.path.isfile(path)

    def _name(self, path: str) -> str:
        base = os.path.realpath(self.base)
        return os.path.relpath(path, base) if path.startswith(base + os.sep) else path


def packages(modules: Iterable[str]) -> dict[str, str | None]:
    """Versions of the installed distributions behind these modules."""
    tops = {m.partition(".")[0] for m in modules} - set(sys.stdlib_module_names) - {_OWN}
    facts: dict[str, str | None] = {}
    unknown = set()
    for top in sorted(tops):
        try:
            facts[f"package {top}"] = importlib.metadata.version(top)
        except importlib.metadata.PackageNotFoundError:
            unknown.add(top)
    unknown = {u for u in unknown if _is_installed(u)}
    if unknown:
        owners = importlib.metadata.packages_distributions()
        for top in unknown:
            for name in owners.get(top, ()):
                facts[f"package {name}"] = importlib.metadata.version(name)
    return dict(sorted(facts.items()))


def _is_installed(top: str) -> bool:
    module = sys.modules.get(top)
    file = getattr(module, "__file__", None) if module else None
    return bool(file) and os.path.realpath(str(file)).startswith(_installed)
