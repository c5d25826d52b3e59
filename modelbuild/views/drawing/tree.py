"""The graph as a tree for a terminal: every action once, below the one whose model it works on."""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from modelbuild.base.escaping import visible
from modelbuild.views.drawing.values import Drawing, DrawnFile, DrawnNode, Graph
from modelbuild.wording.phrases import plural

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

WIDTH = 80
_MARKS = {"fresh": "✓", "remote": "↓", "stale": "✗", "skipped": "-", "blocked": "!", "failed": "!"}


def tree(drawing: Drawing, width: int = WIDTH) -> str:
    """One tree per recipe: a mark and a word for how each action stands, and why.

    Lines are at most ``width`` wide, but for names that alone are wider.
    """
    return "\n\n".join("\n".join(_lines(graph, width)) for graph in drawing.graphs)


def _lines(graph: Graph, width: int) -> Iterator[str]:
    if not graph.nodes:
        return
    yield from textwrap.wrap(f"{visible(graph.recipe, keep='')}: {graph.name} ({_counted(graph)})", width,
                             subsequent_indent="  ", break_long_words=False)  # fmt: skip
    below = _grouped((_parent(node), node) for node in graph.nodes)
    files = _grouped((file.action, file) for file in graph.files)
    roots = below.get(None, [])
    for node in roots:
        yield from _branch(node, below, files, "", node is roots[-1], width)


def _counted(graph: Graph) -> str:
    """``7 actions: 4 fresh, 3 stale``."""
    states = [n.status for n in graph.nodes]
    parts = [f"{states.count(s)} {s}" for s in _MARKS if s in states]
    return f"{plural(len(states), 'action')}: {', '.join(parts)}"


def _parent(node: DrawnNode) -> str | None:
    """What an action works on; its other needs are named beside it."""
    return node.needs.get("model") or next(iter(node.before), None)


def _grouped(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def _branch(
    node: DrawnNode,
    nodes: Mapping[str | None, Sequence[DrawnNode]],
    made: Mapping[str, Sequence[DrawnFile]],
    indent: str,
    last: bool,
    width: int,
) -> Iterator[str]:
    """``nodes`` are all actions by the one that they are below, ``made`` all files by their action."""
    files, below = made.get(node.id, ()), nodes.get(node.id, ())
    parent = _parent(node)
    others = [a for a in node.before if a != parent]
    beside = f" (with {', '.join(others)})" if others else ""
    yield from _entry(f"{_MARKS[node.status]} {node.id}{beside}  {node.told}", indent, last,
                      bool(files or below), width)  # fmt: skip
    inner = indent + ("   " if last else "│  ")
    for file in files:
        final = file is files[-1] and not below
        yield from _entry(f"→ {file.name}  {_standing(file, node)}", inner, final, False, width)
    for child in below:
        yield from _branch(child, nodes, made, inner, child is below[-1], width)


def _standing(file: DrawnFile, maker: DrawnNode) -> str:
    """How a file stands; why, where its action does not say it already."""
    own = file.reason and file.status != "fresh" and maker.status in ("fresh", "remote")
    standing = f"{file.status}: {file.reason}" if own else file.status
    if file.status == "skipped":
        return standing
    return f"{standing}, proven by {file.proof}" if file.proof else f"{standing}, not proven here"


def _entry(text: str, indent: str, last: bool, has_more: bool, width: int) -> Iterator[str]:
    """A line, and where it is too long what is left of it below, beside the tree's own lines."""
    text = visible(text, keep="")
    first = indent + ("└─ " if last else "├─ ")
    rest = indent + ("   " if last else "│  ") + ("│    " if has_more else "     ")
    room = max(width - len(first), 24)
    wrapped = textwrap.wrap(text, room, subsequent_indent=" " * (len(rest) - len(first)),
                            break_long_words=False, break_on_hyphens=False) or [""]  # fmt: skip
    for number, line in enumerate(wrapped):
        yield (first + line) if number == 0 else (rest + line.strip())
