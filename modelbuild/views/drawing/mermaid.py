"""The graph as a Mermaid flowchart, as GitHub and GitLab draw it in a comment."""

from __future__ import annotations

from modelbuild.base.escaping import line
from modelbuild.views.drawing.values import Arrow, Box, Drawing

# Line and fill both, so that it can be read without colours; legible on a light and a dark page.
_CLASSES = {
    "fresh": "fill:#dff3e4,stroke:#2b7a3d,color:#111",
    "remote": "fill:#dbeaf7,stroke:#1f5f99,color:#111",
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
        lines += [f"    {_part(part)}" for part in graph.parts(f"r{number}")]
        lines.append("  end")
    lines += [f"  classDef {name} {style}" for name, style in _CLASSES.items()]
    return "\n".join(lines)


def _part(part: Box | Arrow) -> str:
    if isinstance(part, Box):
        label = _quoted(*part.lines)
        return f"{part.id}{f'([{label}])' if part.is_file else f'[{label}]'}:::{part.status}"
    label = f"|{_quoted(part.label)}|" if part.label else ""
    return f"{part.start} {'-.->' if part.gates else '-->'}{label} {part.end}"


def _quoted(*texts: str) -> str:
    """A label in quotes. Whatever Mermaid, its Markdown or HTML could read as its own is written as
    the number of its character; a line break is the one tag."""
    return '"' + "<br/>".join("".join(map(_character, line(text))) for text in texts) + '"'


def _character(c: str) -> str:
    return c if c in _PLAIN else f"#{ord(c)};"
