"""What forward() keeps in Python between two calls."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from modelbuild.steps import owners, scripts
from modelbuild.steps.owners import Owner

if TYPE_CHECKING:
    import torch

_LARGE = 4096  # a list or dict with more is told by its length alone
_CONTAINERS = (dict, list, set, deque, OrderedDict, defaultdict, Counter)  # no others: theirs may do anything
_MOST = 200_000  # values that are looked into
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_Number = tuple[str, float, Callable[[Any], None]]  # what it is called, what it is, and how to set it


@dataclass(frozen=True)
class Snapshot:
    """What a module, those inside it and their code keep, and what their lists and dicts hold.

    Tensors are not copied: one that is written in place is told by its version, and stays written.
    """

    rows: tuple[tuple[str, Any, dict[str, Any]], ...]  # name, module, its attributes
    outside: tuple[Owner, ...]
    inside: tuple[tuple[Any, Any, str], ...]  # a list, dict, set or deque, a copy of it, and its name
    versions: Mapping[int, int]
    scripted: tuple[tuple[str, Any, dict[str, Any]], ...] = ()  # as rows, of what TorchScript keeps
    caches: tuple[tuple[Any, int], ...] = ()  # functions under functools.cache, and their misses

    @classmethod
    def of(cls, module: torch.nn.Module) -> Snapshot:
        rows = tuple((name, part, dict(part.__dict__)) for name, part in module.named_modules())
        scripted = tuple(
            (n, part, scripts.attributes(part)) for n, part, _ in rows if scripts.is_script(part)
        )
        known = owners.own_modules()
        todo = [(_joined(name, k), v) for name, _, attributes in rows for k, v in attributes.items()]
        seen = {id(part) for _, part, _ in rows}
        outside: list[Owner] = []
        caches: list[tuple[Any, int]] = []
        for thing in owners.around(module, known):
            if id(thing) in seen:
                continue
            seen.add(id(thing))
            if owners.is_cache(thing):
                caches.append((thing, thing.cache_info().misses))
                continue
            outside.append(Owner.of(thing))
            todo += [(_joined(outside[-1].title, k), v) for k, v in outside[-1].before.items()]
        inside: list[tuple[Any, Any, str]] = []
        versions: dict[int, int] = {}
        while todo and len(seen) < _MOST:
            name, value = todo.pop()
            if isinstance(value, _PLAIN) or id(value) in seen:
                continue
            seen.add(id(value))
            if type(value) in _CONTAINERS:
                inside.append((value, value.copy(), name))
                if len(value) <= _LARGE:
                    todo += [(name, v) for v in (value.values() if isinstance(value, dict) else value)]
            elif isinstance(value, tuple):
                todo += [(name, v) for v in value]
            elif _is_tensor(value):
                versions[id(value)] = value._version
            elif type(value).__module__ in known and hasattr(value, "__dict__"):
                outside.append(Owner.of(value, name))
                todo += [(_joined(name, k), v) for k, v in outside[-1].before.items()]
        return cls(rows, tuple(outside), tuple(inside), versions, scripted, tuple(caches))

    def changed(self) -> tuple[str, ...]:
        """The attributes that are not what they were: ``head.grid``, ``net.Net.calls``."""
        return tuple(dict.fromkeys(name for name, _, _ in self._changes()))

    def plain(self) -> tuple[str, ...]:
        """Those of them that hold only numbers and text, before and now."""
        others = {name for name, *values in self._changes() if not all(map(_is_plain, values))}
        return tuple(n for n in self.changed() if n not in others)

    def restore(self) -> None:
        """Put every attribute back, and what was in its lists and dicts."""
        for _, part, before in self.rows:
            part.__dict__.clear()
            part.__dict__.update(before)
        for _, part, before in self.scripted:
            for key, value in before.items():
                part._c.setattr(key, value)
        for owner in self.outside:
            owner.restore()
        for value, copy, _ in self.inside:
            if isinstance(value, list):
                value[:] = copy
            elif isinstance(value, deque):
                value.clear()
                value.extend(copy)
            else:
                value.clear()
                value.update(copy)
        for function, misses in self.caches:
            if function.cache_info().misses != misses:
                function.cache_clear()

    def numbers(self) -> dict[tuple[int, Any], _Number]:
        """The numbers that are kept now, and the lengths of lists, where they are."""
        found: dict[tuple[int, Any], _Number] = {}

        def take(name: str, holder: Any, values: Mapping[Any, Any], put: Callable[[Any, Any], None]) -> None:
            contains = type(holder) in _CONTAINERS
            for key, value in values.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    title = name if contains else _joined(name, key)
                    found[id(holder), key] = (title, value, partial(put, key))

        for name, part, _ in self.rows:
            take(name, part, part.__dict__, part.__dict__.__setitem__)
        for name, part, _ in self.scripted:
            take(name, part, scripts.attributes(part), part._c.setattr)
        for owner in self.outside:
            take(owner.title, owner.thing, owner.now(), owner.put)
        for value, _, name in self.inside:
            if isinstance(value, dict) and len(value) <= _LARGE:
                take(name, value, value, value.__setitem__)
            elif isinstance(value, list):
                if len(value) <= _LARGE:
                    take(name, value, dict(enumerate(value)), value.__setitem__)
                found[id(value), None] = (name, len(value), _lengthened(value))
        return found

    def _changes(self) -> Iterator[tuple[str, Any, Any]]:
        """Each with its name, what it was and what it is."""
        copies = {id(value): copy for value, copy, _ in self.inside}
        for name, part, before in self.rows:
            if scripts.is_script(part):  # which only remembers its methods there
                continue
            for key, was, now in self._differing(before, part.__dict__, copies):
                if key in ("_buffers", "_parameters", "_modules") and was is now:
                    for inner, *values in self._differing(copies[id(now)], now, copies):
                        yield _joined(name, inner), *values
                else:
                    yield _joined(name, key), copies.get(id(was), was), now
        for name, part, before in self.scripted:
            now = scripts.attributes(part)
            for key in before:
                if not scripts.same(before[key], now[key]):
                    yield _joined(name, key), before[key], now[key]
        for owner in self.outside:
            for key, was, now in self._differing(owner.before, owner.now(), copies):
                yield _joined(owner.title, key), copies.get(id(was), was), now

    def _differing(
        self, before: Mapping[str, Any], now: Mapping[str, Any], copies: Mapping[int, Any]
    ) -> Iterator[tuple[str, Any, Any]]:
        for key in {**before, **now}:
            if not (key in before and key in now and self._same(before[key], now[key], copies)):
                yield key, before.get(key), now.get(key)

    def _same(self, before: Any, now: Any, copies: Mapping[int, Any], depth: int = 0) -> bool:
        if _is_tensor(before) or _is_tensor(now):
            return before is now and self.versions.get(id(now)) == now._version
        if before is now and id(now) in copies and depth < 20:
            before = copies[id(now)]
            if len(before) != len(now):
                return False
            if isinstance(now, set):
                return bool(before == now)
            if len(now) > _LARGE:
                return True
            if isinstance(now, dict) and before.keys() != now.keys():
                return False
            keys = now.keys() if isinstance(now, dict) else range(len(now))
            return all(self._same(before[k], now[k], copies, depth + 1) for k in keys)
        if before is now:
            return True
        if type(before) is type(now) and isinstance(now, bool | int | float | str | bytes | tuple):
            try:
                return bool(before == now)
            except Exception:
                return False
        return False


def _joined(name: str, key: str) -> str:
    return f"{name}.{key}".lstrip(".")


def _lengthened(value: list[Any]) -> Callable[[Any], None]:
    def put(length: int) -> None:
        value[length:] = value[-1:] * (length - len(value))

    return put


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, _PLAIN):
        return True
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    contains = isinstance(value, list | tuple | set | frozenset | deque)
    return contains and depth < 8 and len(value) <= _LARGE and all(_is_plain(v, depth + 1) for v in value)


def _is_tensor(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor)
