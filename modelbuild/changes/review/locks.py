"""What two lock files of one recipe say: sizes, nodes, errors and versions, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from modelbuild.lockfile import Lock, Onnx, Worst
from modelbuild.recipe.differing import Change
from modelbuild.recipe.problems import clean
from modelbuild.wording.phrases import headroom, plural, size


def lock_changes(old: Lock | None, new: Lock | None) -> tuple[Change, ...]:
    """Everything a reviewer can compare; without one of the two, what came or went as a whole."""
    if old is None or new is None:
        if old is new:
            return ()
        kept = new or old
        assert kept is not None
        count = len(kept.onnx) + len(kept.engines)
        return (Change("lock", f"the lock file is {'new' if new else 'gone'}: {plural(count, 'artifact')}"),)
    return (
        *_gone_and_come(old, new),
        *(c for name, row in new.onnx.items() if name in old.onnx for c in _onnx(name, old.onnx[name], row)),
        *_engines(old.engines, new.engines),
        *_plain("toolchain", old.toolchain, new.toolchain),
        *_plain("environment", old.environment, new.environment),
    )


def _gone_and_come(old: Lock, new: Lock) -> Iterator[Change]:
    for name in [n for n in (*old.onnx, *old.engines) if n not in new.onnx and n not in new.engines]:
        yield Change(name, f"- {clean(name, 100)}")
    for name in [n for n in (*new.onnx, *new.engines) if n not in old.onnx and n not in old.engines]:
        row = new.onnx.get(name)
        yield Change(name, f"+ {clean(name, 100)}{f': {_described(row)}' if row else ''}")


def _described(row: Onnx) -> str:
    words = [_size(row.bytes), f"opset {row.opset}", f"{sum(row.nodes.values())} nodes"]
    if row.worst is not None:
        words.append(f"headroom {_headroom(row.worst)}")
    return ", ".join(words)


def _onnx(name: str, old: Onnx, new: Onnx) -> Iterator[Change]:
    moved = list(_measures(old, new))
    if not moved and (old.sha256, old.data) != (new.sha256, new.data):
        moved = ["other bytes, of the same size and nodes"]
    if moved:
        yield Change(name, f"{clean(name, 100)}: {'; '.join(moved)}")


def _measures(old: Onnx, new: Onnx) -> Iterator[str]:
    if old.bytes != new.bytes:
        yield f"size {_sizes(old.bytes, new.bytes)}"
    if old.opset != new.opset:
        yield f"opset {old.opset} -> {new.opset}"
    kinds = sorted({*old.nodes, *new.nodes})
    nodes = [(kind, old.nodes.get(kind, 0), new.nodes.get(kind, 0)) for kind in kinds]
    if words := [f"{clean(kind)} {was} -> {now}" for kind, was, now in nodes if was != now]:
        yield f"nodes {', '.join(words)}"
    if old.kept_fp32 != new.kept_fp32:
        yield f"kept in fp32 {old.kept_fp32} -> {new.kept_fp32}"
    if old.tolerance != new.tolerance:
        yield f"tolerance {clean(old.tolerance or 'none')} -> {clean(new.tolerance or 'none')}"
    if old.worst != new.worst and old.worst is not None and new.worst is not None:
        # Errors of one file differ in their last digits from one CPU to the next.
        if not new.worst.near(old.worst) or old.worst.output != new.worst.output:
            if _error(old.worst) != _error(new.worst):
                yield f"worst error {_error(old.worst)} -> {_error(new.worst)}"
            yield f"headroom {_headroom(old.worst)} -> {_headroom(new.worst)}"
    elif old.worst != new.worst:
        yield "measured now" if new.worst else "no longer measured"


def _sizes(old: int, new: int) -> str:
    said = f"{_size(old)} -> {_size(new)}"
    return f"{said} ({new - old:+d} bytes)" if _size(old) == _size(new) else said


def _size(count: int) -> str:
    return size(count) if 0 <= count < 1 << 60 else clean(str(count))


def _error(worst: Worst) -> str:
    return f"{clean(worst.output)} L2 {worst.relative_l2:.1e}"


def _headroom(worst: Worst) -> str:
    return worst.headroom if isinstance(worst.headroom, str) else headroom(worst.headroom)


def _engines(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> Iterator[Change]:
    for name in [n for n in new if n in old]:
        if old[name] and new[name] and old[name] != new[name]:
            yield Change(name, f"{clean(name, 100)}: built from something else")


def _plain(what: str, old: Mapping[str, str | None], new: Mapping[str, str | None]) -> Iterator[Change]:
    for name in sorted({*old, *new}):
        before, after = (clean(str(one[name])) if one.get(name) else "none" for one in (old, new))
        if before != after:
            yield Change(f"{what}.{clean(name)}", f"{clean(name)} {before} -> {after}", before, after)
