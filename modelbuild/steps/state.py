"""What a module keeps in Python between two calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from modelbuild.steps import scripts

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Snapshot:
    """The attributes of a module and of those inside it, and what their lists and dicts hold.

    Tensors are not copied: one that is written in place is told by its version, and stays written.
    """

    rows: tuple[tuple[str, Any, dict[str, Any]], ...]  # name, module, its attributes
    inside: tuple[tuple[Any, Any], ...]  # a list, dict or set, and a copy of it
    versions: Mapping[int, int]
    scripted: tuple[tuple[str, Any, dict[str, Any]], ...] = ()  # as rows, of what TorchScript keeps

    @classmethod
    def of(cls, module: torch.nn.Module) -> Snapshot:
        rows = tuple((name, part, dict(part.__dict__)) for name, part in module.named_modules())
        inside: list[tuple[Any, Any]] = []
        versions: dict[int, int] = {}
        todo = [value for _, _, attributes in rows for value in attributes.values()]
        seen: set[int] = set()
        while todo:
            value = todo.pop()
            if id(value) in seen:
                continue
            if isinstance(value, dict | list | set):
                seen.add(id(value))
                inside.append((value, value.copy()))
                todo += value.values() if isinstance(value, dict) else value
            elif _is_tensor(value):
                versions[id(value)] = value._version
        scripted = tuple(
            (n, part, scripts.attributes(part)) for n, part, _ in rows if scripts.is_script(part)
        )
        return cls(rows, tuple(inside), versions, scripted)

    def changed(self) -> tuple[str, ...]:
        """The attributes that are not what they were: ``head.grid``."""
        copies = {id(value): copy for value, copy in self.inside}
        found = []
        for name, part, before in self.rows:
            if scripts.is_script(part):  # which only remembers its methods there
                continue
            for key in {**before, **part.__dict__}:
                if key in before and key in part.__dict__:
                    if self._same(before[key], part.__dict__[key], copies):
                        continue
                    if key in ("_buffers", "_parameters", "_modules"):
                        found += [f"{name}.{k}".lstrip(".") for k in self._within(before[key], copies)]
                        continue
                found.append(f"{name}.{key}".lstrip("."))
        for name, part, before in self.scripted:
            now = scripts.attributes(part)
            found += [f"{name}.{k}".lstrip(".") for k in before if not scripts.same(before[k], now[k])]
        return tuple(found)

    def restore(self) -> None:
        """Put every attribute back, and what was in its lists and dicts."""
        for _, part, before in self.rows:
            part.__dict__.clear()
            part.__dict__.update(before)
        for _, part, before in self.scripted:
            for key, value in before.items():
                part._c.setattr(key, value)
        for value, copy in self.inside:
            if isinstance(value, list):
                value[:] = copy
            else:
                value.clear()
                value.update(copy)

    def _within(self, value: dict[str, Any], copies: Mapping[int, Any]) -> list[str]:
        copy = copies[id(value)]
        return [
            k
            for k in {**copy, **value}
            if not (k in copy and k in value and self._same(copy[k], value[k], copies))
        ]

    def _same(self, before: Any, now: Any, copies: Mapping[int, Any], depth: int = 0) -> bool:
        if _is_tensor(before) or _is_tensor(now):
            return before is now and self.versions.get(id(now)) == now._version
        if before is now and id(now) in copies and depth < 20:
            before = copies[id(now)]
            if len(before) != len(now):
                return False
            if isinstance(now, set):
                return bool(before == now)
            keys = now.keys() if isinstance(now, dict) else range(len(now))
            if isinstance(now, dict) and before.keys() != now.keys():
                return False
            return all(self._same(before[k], now[k], copies, depth + 1) for k in keys)
        if before is now:
            return True
        if type(before) is type(now) and isinstance(now, bool | int | float | str | bytes | tuple):
            try:
                return bool(before == now)
            except Exception:
                return False
        return False


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
