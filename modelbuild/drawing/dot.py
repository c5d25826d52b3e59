"""The graph in Graphviz's DOT."""

from __future__ import annotations

from collections.abc import Iterator

from modelbuild.drawing.values import Drawing, Graph

# Line and fill both, so that it can be read without colours.
_STYLES = {
    "fresh": 'style="filled", fillcolor="#dff3e4", color="#2b7a3d"',
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
        lines += [f"    {line}" for line in _body(graph, f"r{number}")]
        lines.append("  }")
    return "\n".join([*lines, "}"])


def _body(graph: Graph, prefix: str) -> Iterator[str]:
    ids = {node.id: f"{prefix}a{i}" for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        yield f"{ids[node.id]} [label={_quoted(node.id, node.told)}, {_STYLES[node.status]}];"
    for node in graph.nodes:
        for role, maker in node.needs.items():
            yield f"{ids[maker]} -> {ids[node.id]} [label={_quoted(role)}];"
        for gate in node.gates:
            yield f'{ids[gate]} -> {ids[node.id]} [label="must pass", style="dashed"];'
    for number, file in enumerate(graph.files):
        name = f"{prefix}f{number}"
        label = _quoted(file.name, f"{file.status}: {file.reason}" if file.reason else file.status)
        yield f"{name} [label={label}, shape=note, {_STYLES[file.status]}];"
        yield f"{ids[file.action]} -> {name};"
        if file.proof:
            yield f'{ids[file.proof]} -> {name} [label="proof", style="dashed"];'


def _quoted(*lines: str) -> str:
    """A string of DOT: only the quote and the backslash mean something in it."""
    visible = ("".join(c if c.isprintable() else "?" for c in line) for line in lines)
    return '"' + r"\n".join(v.replace("\\", "\\\\").replace('"', '\\"') for v in visible) + '"'
