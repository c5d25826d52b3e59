"""What a Python file defines and imports when it is imported, read as text. Nothing of it runs."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

LARGEST = 1 << 19
"""Bytes of a file that is read; parsing as many takes a second at worst."""

MOST = 8 << 20
"""Bytes that are read for one command. Of the files past that nothing is said."""

_OF_SYS = {"path", "meta_path", "path_hooks", "modules"}
_OF_PACKAGES = {"__path__", "extend_path", "addsitedir"}


@dataclass(frozen=True)
class Imported:
    """An import that is made whenever the file is imported: ``from module import name``, or without a name.

    ``level`` counts the dots before the module; ``line`` is from 1.
    """

    module: str
    name: str | None
    level: int
    line: int


@dataclass(frozen=True)
class Source:
    """A file as it was read. ``tree`` is None where nothing can be said of it: it is too large, too deep,
    or no text; ``wrong`` is why Python would not take it, with the line."""

    tree: ast.Module | None
    wrong: tuple[str, int] | None = None

    @classmethod
    def of(cls, path: Path) -> Source:
        try:
            with path.open("rb") as file:
                text = file.read(LARGEST + 1)
            if len(text) > LARGEST:
                return cls(None)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return cls(ast.parse(text))
        except SyntaxError as error:
            return cls(None, (f"{type(error).__name__}: {error.msg}", error.lineno or 1))
        except (OSError, ValueError, RecursionError, MemoryError):
            return cls(None)

    @cached_property
    def names(self) -> frozenset[str] | None:
        """The names that it defines; None where they are more than a look at it shows."""
        if self.tree is None or self._is_dynamic:
            return None
        found: set[str] = set()
        for node in _scope(self.tree):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                return None
            found.update(_bound(node))
        found.update(name for node in self._nodes if isinstance(node, ast.Global) for name in node.names)
        return frozenset(found)

    @cached_property
    def imports(self) -> tuple[Imported, ...]:
        """What it imports unconditionally: not in a function, nor where a branch or an error decides."""
        if self.tree is None:
            return ()
        return tuple(row for node in _always(self.tree) for row in _imports(node))

    @cached_property
    def moves_paths(self) -> bool:
        """Whether it may change where modules are found, or what they are."""
        return self.tree is None or any(map(_moves_paths, self._nodes))

    @property
    def _is_dynamic(self) -> bool:
        """Whether it may define names that do not stand in it."""
        assert self.tree is not None
        words = {node.id for node in self._nodes if isinstance(node, ast.Name)}
        own = {node.id for node in _scope(self.tree) if isinstance(node, ast.Name)}
        hook = any(
            isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in self.tree.body
        )
        return (
            hook or self.moves_paths or bool(words & {"globals", "exec", "eval"} | own & {"locals", "vars"})
        )

    @cached_property
    def _nodes(self) -> tuple[ast.AST, ...]:
        return tuple(ast.walk(self.tree)) if self.tree is not None else ()


class Sources:
    """Reads each file once, and not more than there is patience for: it may be a stranger's."""

    def __init__(self) -> None:
        self._left = MOST
        self._read: dict[Path, Source] = {}

    def read(self, file: Path) -> Source:
        if file not in self._read:
            try:
                size = file.stat().st_size
            except OSError:
                size = 0
            self._read[file] = Source.of(file) if size <= self._left else Source(None)
            self._left -= min(size, LARGEST)
        return self._read[file]


def _moves_paths(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        of_sys = isinstance(node.value, ast.Name) and node.value.id == "sys"
        return (of_sys and node.attr in _OF_SYS) or node.attr in _OF_PACKAGES
    if isinstance(node, ast.ImportFrom) and node.module == "sys":
        return any(alias.name in _OF_SYS for alias in node.names)
    name = node.id if isinstance(node, ast.Name) else node.name if isinstance(node, ast.alias) else ""
    return name in _OF_PACKAGES


def _scope(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node of the module's own scope: what is in functions and classes has names of its own."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    elif isinstance(node, ast.Import):
        yield from (alias.asname or alias.name.partition(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.asname or alias.name for alias in node.names)
    elif isinstance(node, ast.MatchAs | ast.MatchStar | ast.ExceptHandler) and node.name:
        yield node.name
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest


def _always(tree: ast.Module) -> Iterator[ast.stmt]:
    """The statements that an import of the module runs in any case, those in classes included."""
    waiting: list[ast.stmt] = tree.body[::-1]
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, ast.ClassDef):
            waiting += node.body[::-1]


def _imports(node: ast.stmt) -> Iterator[Imported]:
    if isinstance(node, ast.Import):
        yield from (Imported(alias.name, None, 0, node.lineno) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            name = None if alias.name == "*" else alias.name
            yield Imported(node.module or "", name, node.level, node.lineno)
