"""Python files that reach a changed one by their imports: a recipe names its model's module, and what
that imports decides as much. Read as text, by its import statements; nothing is imported or compiled."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from modelbuild.changes.bounds import Clock
from modelbuild.changes.sides import Side, Sides

MOST_FILES = 3_000
"""Python files of a repository: reading as many takes a second. Of a larger one, imports are not followed."""

_READ = 1 << 18  # bytes of a file
_NAMES = rb"(?:\([^)]{0,10000}\)|[^\n#;]{0,2000})"
_STATEMENT = re.compile(
    rb"^[ \t]*(?:from[ \t]+(\.*)([\w.]*)[ \t]+import[ \t]*(" + _NAMES + rb")|import[ \t]+([^\n#;]{1,2000}))",
    re.MULTILINE,
)
_NAME = re.compile(rb"[\w.]+")


def reaching(sides: Sides, clock: Clock) -> dict[str, frozenset[str]]:
    """Files that did not change, each with the changed ones that it reaches by imports, in the newer side."""
    changed = {path for path in sides.changed if path.endswith(".py")}
    if not changed:
        return {}
    importers = _importers(sides.head, changed, clock)
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in changed:
        todo, seen = [path], {path}
        while todo:
            clock.tick()
            for importer in importers.get(todo.pop(), ()):
                if importer not in seen:
                    seen.add(importer)
                    todo.append(importer)
        for importer in seen - changed:
            found[importer].add(path)
    return {importer: frozenset(paths) for importer, paths in found.items()}


def _importers(side: Side, changed: Collection[str], clock: Clock) -> Mapping[str, set[str]]:
    """Of each Python file, one that is gone among the ``changed``, those that import it."""
    paths = [path for path, entry in side.files.items() if path.endswith(".py") and entry.is_file]
    found: defaultdict[str, set[str]] = defaultdict(set)
    if len(paths) > MOST_FILES:
        return found
    for path, blob in side.read(paths, _READ).items():
        clock.tick()
        for module in _modules(blob.data, path):
            for file in (f"{module}.py", f"{module}/__init__.py"):
                if file in side.files or file in changed:
                    found[file].add(path)
    return found


def _modules(text: bytes, path: str) -> Iterator[str]:
    """The modules that a file imports, as paths without an ending; some of them are names in a module.

    An absolute import is looked for from every folder above: which of them is on the path is not known.
    """
    folder = posixpath.dirname(path)
    above = [folder[:i] for i in range(len(folder) + 1) if i in (0, len(folder)) or folder[i] == "/"]
    for dots, module, names, plain in _STATEMENT.findall(text):
        if plain:
            starts, stems = above, [words[0] for part in plain.split(b",") if (words := _NAME.findall(part))]
        else:
            last = [words[0] for part in names.split(b",") if (words := _NAME.findall(part))]
            starts, stems = above, [module, *(b".".join(filter(None, (module, name))) for name in last)]
            if dots:
                starts = [posixpath.normpath(posixpath.join(folder, "../" * (len(dots) - 1)))]
        for stem in stems:
            parts = [part for part in stem.decode("utf-8", "replace").split(".") if part][:20]
            for end in range(1, len(parts) + 1):
                for start in starts:
                    yield posixpath.normpath(posixpath.join(start, *parts[:end]))
