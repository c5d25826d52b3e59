"""Is an action's result still good? One question for build, dry run, status and why. Pure."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild import trace
from modelbuild.base.keys import canonical, digest
from modelbuild.plan.actions import Action
from modelbuild.plan.turned import turned
from modelbuild.store import Entry
from modelbuild.trace import kinds

GONE = ("its stored result is gone",)  # nothing moved, and there is none all the same
NEVER = ("never built",)
Outline = Mapping[str, str]  # of a Python file: its top-level definitions, each with a digest


@dataclass(frozen=True)
class Verdict:
    """``entry`` is the stored result if it can stand; otherwise ``changes`` says why it cannot."""

    lookup_key: str
    entry: Entry | None
    changes: tuple[str, ...] = ()

    @property
    def reason(self) -> str | None:
        return self.changes[0] if self.changes else None


@dataclass(frozen=True)
class World:
    """What judging asks of the outside: ``current`` what a discovered fact, which had this value,
    is now, ``usable`` whether an entry's object is there, ``outline`` the definitions of a file now."""

    current: Callable[[str, str | None], str | None]
    usable: Callable[[Entry], bool]
    outline: Callable[[str], Outline | None]


def facts(action: Action, inputs: Mapping[str, str], versions: Mapping[str, str | None]) -> dict[str, Any]:
    """Everything that decides the action's result and is known before it runs."""
    step = action.step
    known: dict[str, Any] = {"step": step.kind, "step version": step.version, **step.knobs()}
    known |= {kinds.PACKAGE.fact(name): versions.get(name) for name in step.uses()}
    if action.discovers:
        known["trace version"] = trace.VERSION
    if action.beside_model:
        known["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
        known["machine"] = platform.machine()
    known |= {f"input {role}": value for role, value in inputs.items()}
    # As the ledger gives it back: a tuple that has become a list is not a change.
    plain: dict[str, Any] = json.loads(canonical(known))
    return plain


def judge(
    known: Mapping[str, Any], entries: Sequence[Entry], world: World, last: Mapping[str, Any]
) -> Verdict:
    """Hit or miss, and for a miss what moved since ``last``, what is remembered of the last build.

    The key alone decides; ``last`` only words the reason.
    """
    lookup_key = digest(known)
    gone: tuple[str, ...] = ()
    for entry in entries:
        if all(world.current(name, value) == value for name, value in entry.discovered.items()):
            if world.usable(entry):
                return Verdict(lookup_key, entry)
            gone = GONE
    return Verdict(lookup_key, None, gone or changes(known, world, last) or GONE)


def changes(known: Mapping[str, Any], world: World, last: Mapping[str, Any]) -> tuple[str, ...]:
    """What moved since the last build, in words; the recipe's own knobs first."""
    if not last:
        return NEVER
    if unstable := last.get("unstable"):
        return (f"{unstable[0]} was saved while the last build read it",)
    if passing := last.get("passing"):
        return (f"the last build went on after what may be gone now: {passing[0]}",)
    knobs, packages = _parted(known)
    last_knobs, last_packages = _parted(last["facts"])
    said = turned(last_knobs, knobs)
    for name, value in {**last_packages, **last["discovered"]}.items():
        now = packages[name] if name in packages else world.current(name, value)
        if now != value:
            said.append(_told(name, value, now, last, world))
    return tuple(dict.fromkeys(said))


def _parted(facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The knobs, and the packages: these are told alike, whether a step names them or a run does."""
    packages = {name: value for name, value in facts.items() if kinds.parted(name)[0] is kinds.PACKAGE}
    return {name: value for name, value in facts.items() if name not in packages}, packages


def _told(name: str, old: str | None, new: str | None, last: Mapping[str, Any], world: World) -> str:
    kind, rest = kinds.parted(name)

    def outlines() -> tuple[Outline, Outline] | None:
        before = last.get("outlines", {}).get(rest)
        now = world.outline(rest) if before else None
        return None if now is None else (before, now)

    return kind.words(rest, old, new, outlines)
