"""Is an action's result still good? One question for build, dry run, status and why. Pure."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modelbuild import trace
from modelbuild.base.keys import canonical, digest, moved
from modelbuild.plan.actions import Action
from modelbuild.store import Entry
from modelbuild.trace import outline
from modelbuild.wording.phrases import few

Outline = Mapping[str, str]  # of a Python file: its top-level definitions, each with a digest

# Distributions are facts under this name, whether a step names them or a run was seen to use them.
PACKAGE = "package "


@dataclass(frozen=True)
class Verdict:
    """``entry`` is the stored result if it can stand; otherwise ``changes`` says why it cannot."""

    cheap: str
    entry: Entry | None
    changes: tuple[str, ...] = ()

    @property
    def reason(self) -> str | None:
        return self.changes[0] if self.changes else None


@dataclass(frozen=True)
class World:
    """What judging asks of the outside: ``current`` what a discovered fact, which had this value,
    is now, ``usable`` whether an entry's object is there, ``outline`` a file's definitions now."""

    current: Callable[[str, str | None], str | None]
    usable: Callable[[Entry], bool]
    outline: Callable[[str], Outline | None]


def facts(action: Action, inputs: Mapping[str, str], versions: Mapping[str, str | None]) -> dict[str, Any]:
    """Everything that decides the action's result and is known before it runs."""
    step = action.step
    known: dict[str, Any] = {"step": step.kind, "step version": step.version, **step.knobs()}
    known |= {PACKAGE + name: versions.get(name) for name in step.uses()}
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
    cheap = digest(known)
    gone: tuple[str, ...] = ()
    for entry in entries:
        if all(world.current(name, value) == value for name, value in entry.discovered.items()):
            if world.usable(entry):
                return Verdict(cheap, entry)
            gone = ("its stored result is gone",)
    return Verdict(cheap, None, gone or changes(known, world, last) or ("its stored result is gone",))


def changes(known: Mapping[str, Any], world: World, last: Mapping[str, Any]) -> tuple[str, ...]:
    """What moved since the last build, in words; the recipe's own knobs first."""
    if not last:
        return ("never built",)
    if unstable := last.get("unstable"):
        return (f"{unstable[0]} was saved while the last build read it",)
    if passing := last.get("passing"):
        return (f"the last build went on after what may be gone now: {passing[0]}",)
    knobs, packages = _parted(known)
    last_knobs, last_packages = _parted(last["facts"])
    said = moved(last_knobs, knobs)
    for name, value in {**last_packages, **last["discovered"]}.items():
        now = packages[name] if name in packages else world.current(name, value)
        if now != value:
            said.append(_told(name, value, now, last, world))
    return tuple(dict.fromkeys(said))


def _parted(facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The knobs, and the packages: these are told alike, whether a step names them or a run does."""
    packages = {name: value for name, value in facts.items() if name.startswith(PACKAGE)}
    return {name: value for name, value in facts.items() if name not in packages}, packages


def _told(name: str, old: str | None, new: str | None, last: Mapping[str, Any], world: World) -> str:
    kind, _, what = name.partition(" ")
    match kind:
        case "file":
            if new is None:
                return f"{what} is gone"
            before = last.get("outlines", {}).get(what)
            return _edited(what, before, world.outline(name)) if before else f"{what} changed"
        case "absent":
            return f"new file {what}"
        case "listing":
            return f"folder {what} is gone" if new is None else f"the files in {what} changed"
        case "modules":
            return _resolved(what, old or "", new or "")
        case "search":
            return _found_elsewhere(old or "", new or "")
        case "cwd":
            return f"the command's folder {_pair(old, new, 'gone')}"
        case "link":
            return f"link {what} {_pair(old, new, 'no link')}"
        case "made" | "size" | "journal":
            return f"{what} changed"
        case "executable":
            return f"{what} can{' no longer' if new == 'no' else ' now'} be run"
        case "order":
            return "which of the files is newer changed"
        case "which":
            return f"the program {what} {_pair(old, new, 'not found')}"
        case "glob":
            return f"the files that `{what}` matches changed"
        case "present":
            return f"{what} is gone"
        case "env":
            return f"environment variable {what} {_pair(old, new, 'unset')}"
        case "entry-points":
            return f"the entry points of {what} changed"
        case "installed":
            return "the installed distributions changed"
        case "package":
            return _installed(what, old, new)
        case "distribution":
            return f"{what} {_pair(old, new, 'not installed')}"
    return f"{name} changed"


def _edited(path: str, old: Outline, new: Outline | None) -> str:
    """``net.py:Net changed``: which definition, where that can be said."""
    if new is None:
        return f"{path} changed"
    found = outline.changed(old, new)
    if not found:
        return f"{path} changed (comments or layout)"
    named = [name for name in found if name != outline.REST]
    if not named:
        return f"{path} changed"
    return few([f"{path}:{n}" for n in named], 2) + " changed"


def _resolved(folder: str, old: str, new: str) -> str:
    """How imports resolve in a folder: entries ``name`` or ``name:file``."""
    before = dict(_entry(e) for e in old.split())
    for entry in new.split():
        name, file = _entry(entry)
        if file != before.get(name, ""):
            where = "" if folder == "." else f"{folder}/"
            if not file:
                return f"{where}{before[name]} is gone"
            shadowed = f"{where}{before[name]}" if before.get(name) else f"the module `{name}`"
            return f"new file shadows {shadowed}: {where}{file}"
    return f"the modules in {folder} changed"


def _found_elsewhere(old: str, new: str) -> str:
    """How imports resolve in the command's folder and PYTHONPATH."""
    before = dict(_entry(e) for e in old.split())
    for entry in new.split():
        name, file = _entry(entry)
        if file != before.get(name, ""):
            was, now = before.get(name) or None, file or None
            return f"the module `{name}` {_pair(was, now, 'installed')}"
    return "the modules on PYTHONPATH changed"


def _installed(module: str, old: str | None, new: str | None) -> str:
    """Whose a module is: ``2.13.0``, or ``onnxruntime-gpu 1.27.0``, or several of these."""
    before, after = ({*(value or "").split(", ")} - {""} for value in (old, new))
    gone, come = (sorted(values) for values in (before - after, after - before))
    plain = len(gone) == len(come) == 1 and not any(s in f"{old} {new}" for s in ("from ", "sha256:"))
    if not plain:
        return f"{module} {_pair(old, new, 'not installed')}"
    (was, number), (now, other) = (v.rpartition(" ")[::2] for v in (gone[0], come[0]))
    named = "" if was == now else f"{now or module} "
    return f"{was or module} {number} -> {named}{other}"


def _entry(text: str) -> tuple[str, str]:
    name, _, file = text.partition(":")
    return name, file


def _pair(old: str | None, new: str | None, nothing: str) -> str:
    if any("sha256:" in str(v) for v in (old, new)):
        return "changed"
    return f"{nothing if old is None else old} -> {nothing if new is None else new}"
