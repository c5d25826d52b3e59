"""Whether an action's stored result can stand: its facts, the ledger, and the words for a miss."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic, ModelbuildError, Unreachable
from modelbuild.base.keys import canonical, digest
from modelbuild.base.records import DATA, DIAGNOSTIC, FAILED, REFUSED
from modelbuild.building.scheduling import weights
from modelbuild.building.scheduling.runs import Ended, Origin, RemoteCache, Run
from modelbuild.plan.actions import Action
from modelbuild.plan.freshness import GONE, NEVER, Outline, Verdict, World, changes, facts, judge
from modelbuild.remote.side_by_side import each
from modelbuild.steps.base import Outcome
from modelbuild.store import Entry, Store, Tree
from modelbuild.trace import distributions, kinds
from modelbuild.trace.outline import outline


class Judge:
    """Asks for one command; what it has looked up once it does not look up again."""

    def __init__(
        self,
        store: Store,
        find: Callable[[Tree], Path | None],
        force: bool = False,
        in_process: str | None = None,
        remote: RemoteCache | None = None,
        required: bool = False,
    ) -> None:
        """``find`` is ``store.folder``, or ``store.pin`` of a build: a pin holds off the collector. With
        ``required`` a ``remote`` that cannot be asked is an error."""
        self.store = store
        self.remote = remote
        self.lost: set[str] = set()  # digests of objects that the remote names and cannot give
        self._required = required
        self.force = force
        self._find = find
        self._in_process = in_process
        self.memories: dict[str, dict[str, Any]] = {}
        self.damaged: list[Tree] = []  # objects that an entry names and that are not whole
        self.origins: dict[str, Origin] = {}  # by lookup key: hits that are from the remote
        self._known: dict[tuple[str, str], dict[str, Any]] = {}
        self._versions: dict[str, str | None] = {}
        self._current: dict[tuple[Path, str, str | None], str | None] = {}

    def memory(self, run: Run) -> dict[str, Any]:
        """What the store remembers of the recipe's last build, action by action."""
        if run.identity not in self.memories:
            self.memories[run.identity] = self.store.history(run.identity)
        return self.memories[run.identity]

    def known(self, run: Run, action: Action) -> dict[str, Any]:
        """The facts of an action whose inputs are there.

        Raises:
            ModelbuildError: a pattern of the recipe matches nothing.
        """
        known = facts(action, _inputs(run, action), self._installed(action))
        if declared := action.step.declared(run.around.base):
            known["declared files"] = [os.path.relpath(p, run.around.base) for p in declared]
        known |= action.step.device()
        self._known[run.identity, action.id] = known
        return known

    def verdict(self, run: Run, action: Action) -> Verdict:
        """Hit or miss, and what moved.

        Raises:
            ModelbuildError: a pattern of the recipe matches nothing.
        """
        known = self.known(run, action)
        if not action.remembered:
            return Verdict(digest(known), None)
        entries = self.store.entries(digest(known))
        last = self.memory(run).get(action.id, {})
        again = self.runs_again(action)
        fitting = [entry for entry in entries if _fits(run, action, entry)]
        verdict = judge(known, fitting, self._world(run), last)
        if verdict.entry is not None:
            return Verdict(verdict.lookup_key, None, (again,)) if again else verdict
        if not again and (origin := self._elsewhere(run, action, known)) is not None:
            self.origins[verdict.lookup_key] = origin
            run.other_weights.pop(action.id, None)
            return Verdict(verdict.lookup_key, origin.entry)
        said = verdict.changes if last else self._failed_before(run, action) or verdict.changes
        if (other := run.other_weights.pop(action.id, None)) and said in (GONE, NEVER):
            said = (other,)
        return Verdict(verdict.lookup_key, None, self._in_makers_words(run, action, said))

    def _failed_before(self, run: Run, action: Action) -> tuple[str, ...]:
        """Of an action that no build remembers, as it has only failed: that is written down."""
        failure = self._noted(run, self.failure_facts(run, action))
        for entry in (self.measured(run, action), failure):
            if entry is not None and FAILED in entry.data:
                return (f"failed before: {entry.data[FAILED]}",)
        return ()

    def runs_again(self, action: Action) -> str | None:
        """Why an action runs whether it is fresh or not."""
        if action.id == self._in_process:
            return "in this process"
        return "forced" if self.force else None

    def recorded(self, run: Run, action: Action) -> tuple[Entry, Outcome] | None:
        """The outcome of an action by what was measured once for other bounds, and where that is from."""
        if self.runs_again(action) or not action.remembered:
            return None
        entry = self.measured(run, action)
        if entry is None and (known := self.record_facts(run, action)) is not None:
            origin = self._elsewhere(run, action, known)
            entry = origin.entry if origin is not None else None
        if entry is None:
            return None
        try:
            outcome = action.step.judged(entry.data["record"])
            sound = outcome is None or _is_sound(outcome)
        except (TypeError, LookupError, ValueError, AttributeError, ArithmeticError, RecursionError):
            return None  # damage that no digest shows
        return (entry, outcome) if outcome is not None and sound else None

    def measured(self, run: Run, action: Action) -> Entry | None:
        """What the ledger has of what an action measured, by whatever bounds that was judged."""
        return self._noted(run, self.record_facts(run, action)) if action.remembered else None

    def _noted(self, run: Run, known: dict[str, Any] | None) -> Entry | None:
        """What the ledger has under facts that are no result's."""
        if known is None:
            return None
        verdict = judge(known, self.store.entries(digest(known)), self._world(run), {})
        self.damaged.clear()
        return verdict.entry

    def ask_ahead(self, rows: Iterable[tuple[Run, Action]]) -> None:
        """Ask the remote for what is not here of these actions, which are ready: of all of them at once, as
        each answer takes a round trip. What it says is judged when they are."""
        if self.remote is None or self.remote.off is not None:
            return
        asked = []
        for run, action in rows:
            if not action.remembered or self.runs_again(action) or action.step.missing():
                continue
            try:
                lookup_key = digest(self.known(run, action))
            except ModelbuildError:
                continue  # told when it is judged
            if not self.store.has_entries(lookup_key):
                asked.append((lookup_key, action.step.kind))
        remote = self.remote
        each(lambda row: remote.entries(*row), dict.fromkeys(asked))

    def _elsewhere(self, run: Run, action: Action, known: Mapping[str, Any]) -> Origin | None:
        """What the remote has for these facts, if it can stand here as well as a local result.

        Raises:
            Unreachable: it has to be asked, and cannot be.
        """
        if self.remote is None:
            return None
        known_there = self.remote.entries(digest(known), action.step.kind)
        if self._required and self.remote.off is not None:
            raise unreachable(self.remote.off)
        found = [
            origin for origin in known_there
            if origin.entry.tree.digest not in self.lost and _fits(run, action, origin.entry)
        ]  # fmt: skip
        world = replace(self._world(run), usable=lambda entry: True)  # its files are fetched when needed
        entry = judge(known, [origin.entry for origin in found], world, {}).entry
        return next((origin for origin in found if origin.entry is entry), None)

    def record_facts(self, run: Run, action: Action) -> dict[str, Any] | None:
        """Under which facts the ledger has what an action measured: all but those that only judge it."""
        measured = action.step.measured()
        if measured is None:
            return None
        knobs = {*action.step.knobs(), "declared files"}
        known = {name: value for name, value in self.facts_of(run, action).items() if name not in knobs}
        return {"record": {**known, **measured}}

    def failure_facts(self, run: Run, action: Action) -> dict[str, Any]:
        """Under which facts the ledger has that an action failed."""
        return {"failure": self.facts_of(run, action)}

    def changes(self, run: Run, action: Action) -> tuple[str, ...]:
        """What moved since the last build, whether or not the ledger has a result for it."""
        last = self.memory(run).get(action.id, {})
        said = changes(self.known(run, action), self._world(run), last)
        return self._in_makers_words(run, action, said)

    def facts_of(self, run: Run, action: Action) -> Mapping[str, Any]:
        """The facts that an action was judged by; empty if it never was."""
        return self._known.get((run.identity, action.id), {})

    def remember(self, run: Run, action: Action, ended: Ended) -> None:
        """What the next build shall know of this one."""
        if ended.entry is not None and action.remembered:
            entry = ended.entry
            self.memory(run)[action.id] = {
                "facts": self._known[run.identity, action.id],
                "discovered": dict(entry.discovered),
                "outlines": entry.data.get("outlines", {}),
                "unstable": list(run.unstable.get(action.id, ())),
                "passing": list(run.passing.get(action.id, ())),
                "tree": entry.tree.digest,
                "key": entry.key,
                "seconds": entry.seconds,
                "peak": entry.peak,
            }

    def _in_makers_words(self, run: Run, action: Action, said: tuple[str, ...]) -> tuple[str, ...]:
        """An input that has other bytes is told in the words of what moved for its maker."""
        words: list[str] = []
        for word in said:
            maker = action.needs.get(word.removeprefix("input ").removesuffix(" changed"))
            if maker is None or not word.startswith("input "):
                words.append(word)
                continue
            ended = run.ended[maker]
            moved = ended.changes or self.changes(run, run.actions[maker])
            words += moved or (word,)
        return tuple(dict.fromkeys(words))

    def _installed(self, action: Action) -> Mapping[str, str | None]:
        for name in action.step.uses():
            if name not in self._versions:
                self._versions[name] = distributions.standing(name)
        return self._versions

    def _world(self, run: Run) -> World:
        base = run.around.base

        def current(name: str, value: str | None) -> str | None:
            asked = (base, name, value)
            if asked not in self._current:
                self._current[asked] = kinds.current(name, value, base)
            return self._current[asked]

        def usable(entry: Entry) -> bool:
            if self._find(entry.tree) is not None:
                return True
            self.damaged.append(entry.tree)
            return False

        def outlined(path: str) -> Outline | None:
            try:
                return outline((base / path).read_bytes())
            except OSError:
                return None

        return World(current, usable, outlined)


