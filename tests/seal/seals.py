"""The seal: every definition of ours that decides a step's result, with its digest, and the versions.

``version`` is in a step's key and its code is not, so a change of code under an old version would leave
what it decides ``cached``. ``seals.json`` holds what the code was when somebody last said that its
versions are right; ``python -m tests.seal`` says it anew.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelbuild import steps, trace
from modelbuild.steps.base import Step
from tests.seal.reach import Code, Definition

FILE = Path(__file__).with_name("seals.json")
ROOT = Path(__file__).parents[2]

# What a run is seen to read is decided apart from what it does, and has a version of its own.
TRACE = Definition("modelbuild.trace.recording", "Trace")
# Every step's process is told this, whatever the step names.
_AROUND = (Definition("modelbuild.machine.environment", "ENVIRONMENT"),)


@dataclass(frozen=True)
class Sealed:
    """What has a version: a step's class, or the trace. ``where`` is the file that says it."""

    name: str
    version: int
    where: str
    reached: frozenset[Definition]


@dataclass(frozen=True)
class Moved:
    """A definition that is not what the seal says, and those that reach it."""

    definition: Definition
    by: tuple[Sealed, ...]


def step_classes() -> list[type[Step]]:
    """Every class of steps that can be made."""
    for found in pkgutil.iter_modules(steps.__path__, "modelbuild.steps."):
        importlib.import_module(found.name)
    return sorted(set(_below(Step)), key=lambda c: c.__qualname__)


def sealed(code: Code) -> list[Sealed]:
    """All that has a version now, with what it reaches now."""
    found = [
        Sealed(c.__qualname__, c.version, _file(c.__module__), _reach(code, c.__module__, c.__qualname__))
        for c in step_classes()
    ]
    watched = frozenset(code.reached([TRACE]))
    return [*found, Sealed("Trace", trace.VERSION, _file(trace.__name__ + ".__init__"), watched)]


def composed(code: Code, now: list[Sealed]) -> dict[str, Any]:
    """The seal of what is there now."""
    every = sorted({d for s in now for d in s.reached})
    digests: dict[str, dict[str, str]] = {}
    for definition in every:
        digests.setdefault(definition.module, {})[definition.name] = code.digest(definition)
    return {"versions": {s.name: s.version for s in now}, "definitions": digests}


def moved(seal: Mapping[str, Any], code: Code, now: list[Sealed]) -> list[Moved]:
    """What differs from the seal. What is gone was named by what is there, and that differs then."""
    found = []
    for definition in sorted({d for s in now for d in s.reached}):
        before = seal["definitions"].get(definition.module, {}).get(definition.name)
        if before != code.digest(definition):
            found.append(Moved(definition, tuple(s for s in now if definition in s.reached)))
    return found


def told(seal: Mapping[str, Any], differing: list[Moved], now: list[Sealed]) -> str:
    """What moved, whose version stands although it did, and what to do; "" where the seal is right."""
    versions: Mapping[str, int] = seal["versions"]
    raised = {s.name for s in now if s.version != versions.get(s.name)}
    gone = sorted(versions.keys() - {s.name for s in now})
    if not differing and not raised and not gone:
        return ""
    lines = [f"{m.definition} moved: {', '.join(s.name for s in m.by)}" for m in differing]
    lines += [
        f"{s.name}: version {versions.get(s.name, 'none')} -> {s.version}" for s in now if s.name in raised
    ]
    lines += [f"{name} is gone" for name in gone]
    standing = {s.name: s for m in differing for s in m.by if s.name not in raised}
    if standing:
        lines += ["", "These keep their versions, so whatever was built with the old code stays `cached`:"]
        lines += [f"    {s.name} (version {s.version} in {s.where})" for s in standing.values()]
        lines += [
            "That is right if the same inputs still give the same bytes, data and verdicts: a refactoring,",
            "other words, a better error. Else raise `version` there. More that the trace notes raises its",
            "version, too: a result that was stored without it would be taken for fresh.",
        ]
    return "\n".join(lines)


def read() -> dict[str, Any]:
    seal: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return seal


def write(seal: Mapping[str, Any]) -> None:
    FILE.write_text(json.dumps(seal, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _reach(code: Code, module: str, name: str) -> frozenset[Definition]:
    return frozenset(code.reached([Definition(module, name), *_AROUND], [TRACE]))


def _below(owner: type[Step]) -> Iterator[type[Step]]:
    for child in owner.__subclasses__():
        if child.__module__.startswith("modelbuild.") and hasattr(child, "kind"):
            yield child
        yield from _below(child)


def _file(module: str) -> str:
    return module.replace(".", "/") + ".py"
