"""What is in a Python file, definition by definition: to say which one changed."""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections.abc import Iterator, Mapping

REST = "top level"
_LARGEST = 2_000_000  # bytes; nobody writes such a file, and its words would not be worth seconds


def outline(text: bytes) -> dict[str, str] | None:
    """A digest of each class, function and variable at the top of a file, and under ``""`` one of
    everything else there, imports first. Comments and layout are in none of them.

    None if it does not parse.
    """
    tree = parsed(text)
    return None if tree is None else outlined(tree)


def changed(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The definitions that differ, come or go, in the order of the file; [] if only comments do."""
    names = [*new, *(n for n in old if n not in new)]
    return [name or REST for name in names if old.get(name) != new.get(name)]


def parsed(text: bytes) -> ast.Module | None:
    if len(text) > _LARGEST:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the import has said it
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def outlined(tree: ast.Module) -> dict[str, str] | None:
    parts: dict[str, list[str]] = {}
    try:
        for node in tree.body:
            shape = ast.dump(node)
            for name in _defines(node) or [""]:
                parts.setdefault(name, []).append(shape)
    except (RecursionError, MemoryError):
        return None
    return {
        name: hashlib.sha256("\n".join(shapes).encode()).hexdigest()[:12] for name, shapes in parts.items()
    }


def imported(tree: ast.Module) -> set[str]:
    """The packages that it imports by name, anywhere in it: ``a`` for ``from a.b import c``."""
    found: set[str] = set()
    for node in _statements(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found


def words(tree: ast.Module) -> set[str]:
    """The string constants that could be names of variables of the environment."""
    texts = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return {text for text in texts if text.isidentifier() and text.isupper()}


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Every statement; expressions, which are most of a tree, hold none."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, part, None)
            if isinstance(inner, list):
                waiting += inner


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Assign):
        return [n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)]
    if isinstance(node, ast.AnnAssign | ast.AugAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return []
