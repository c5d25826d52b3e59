"""Models to report on, without a build."""

from __future__ import annotations

from typing import Any

from modelbuild.views.reporting.values import (
    Conversion,
    Errors,
    ErrorsAt,
    Parity,
    Said,
    ShownAction,
    ShownArtifact,
    ShownModel,
    ShownRange,
    ShownRanges,
    ShownSpread,
)

# Every place where a name may try to become markup, script, or another line.
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>\u2028'\"&\x07\u202e"


def errors(headroom: float, **more: Any) -> dict[str, Any]:
    bound = {"measure": "relative_l2", "value": 0.01 / (headroom or 1), "bound": 0.01}
    return {
        "judged": bound if 0 < headroom < 1e300 else None,
        "max_abs": 0.01,
        "max_rel": 0.1,
        "relative_l2": 0.001,
        "cosine": 0.9999,
        "headroom": headroom,
        **more,
    }


def parity(*rows: tuple[str, dict[str, int], float]) -> Parity:
    """Of ``(output, shape, headroom)``."""
    names = dict.fromkeys(name for name, _, _ in rows)
    worst = {name: min(h for n, _, h in rows if n == name) for name in names}
    return Parity(
        passed=min(worst.values()) >= 1,
        evidence="fp16-simulated",
        tolerance="relative_l2 0.01",
        outputs={name: Errors(**errors(h)) for name, h in worst.items()},
        errors=[ErrorsAt(output=n, shape=s, **errors(h)) for n, s, h in rows],
        spread={name: ShownSpread(smallest=2.0**-12, counts=[1, 5, 2], equal=4) for name in names},
    )


def artifact(name: str, status: str = "built", **more: Any) -> ShownArtifact:
    kind = "engine" if name.endswith(".engine") else "onnx"
    precision = name.split(".")[1]
    known = {"bytes": 50 << 20, "key": "sha256:" + "ab" * 32, "sha256": "sha256:" + "cd" * 32, "seconds": 1.5}
    return ShownArtifact(
        **{"name": name, "kind": kind, "precision": precision, "status": status, **known, **more}
    )


def action(id: str, step: str, model: str | None = None, status: str = "built", **more: Any) -> ShownAction:
    needs = {"model": model} if model else {}
    known = {"seconds": 1.5, "peak": 300 << 20}
    return ShownAction(**{"id": id, "step": step, "needs": needs, "status": status, **known, **more})


ACTIONS = (
    action("reference", "reference"),
    action("export", "export"),
    action("fp32", "simplify", "export"),
    action("verify fp32", "verify", "fp32"),
    action("fp16", "half", "fp32", "cached"),
    action("verify fp16", "verify", "fp16", "failed"),
    action("fp32.batch1", "static", "fp32"),
    action("verify fp32.batch1", "verify", "fp32.batch1"),
    action("fp16.tensorrt-rtx", "engine tensorrt-rtx", "fp16", "blocked"),
)


def tensors(count: int, name: str = "tensor") -> list[ShownRange]:
    """The first overflows, the second falls to zero in part, the third was kept in fp32."""
    rows = [
        ShownRange(
            node=f"{name}_node_{i}", op_type="MatMul", tensor=f"{name}_{i}", largest=10.0 + i, mean=1.0,
            overflows=0, zeros=0, nonfinite=0, elements=100, source="net.py:12 in forward",
        )
        for i in range(count)
    ]  # fmt: skip
    changes: list[dict[str, Any]] = [{"largest": 1e6, "overflows": 3}, {"zeros": 40}, {"kept": True}]
    return [r.model_copy(update=u) for r, u in zip(rows, changes, strict=False)] + rows[len(changes) :]


def model(name: str = "net", status: Any = "failed", **more: Any) -> ShownModel:
    rows = [(o, {"batch": b}, h) for o, h in (("y", 4.0), ("z", 0.5)) for b in (1, 2, 8)]
    known: dict[str, Any] = {
        "artifacts": [
            artifact(f"{name}.fp32.onnx", parity=parity(*((o, s, 1000.0) for o, s, _ in rows)),
                not_proven=["inputs that go another way at net.py:7: the graph holds one side alone"]),
            artifact(
                f"{name}.fp16.onnx", "failed", parity=parity(*rows), reason="opset changed: 18 -> 20",
                conversion=Conversion(method="mixed", kept=["tensor_node_2"], runs=12),
                diagnostics=[Said(code="parity-failed", level="error", message="too far", hint="look")],
            ),
            artifact(f"{name}.fp16.tensorrt-rtx.engine", "blocked", bytes=None),
        ],
        "actions": ACTIONS,
        "toolchain": {"torch": "2.13.0", "tensorrt-rtx": None},
        "ranges": {"fp16": ShownRanges(tensors(6))},
        "facts": {"export": {"opset": 20, "file net.py": "sha256:" + "ef" * 32}},
        "built": 1_795_000_000.0,
    }  # fmt: skip
    return ShownModel(name, f"{name}.yaml", status, **{**known, **more})


def hostile() -> ShownModel:
    """A model all of whose texts are HOSTILE."""
    rows = [(HOSTILE, {HOSTILE: 1}, 4.0)]
    said = Said(code=HOSTILE, level="error", message=HOSTILE, hint=HOSTILE, where=HOSTILE)
    made = ShownArtifact(
        name=f"{HOSTILE}.fp16.onnx", kind="onnx", precision="fp16", status="failed", reason=HOSTILE, bytes=5,
        parity=parity(*rows), diagnostics=[said],
        conversion=Conversion(method=HOSTILE, kept=[f"{HOSTILE}_node_2"]), not_proven=[HOSTILE],
    )  # fmt: skip
    ranges = [r.model_copy(update={"op_type": HOSTILE, "source": HOSTILE}) for r in tensors(5, HOSTILE)]
    return ShownModel(
        HOSTILE, HOSTILE, "failed", [made],
        [action(HOSTILE, HOSTILE, reason=HOSTILE, status="stale"), action("verify", "verify", HOSTILE)],
        [said], {HOSTILE: HOSTILE}, {"fp16": ShownRanges(ranges), "bf16": ShownRanges(note=HOSTILE)},
        {HOSTILE: {HOSTILE: HOSTILE}}, [HOSTILE],
    )  # fmt: skip
