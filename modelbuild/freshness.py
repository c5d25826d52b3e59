"""Is an action's result still good? One question for build, dry run, status and why. Pure."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild.keys import canonical, digest, moved
from modelbuild.plan import Action
from modelbuild.store import Entry


@dataclass(frozen=True)
class Verdict:
    """``entry`` is the stored result if it can be used; ``reason`` says why it cannot."""

    cheap: str
    entry: Entry | None
    reason: str | None


def facts(action: Action, inputs: Mapping[str, str], versions: Mapping[str, str | None]) -> dict[str, Any]:
    """Everything that decides the action's result and is known before it runs."""
    step = action.step
    known: dict[str, Any] = {"step": step.kind, "step version": step.version, **step.knobs()}
    known |= {name: versions.get(name) for name in step.distributions}
    if action.beside_model:
        known["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
        known["machine"] = platform.machine()
    known |= {f"input {role}": value for role, value in inputs.items()}
    # As the ledger gives it back: a tuple that has become a list is not a change.
    plain: dict[str, Any] = json.loads(canonical(known))
    return plain


def full_key(known: Mapping[str, Any], discovered: Mapping[str, str | None]) -> str:
    """The key of a result: what was known before, and what the run read by itself."""
    return digest({"facts": known, "discovered": discovered})


def judge(
    known: Mapping[str, Any],
    entries: Sequence[Entry],
    usable: Callable[[Entry], bool],
    current: Callable[[str, str | None], str | None],
    last: Mapping[str, Any] | None,
) -> Verdict:
    """Hit or miss, and for a miss the fact that moved since ``last`` (its facts and discoveries).

    ``usable`` says whether an entry's object is still there, ``current`` what a discovered fact, which
    had this value, is now. The key alone decides; ``last`` only words the reason.
    """
    cheap = digest(known)
    gone = None
    for entry in entries:
        if all(current(name, value) == value for name, value in entry.discovered.items()):
            if usable(entry):
                return Verdict(cheap, entry, None)
            gone = "its stored result is gone"
    return Verdict(cheap, None, gone or _reason(known, current, last))


def _reason(
    known: Mapping[str, Any],
    current: Callable[[str, str | None], str | None],
    last: Mapping[str, Any] | None,
) -> str:
    if not last:
        return "never built"
    changes = moved(last.get("facts", {}), known)
    for name, value in last.get("discovered", {}).items():
        now = current(name, value)
        if now != value:
            changes.append(_moved(name, value, now))
    return changes[0] if changes else "its stored result is gone"


def _moved(name: str, old: str | None, new: str | None) -> str:
    kind, _, rest = name.partition(" ")
    if new is None:
        return f"{rest} is gone"
    return f"{rest} changed" if kind == "file" else f"{rest} {old} -> {new}"
