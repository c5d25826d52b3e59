"""What came of an action, written down in the ledger for the next time."""

from __future__ import annotations

import contextlib
from dataclasses import replace

from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic
from modelbuild.base.keys import digest, full_key
from modelbuild.base.records import FAILED, REFUSED
from modelbuild.building.scheduling import words
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Ended, Run
from modelbuild.building.scheduling.walking import ended_with
from modelbuild.plan.actions import Action
from modelbuild.plan.freshness import Verdict
from modelbuild.store import Entry, Store
from modelbuild.worker.jobs import Done


class Clerk:
    """Of one command, under the facts that its ``judge`` has judged by."""

    def __init__(self, store: Store, judge: Judge) -> None:
        self._store = store
        self._judge = judge

    def made(self, run: Run, action: Action, verdict: Verdict, done: Done, peak: int) -> Ended:
        """Write down what an action made, if it may be used again. Gives how the action ends."""
        entry = self._entry(run, action, done, peak)
        said: list[Diagnostic] = []
        if done.unstable:
            run.unstable[action.id] = done.unstable
            said.append(words.unstable(action.id, done.unstable))
        elif done.passing:
            run.passing[action.id] = done.passing
            said.append(words.passing(action.id, done.passing))
        elif action.remembered:
            try:
                self._store.record(verdict.lookup_key, entry)
                self._measured(run, action, done, peak)
            except OSError as error:
                said.append(words.unrecorded(action.id, self._store.root, error))
        ended = ended_with("built", entry)
        return replace(
            ended,
            reason=verdict.reason,
            changes=verdict.changes,
            seconds=done.seconds,
            diagnostics=(*ended.diagnostics, *said),
        )

    def failed(self, run: Run, action: Action, done: Done, peak: int) -> None:
        """Write down that an action failed, to be told as that; and what it measured, which stands by
        whatever bounds."""
        wrong = [d.code for d in done.diagnostics if d.level == "error"]
        if not (wrong and action.remembered):
            return
        with contextlib.suppress(OSError):  # a full disk: then it is told as never built
            done = replace(done, tree=self._store.put(self._store.workspace()))
            if "record" in done.data and not action.discovers:
                self._measured(run, action, done, peak)
            known = self._judge.failure_facts(run, action)
            entry = self._entry(run, action, replace(done, diagnostics=(), data={FAILED: wrong[0]}), peak)
            key = full_key(known, done.discovered)
            self._store.record(digest(known), replace(entry, key=key, facts=known))

    def refused(self, run: Run, action: Action, verdict: Verdict, done: Done, peak: int) -> Entry | None:
        """Write a refusal down, if it lasts and there are variants: they shall not wait for it again."""
        lasting = done.data.get("lasting", True) and not (done.unstable or done.passing)
        if not (lasting and action.remembered and run.plan.references):
            return None
        data = {**done.data, REFUSED: done.exit_code or EXIT_STEP_FAILED}
        with contextlib.suppress(OSError):  # a full disk: then it is refused anew next time
            tree = self._store.put(self._store.workspace())
            entry = self._entry(run, action, replace(done, tree=tree, data=data), peak)
            self._store.record(verdict.lookup_key, entry)
            return entry
        return None

    def _entry(self, run: Run, action: Action, done: Done, peak: int) -> Entry:
        """What the ledger keeps of a result."""
        assert done.tree is not None
        known = self._judge.facts_of(run, action)
        data = {name: value for name, value in done.data.items() if name != "record"}
        if done.outlines:
            data["outlines"] = done.outlines
        return Entry(
            full_key(known, done.discovered), done.tree, known, dict(done.discovered),
            tuple(d.as_json() for d in done.diagnostics), data, done.seconds, peak,
        )  # fmt: skip

    def _measured(self, run: Run, action: Action, done: Done, peak: int) -> None:
        """Write down what was measured, to be judged anew where nothing but its bounds moves."""
        known = self._judge.record_facts(run, action)
        if known is not None and "record" in done.data and action.remembered and not done.passing:
            entry = self._entry(run, action, done, peak)
            data = {**entry.data, "record": done.data["record"]}
            if wrong := [d.code for d in done.diagnostics if d.level == "error"]:
                data[FAILED] = wrong[0]
            key = full_key(known, done.discovered)
            self._store.record(digest(known), replace(entry, key=key, facts=known, diagnostics=(), data=data))
