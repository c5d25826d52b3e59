"""What is told of a file, for a person."""

from __future__ import annotations

from collections.abc import Mapping

from modelbuild.base.escaping import line
from modelbuild.inspection import nodes as listing
from modelbuild.inspection.common import Info
from modelbuild.inspection.published import MANIFEST
from modelbuild.wording import kernels
from modelbuild.wording.phrases import headroom, plural, size

_MOST_KEPT = 5
"""Kept nodes that are named to a person; in JSON all are."""


def render(info: Info) -> str:
    """``info`` as aligned plain text; characters that would steer a terminal are shown escaped."""
    rows: list[tuple[str, str]] = [("file", info["file"])]
    rows += _onnx_rows(info) if info["kind"] == "onnx" else _engine_rows(info)
    rows += [("sha256", info["sha256"])]
    for data in info.get("external_data", ()):
        rows += [("weights in", f"{data['file']}, {size(data['bytes'])}"), ("", data["sha256"])]
    rows += _provenance_rows(info["provenance"])
    width = max(len(label) for label, _ in rows) + 2
    lines = [f"{label:{width}}{_printable(text)}" for label, text in rows]
    if "node_list" in info:
        lines += ["", *map(_printable, listing.table(info["node_list"], info["without_lines"]))]
    return "\n".join(line.rstrip() for line in lines)


def _onnx_rows(info: Info) -> list[tuple[str, str]]:
    opset = ", ".join(str(v) if d == "ai.onnx" else f"{d} {v}" for d, v in sorted(info["opset"].items()))
    made = f", by {info['producer']}" if info["producer"] else ""
    weights = [
        f"{dtype}: {size(w['bytes'])} in {plural(w['tensors'], 'tensor')}"
        for dtype, w in info["weights"].items()
    ]
    return [
        ("kind", f"ONNX, opset {opset}, IR version {info['ir_version']}{made}"),
        ("size", size(info["bytes"])),
        *_labelled("inputs", _port_lines(info["inputs"])),
        *_labelled("outputs", _port_lines(info["outputs"])),
        *_labelled("weights", weights or ["none"]),
        ("nodes", f"{info['nodes']}: {_counts(info['node_precisions'])}"),
        *(_int8_rows(info["int8"]) if info["int8"] else ()),
        *(_half_rows(info) if info["half"] else ()),
        ("operators", _counts(info["operators"])),
    ]


def _half_rows(info: Info) -> list[tuple[str, str]]:
    """How much is half, the first nodes that are not, and what is cast."""
    nodes, weights = info["half"]["nodes"], info["half"]["weight_bytes"]
    computing, floats = ("other computing", "float weight") if info["int8"] else ("computing", "weight")
    share = f"{_percent(nodes['share'])} of {computing} nodes ({nodes['half']} of {nodes['all']})"
    if weights["share"] is not None:
        share += f", {_percent(weights['share'])} of {floats} bytes"
    kept = info["kept_nodes"]
    return [
        ("half", share),
        *_kept_rows("kept", f"{plural(len(kept), 'node')} in float32:", kept),
        ("casts", _counts(info["casts"])),
    ]


def _int8_rows(int8: Info) -> list[tuple[str, str]]:
    """How much is int8, with which scales; the first nodes that could be and are not; and a run of it."""
    nodes = ", ".join(f"{n['int8']} of {n['all']} {op}" for op, n in int8["nodes"].items())
    scales, kept = int8["scales"], int8["kept_nodes"]
    weights = [f"{scales[of]} per {of}" for of in ("channel", "tensor") if scales[of]]
    types = ", ".join(dict.fromkeys(node["dtype"] for node in kept))
    return [
        ("int8", f"{nodes}; {_percent(int8['weights']['share'])} of the weights"),
        (
            "scales",
            f"weights: {', '.join(weights) or 'none'}; activations: {scales['activations']} per tensor",
        ),
        *_kept_rows("not int8", f"{plural(len(kept), 'node')} in {types}:", kept),
        ("here", f"ONNX Runtime: {kernels.told(int8['runtime'])}"),
    ]


def _kept_rows(name: str, told: str, kept: list[Info]) -> list[tuple[str, str]]:
    """Nodes by name, the first of them; none where there are none."""
    first = [f"{node['name']} ({node['op_type']})" for node in kept[:_MOST_KEPT]]
    more = [f"and {len(kept) - len(first)} more"] if len(kept) > len(first) else []
    return _labelled(name, [told, *first, *more]) if kept else []


def _percent(share: float) -> str:
    """``97.4%``; all and nothing only where it is all or nothing."""
    return f"{share if share in (0, 1) else min(max(share, 0.001), 0.999):.1%}"


def _engine_rows(info: Info) -> list[tuple[str, str]]:
    version = f" {info['version']}" if "version" in info else ""
    rows = [("kind", f"engine of {info['backend']}{version}"), ("size", size(info["bytes"]))]
    if "targets" in info:
        rows.append(("targets", ", ".join(info["targets"])))
    if "note" in info:
        return [*rows, ("note", info["note"])]
    profiles = [
        f"{index}: {name} {_dims(sizes['min'])} {_dims(sizes['opt'])} {_dims(sizes['max'])}"
        for index, profile in enumerate(info["profiles"])
        for name, sizes in profile.items()
    ]
    return [
        *rows,
        *_labelled("inputs", _port_lines(info["inputs"])),
        *_labelled("outputs", _port_lines(info["outputs"])),
        *_labelled("profiles", profiles),
        ("layers", str(info["layers"])),
    ]


def _provenance_rows(provenance: Info | None) -> list[tuple[str, str]]:
    if provenance is None:
        return [("provenance", f"unknown: no {MANIFEST} beside it")]
    recipe = f", from {provenance['recipe']}" if provenance.get("recipe") else ""
    rows = [("provenance", f"{provenance['status']}{recipe}")]
    if provenance.get("key"):
        rows.append(("key", str(provenance["key"])))
    if "parity" in provenance:
        rows.append(("parity", _parity(provenance["parity"])))
    if isinstance(provenance.get("toolchain"), dict):
        said = ", ".join(f"{n} {v}" for n, v in provenance["toolchain"].items() if v)
        rows.append(("toolchain", said))
    return rows


def _parity(parity: object) -> str:
    if not isinstance(parity, dict):
        return "not measured"
    passed = "passed" if parity.get("passed") else "failed"
    said = f"{passed} ({parity.get('evidence')})"
    outputs = parity.get("outputs")
    if isinstance(outputs, dict):
        rooms = [
            o["headroom"] for o in outputs.values() if isinstance(o, dict) and o.get("headroom") is not None
        ]
        if rooms:
            said += f", headroom {headroom(min(rooms))}"
    return said


def _labelled(label: str, lines: list[str]) -> list[tuple[str, str]]:
    return [(label if i == 0 else "", line) for i, line in enumerate(lines)]


def _port_lines(ports: list[Info]) -> list[str]:
    name = max((len(p["name"]) for p in ports), default=0) + 2
    dtype = max((len(p["dtype"]) for p in ports), default=0) + 2
    return [f"{p['name']:{name}}{p['dtype']:{dtype}}{_dims(p['shape'])}" for p in ports]


def _dims(shape: list[int | str] | None) -> str:
    return "any shape" if shape is None else f"[{', '.join(map(str, shape))}]"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in counts.items()) or "none"


def _printable(text: str) -> str:
    return line(text)
