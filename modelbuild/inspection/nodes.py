"""The nodes of an ONNX file one by one: what a list of nodes to keep in fp32 is made of."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.graph import sources
from modelbuild.inspection.common import Info
from modelbuild.inspection.provenance import PUBLISHED
from modelbuild.inspection.published import MANIFEST, read

if TYPE_CHECKING:
    from modelbuild.inspection.precisions import SeenNode


def rows(nodes: Sequence[SeenNode], kept: Collection[str]) -> list[Info]:
    """A node's name as ``node_block_list`` takes it, its operator, the type that it computes in (or
    that of what it gives, if it computes nothing), and whether it is kept in fp32."""
    from modelbuild.graph.naming import label

    return [
        {
            "name": label(seen.node),
            "op_type": seen.op_type,
            "dtype": seen.computes or seen.dtype,
            "kept": label(seen.node) in kept and seen.computes is not None,
        }
        for seen in nodes
    ]


def with_lines(nodes: Sequence[Info], path: Path, provenance: Info | None) -> tuple[list[Info], str | None]:
    """The rows with ``source``, the line of the model that a node comes from, where that is known.

    Files hold no lines; the manifest beside one does. The second value says why there are none.
    """
    known: Mapping[str, str] = {}
    why = None
    if provenance is None:
        why = f"there is no {MANIFEST} beside the file"
    elif provenance["status"] != PUBLISHED or "key" not in provenance:
        why = str(provenance["status"])
    else:
        known = _lines(path.parent / MANIFEST, path.name, provenance["key"])
        if not any(row["name"] in known for row in nodes):
            why = f"{MANIFEST} has none of them: the model is an ONNX file, or an earlier version wrote it"
    return [{**row, "source": known.get(row["name"])} for row in nodes], why


def _lines(manifest: Path, name: str, key: object) -> dict[str, str]:
    """Node -> line, of the export that the file comes from; none if the manifest has another file's."""
    try:
        actions = {row["id"]: row for row in read(manifest).get("actions", ())}
    except (OSError, ValueError):  # of another version, or damaged
        return {}
    todo = [row for row in actions.values() if (row.get("artifact"), row.get("key")) == (name, key)]
    for row in todo:
        if "sources" in row:
            return sources.lines(row["sources"])
        needs = (actions[i] for i in row.get("needs", {}).values() if i in actions)
        todo += [other for other in needs if other not in todo]  # in a circle, as no build writes it
    return {}


def table(nodes: Sequence[Mapping[str, Any]], why: str | None) -> list[str]:
    """The rows for a person, a line each, in columns."""
    head = ("node", "operator", "type", "" if why else "line of the model")
    lines = [head] + [
        (n["name"], n["op_type"], n["dtype"] + (", kept" if n["kept"] else ""), n["source"] or "")
        for n in nodes
    ]
    widths = [max(len(line[i]) for line in lines) + 2 for i in range(3)]
    told = ["".join((*(c.ljust(w) for c, w in zip(line, widths, strict=False)), line[3])) for line in lines]
    return [*told, f"without lines of the model: {why}"] if why else told
