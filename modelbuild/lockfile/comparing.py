"""Where a build differs from its lock file, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from modelbuild.lockfile.values import CONTENT, OUTLINE, Lock
from modelbuild.wording.phrases import few

_MOST = 3  # names in a sentence


def mismatch(locked: Lock, name: str, files: Mapping[str, str], key: str | None = None) -> str | None:
    """Why an artifact may not be published under ``locked``; None if it may.

    ``files`` has the SHA-256 of each of its files, by name. An engine, whose bytes are never the
    same, is told by its ``key``.
    """
    if name in locked.engines:
        was = locked.engines[name]
        return f"{name}: another key ({_short(was)} -> {_short(key)})" if was and key and was != key else None
    if name not in locked.onnx:
        return f"{name} is not in the lock file"
    row = locked.onnx[name]
    return _other_bytes(name, (row.sha256, row.data), (files.get(name), files.get(name + ".data")))


def differences(locked: Lock, now: Lock) -> list[str]:
    """Where a build differs from its lock file, in words, the most telling first.

    For a build of some artifacts compare with ``locked.only(...)``. What was measured is not
    compared, nor a distribution that only one side has: the bytes tell whether it matters.
    """
    both = [name for name in now.onnx if name in locked.onnx]
    said = [f"recipe {locked.recipe} -> {now.recipe}"] if locked.recipe != now.recipe else []
    said += _alike("opset", both, lambda name: (locked.onnx[name].opset, now.onnx[name].opset))
    said += _alike("tolerance", both, lambda name: (locked.onnx[name].tolerance, now.onnx[name].tolerance))
    files = list(_moved_files(locked, now))
    environment = list(_moved_environment(locked.environment, now.environment))
    said += [*files, *environment]
    versions = ((n, locked.toolchain[n], v) for n, v in now.toolchain.items() if n in locked.toolchain)
    said += [f"{name} {old} -> {new}" for name, old, new in versions if old != new]
    for name in both:
        old, new = locked.onnx[name], now.onnx[name]
        bytes_ = _other_bytes(name, (old.sha256, old.data), (new.sha256, new.data))
        said += [bytes_ + _recounted(old.nodes, new.nodes)] if bytes_ else []
    said += [
        f"{name}: another key ({_short(key)} -> {_short(now.engines[name])})"
        for name, key in locked.engines.items()
        if key and now.engines.get(name) and key != now.engines[name]
    ]
    for old_names, new_names in ((locked.onnx, now.onnx), (locked.engines, now.engines)):
        said += [f"{name} is not in the lock file" for name in new_names if name not in old_names]
        said += [f"{name} is in the lock file alone" for name in old_names if name not in new_names]
    finds = [n for n in sorted({*locked.finds, *now.finds}) if _differ(locked.finds, now.finds, n)]
    if finds and not (files or environment) and _comparable(locked, now):
        told = few([f"`{name}`" for name in finds], _MOST)
        said.append(f"the model's code finds other files, folders or modules than it did: {told}")
    return said


def _differ(old: Mapping[str, str | None], new: Mapping[str, str | None], name: str) -> bool:
    return (name in old) != (name in new) or old.get(name) != new.get(name)


def _alike(what: str, names: list[str], pair: Callable[[str], tuple[Any, Any]]) -> list[str]:
    """A change of all artifacts is told once."""
    changes = {name: pair(name) for name in names if len(set(pair(name))) > 1}
    words = {name: f"{what} {old} -> {new}" for name, (old, new) in changes.items()}
    if len(words) == len(names) and len(set(words.values())) == 1:
        return [words[names[0]]]
    return [f"{name}: {told}" for name, told in words.items()]


def _moved_files(locked: Lock, now: Lock) -> Iterator[str]:
    """Files that changed, came or went. One that only lies elsewhere has not changed."""
    for name in sorted({*locked.files, *now.files}):
        old, new = locked.files.get(name), now.files.get(name)
        if old is None and new not in locked.files.values():
            yield f"{name} is read, and not in the lock file"
        elif new is None and old not in now.files.values():
            yield f"{name} is in the lock file, and not read"
        elif old and new and old != new and _same_kind(locked, now, old, new):
            yield f"{name} changed"


def _same_kind(locked: Lock, now: Lock, old: str, new: str) -> bool:
    """Whether two digests of a file can be compared; each Python outlines a source in its own way."""
    kinds = [value.startswith(OUTLINE) for value in (old, new)]
    if all(kinds):
        return locked.toolchain.get("python") == now.toolchain.get("python")
    return not any(kinds)


def _comparable(locked: Lock, now: Lock) -> bool:
    pairs = [(old, now.files[name]) for name, old in locked.files.items() if name in now.files]
    return all(_same_kind(locked, now, old, new) for old, new in pairs)


def _moved_environment(old: Mapping[str, str | None], new: Mapping[str, str | None]) -> Iterator[str]:
    for name in sorted({*old, *new}):
        if name not in old:
            yield f"{name} is read from the environment, and not in the lock file"
        elif name not in new:
            yield f"{name} is in the lock file, and not read from the environment"
        elif old[name] != new[name]:
            words = [value if value is not None else "unset" for value in (old[name], new[name])]
            secret = any(word.startswith(CONTENT) for word in words)
            yield f"{name} changed" if secret else f"{name} {words[0]} -> {words[1]}"


def _other_bytes(
    name: str, old: tuple[str | None, str | None], new: tuple[str | None, str | None]
) -> str | None:
    for file, before, after in zip((name, name + ".data"), old, new, strict=True):
        if before != after:
            return f"{file}: other bytes (sha256 {_short(before)} -> {_short(after)})"
    return None


def _recounted(old: Mapping[str, int], new: Mapping[str, int]) -> str:
    kinds: Iterable[str] = sorted({*old, *new})
    moved = [f"{k} {old.get(k, 0)} -> {new.get(k, 0)}" for k in kinds if old.get(k, 0) != new.get(k, 0)]
    return f"; nodes: {', '.join(moved)}" if moved else ""


def _short(value: str | None) -> str:
    return f"{value.removeprefix(CONTENT)[:12]}…" if value else "none"
