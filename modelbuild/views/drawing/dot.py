"""The graph in Graphviz's DOT."""

from __future__ import annotations

from modelbuild.base.escaping import line
from modelbuild.views.drawing.values import Arrow, Box, Drawing

# Line and fill both, so that it can be read without colours.
_STYLES = {
    "fresh": 'style="filled", fillcolor="#dff3e4", color="#2b7a3d"',
    "remote": 'style="filled", fillcolor="#dbeaf7", color="#1f5f99"',
    "stale": 'style="filled,dashed", fillcolor="#fde8c8", color="#a85b00", penwidth=2',
    "skipped": 'style="dotted", color="#777777"',
    "blocked": 'style="filled,dotted", fillcolor="#f6d5d5", color="#a11212"',
    "failed": 'style="filled,bold", fillcolor="#f6d5d5", color="#a11212"',
}


def dot(drawing: Drawing) -> str:
    """One digraph, with a cluster for each recipe; actions are boxes, files are notes."""
    lines = ["digraph modelbuild {", "  rankdir=LR;", '  node [shape=box, fontname="sans-serif"];']
    for number, graph in enumerate(drawing.graphs):
        lines += [f"  subgraph cluster_{number} {{", f"    label={_quoted(f'{graph.recipe}: {graph.name}')};"]
        lines += [f"    {_part(part)}" for part in graph.parts(f"r{number}")]
        lines.append("  }")
    return "\n".join([*lines, "}"])


def _part(part: Box | Arrow) -> str:
    if isinstance(part, Box):
        shape = "shape=note, " if part.is_file else ""
        return f"{part.id} [label={_quoted(*part.lines)}, {shape}{_STYLES[part.status]}];"
    about = [f"label={_quoted(part.label)}"] if part.label else []
    about += ['style="dashed"'] if part.gates else []
    told = f" [{', '.join(about)}]" if about else ""
    return f"{part.start} -> {part.end}{told};"


def _quoted(*texts: str) -> str:
    """A string of DOT: only the quote and the backslash mean something in it."""
    shown = (line(text).replace("\\", "\\\\").replace('"', '\\"') for text in texts)
    return '"' + r"\n".join(shown) + '"'
