"""The graph as a Mermaid flowchart, as GitHub and GitLab draw it in a comment."""

from __future__ import annotations

from collections.abc import Iterator

from modelbuild.drawing.values import Drawing, Graph

# Line and fill both, so that it can be read without colours; legible on a light and a dark page.
_CLASSES = {
    "fresh": "fill:#dff3e4,stroke:#2b7a3d,color:#111",
    "stale": "fill:#fde8c8,stroke:#a85b00,color:#111,stroke-width:3px,stroke-dasharray:6 3",
    "skipped": "fill:#eeeeee,stroke:#777777,color:#111,stroke-dasharray:2 2",
    "blocked": "fill:#f6d5d5,stroke:#a11212,color:#111,stroke-dasharray:2 2",
    "failed": "fill:#f6d5d5,stroke:#a11212,color:#111,stroke-width:3px",
}
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 .,:/_-+()=")


def mermaid(drawing: Drawing) -> str:
    """One flowchart, with a subgraph for each recipe; actions are boxes, files have round ends."""
    lines = ["flowchart LR"]
    for number, graph in enumerate(drawing.graphs):
        lines.append(f"  subgraph r{number}[{_quoted(f'{graph.recipe}: {graph.name}')}]")
        lines += [f"    {line}" for line in _body(graph, f"r{number}")]
        lines.append("  end")
    lines += [f"  classDef {name} {style}" for name, style in _CLASSES.items()]
    return "\n".join(lines)


def _body(graph: Graph, prefix: str) -> Iterator[str]:
    ids = {node.id: f"{prefix}a{i}" for i, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        yield f"{ids[node.id]}[{_quoted(node.id, node.told)}]:::{node.status}"
    for node in graph.nodes:
        for role, maker in node.needs.items():
            yield f"{ids[maker]} -->|{_quoted(role)}| {ids[node.id]}"
        for gate in node.gates:
            yield f'{ids[gate]} -.->|"must pass"| {ids[node.id]}'
    for number, file in enumerate(graph.files):
        name = f"{prefix}f{number}"
        label = _quoted(file.name, f"{file.status}: {file.reason}" if file.reason else file.status)
        yield f"{name}([{label}]):::{file.status}"
        yield f"{ids[file.action]} --> {name}"
        if file.proof:
            yield f'{ids[file.proof]} -.->|"proof"| {name}'


def _quoted(*lines: str) -> str:
    """A label in quotes. Whatever Mermaid, its Markdown or HTML could read as its own is written as
    the number of its character; a line break is the one tag."""
    return '"' + "<br/>".join("".join(map(_character, line)) for line in lines) + '"'


def _character(c: str) -> str:
    return c if c in _PLAIN else f"#{ord(c)};" if c.isprintable() else "?"