def unreachable(why: str) -> Unreachable:
    """The error of a remote cache that was asked for with ``--require-remote``."""
    return Unreachable(
        Diagnostic(
            "remote-failed",
            f"--require-remote: {why}",
            "leave --require-remote out to build without the remote cache",
        )
    )


def _is_sound(outcome: Outcome) -> bool:
    """Whether what came of a record, which a stranger may have written, is what a step says."""
    data, said = json.loads(canonical([outcome.data, [d.as_json() for d in outcome.diagnostics]]))
    return DATA(data) and all(map(DIAGNOSTIC, said))


def _fits(run: Run, action: Action, entry: Entry) -> bool:
    """Whether an entry is of the weights that the run is of, and its files are those that the action makes:
    a refusal has none, and what is published beside others has its own name."""
    if not weights.agree(run, action, entry):
        return False
    files = set(entry.tree.files)
    if REFUSED in entry.data:
        return not files
    made = getattr(action.step, "filename", None) if _is_published(run, action) else None
    return made is None or files in ({made}, {made, f"{made}.data"})


def _is_published(run: Run, action: Action) -> bool:
    return any(a.action == action.id for a in run.plan.of_action.get(action.id, ()))


def _inputs(run: Run, action: Action) -> dict[str, str]:
    return {
        role: tree.digest
        for role, maker in action.needs.items()
        if (tree := run.ended[maker].tree) is not None
    }
