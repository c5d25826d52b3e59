"""The line of the model's source that a node of its graph comes from.

Exporters note it in the graph, and the file must not keep it: paths differ from one machine to the
next, and a comment in the model would change the file and rebuild all that depends on it. For the
same reason no result may depend on it. So lines travel beside the files, in the data of the
export's own result, and are put into what other steps said when that is shown: a stored diagnostic
that held one would be wrong after the next edit.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic

# Codes whose messages name nodes in backticks.
_ABOUT_NODES = frozenset({"fp16-overflow", "fp16-underflow", "not-finite"})
_DYNAMO = re.compile(r'File "([^"]+)", line (\d+), in (\S+)')  # innermost last, as Python writes it
_SQUEEZE = re.compile(r"(^|[_/])([Ss]queeze|view_of)(_\d+)?$")  # a node's name, by either exporter
_TORCHSCRIPT = re.compile(r"^(.+)\((\d+)\): (\S+)$", re.MULTILINE)  # innermost first


def compact(traces: Mapping[str, str], base: Path, library: Path) -> dict[str, list[str]]:
    """``net.py:42 in forward`` -> the nodes that come from there, out of an exporter's stack traces.

    That is the innermost line outside ``library`` (PyTorch's own folder): of the model, not of the
    Linear in it. Paths are relative to ``base``, the recipe's folder, or to where Python found the
    package.
    """
    found: dict[str, list[str]] = {}
    places: dict[str, str | None] = {}
    for node, trace in traces.items():
        if trace not in places:
            places[trace] = _place(trace, base, library)
        place = places[trace]
        if place is not None:
            found.setdefault(place, []).append(node)
    return found


def lines(data: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Node -> line, of what ``compact`` made."""
    return {node: line for line, nodes in data.items() for node in nodes}


def located(
    rows: Sequence[Mapping[str, Any]] | None, known: Mapping[str, str]
) -> list[dict[str, Any]] | None:
    """Rows about nodes with ``source``, their lines, in place of ``upstream``, the nodes before.

    A node that a conversion put in has no line, and neither has what onnxsim made of several: it
    gets that of the nearest node before it that has one.
    """
    if rows is None:
        return None
    found = []
    for row in rows:
        names = (row["node"], *row["upstream"])
        source = next((known[name] for name in names if name in known), None)
        found.append({**{k: v for k, v in row.items() if k != "upstream"}, "source": source})
    return found


def told(
    diagnostic: Diagnostic, known: Mapping[str, str], rows: Sequence[Mapping[str, Any]] | None = None
) -> Diagnostic:
    """The diagnostic with a line behind each node that it names, and the first of them as its place.

    A node of ``rows`` has the line that it has there.
    """
    if diagnostic.code == "baked-axis":
        return _with_squeezes(diagnostic, known)
    if diagnostic.code not in _ABOUT_NODES:
        return diagnostic
    lines = {**known, **{row["node"]: row["source"] for row in rows or () if row["source"]}}
    places: list[str] = []

    def add(match: re.Match[str]) -> str:
        if match[1] not in lines:
            return match[0]
        places.append(lines[match[1]].partition(" in ")[0])
        return f"{match[0]} from {places[-1]}"

    message = re.sub(r"`([^`\n]+)`", add, diagnostic.message)
    return replace(diagnostic, message=message, where=diagnostic.where or next(iter(places), None))


def _with_squeezes(diagnostic: Diagnostic, known: Mapping[str, str]) -> Diagnostic:
    """The lines where the model calls ``squeeze``, for what says that one of them drops an axis."""
    found = dict.fromkeys(line.partition(" in ")[0] for node, line in known.items() if _SQUEEZE.search(node))
    if not found or "`squeeze`" not in diagnostic.message:
        return diagnostic
    message = diagnostic.message.replace("`squeeze`", f"`squeeze` ({', '.join(found)})", 1)
    return replace(diagnostic, message=message)


def _place(trace: str, base: Path, library: Path) -> str | None:
    found = list(frames(trace))
    inside = (str(library) + "/", str(library.resolve()) + "/")
    own = [f for f in found if not f[0].startswith(inside)]
    if not own and not found:
        return None
    path, line, function = (own or found)[0]
    return f"{relative(path, base)}:{line} in {function}"


def frames(trace: str) -> Iterator[tuple[str, str, str]]:
    """``(path, line, function)``, innermost first; without code that is in no file."""
    dynamo = _DYNAMO.findall(trace)
    for path, line, function in reversed(dynamo) if dynamo else _TORCHSCRIPT.findall(trace):
        if not path.startswith("<"):
            yield path, line, function


def relative(path: str, base: Path) -> str:
    """A path without the machine: below the recipe's folder, or below where packages are found."""
    where = Path(path)
    installed = {"site-packages", "dist-packages"} & set(where.parts)
    for root in (base, base.resolve()) if not installed else ():
        if where.is_relative_to(root):
            return where.relative_to(root).as_posix()
    roots = [Path(p) for p in sys.path if p and where.is_relative_to(p)]
    root = max(roots, key=lambda r: len(r.parts), default=where.parent)
    return where.relative_to(root).as_posix()
