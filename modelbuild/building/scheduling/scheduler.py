"""The loop: settle what needs no work, start what fits, wait, and go on around what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.building.scheduling import weights, words
from modelbuild.building.scheduling.crew import Crew
from modelbuild.building.scheduling.fetching import Fetcher
from modelbuild.building.scheduling.holding import Holding
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.noting import Clerk
from modelbuild.building.scheduling.remaining import Remaining
from modelbuild.building.scheduling.room import Room, on_gpu
from modelbuild.building.scheduling.runs import (
    HOST,
    Ended,
    Options,
    Publishing,
    RemoteCache,
    Reporter,
    Run,
)
from modelbuild.building.scheduling.walking import around, looked_up, without_looking
from modelbuild.machine import cores
from modelbuild.plan.actions import Action, Artifact
from modelbuild.plan.freshness import Verdict
from modelbuild.steps.base import Outcome
from modelbuild.store import Store
from modelbuild.worker.client import Finished, Told
from modelbuild.worker.jobs import Done, RunStep

_TICK = 0.1  # seconds between two looks at other builds' locks and at the clock


def _nothing() -> None:
    """There is nothing to be got ready."""


class Scheduler:
    """``run()`` once. Each artifact is published as soon as its proof is in."""

    def __init__(
        self,
        runs: Sequence[Run],
        store: Store,
        options: Options,
        reporter: Reporter,
        publisher: Publishing,
        remote: RemoteCache | None = None,
        ready: Callable[[], None] = _nothing,
    ) -> None:
        """``ready`` is called before the first action runs; what it raises, ``run`` does."""
        self.runs = runs
        self.store = store
        self.options = options
        self.reporter = reporter
        self.publisher = publisher
        self.judge = Judge(
            store, store.pin, options.force, options.in_process, remote, options.require_remote
        )
        self.fetcher = Fetcher(store, self.judge)
        self._ready = ready
        self._clerk = Clerk(store, self.judge)
        self._crew = Crew(runs, store, reporter, options.in_process)
        self._holding = Holding(store, reporter)
        self._room = Room(runs, self.judge.memory, options.jobs)
        self._remaining = Remaining(runs, self.judge.memory, options.jobs)
        self._work: dict[tuple[str, str], Path] = {}
        self._whole: set[str] = set()  # objects whose bytes were looked at, or made, by this command
        self._redone: dict[tuple[str, str], str] = {}
        self._anew: set[tuple[str, str]] = set()  # judged again, for other weights: once each
        self._void: set[tuple[str, str]] = set()  # run on what is outdated meanwhile
        self._share = cores.available()
        self._due: list[tuple[Run, Artifact]] = []  # from the remote, proven and not handed over yet

    def run(self) -> None:
        """Bring every action to an end.

        Raises:
            KeyboardInterrupt: after every child is gone.
            Unreachable: the remote cache is required, and cannot be asked.
        """
        self.reporter.begun(self._remaining)
        try:
            while True:
                self._advance()
                if all(r.all_ended() for r in self.runs):
                    return
                if self._crew.at_work():
                    for news in self._crew.news(_TICK):
                        self._heard(news)
                else:  # other builds are at work on everything that is left
                    time.sleep(_TICK)
                self.reporter.tick()
        finally:
            self._crew.end()
            for folder in self._work.values():
                self.store.discard(folder)
            self.fetcher.record(self.runs)
            self._holding.release_all(self.runs)

    def remember(self) -> None:
        """Keep the facts of this build, so that the next one can say what moved.

        Raises:
            OSError: the cache cannot be written.
        """
        for run in self.runs:
            self.store.remember(run.identity, self.judge.memory(run))

    # ---- deciding ----

    def _advance(self) -> None:
        """Settle everything that needs no work, then fill the free places."""
        # One recipe after the other; where a remote is asked, all of them, in as few round trips as it takes.
        together = [self.runs] if self.judge.remote is not None else [[run] for run in self.runs]
        for runs in together:
            progress = True
            while progress:
                self.judge.ask_ahead(self._unjudged(runs))
                progress = False
                for run in runs:
                    for action in run.waiting():  # which may have another way meanwhile
                        progress |= self._settle(run, run.actions[action.id])
                progress |= self._publish_due()
        for run in self.runs:
            self._let_go(run)
        ready = [(run, a) for run in self.runs for a in run.waiting() if a.id in run.judged]
        self._share = self._room.share(cores.available(), len(ready))
        # The one that runs here comes last: the children that it leaves room for run meanwhile.
        for run, action in sorted(self._room.in_order(ready), key=lambda row: self._is_here(row[1])):
            if self._room.is_full():
                return
            if action.id in run.judged:  # an earlier one in this list may have sent it back
                self._start(run, action)

    def _unjudged(self, runs: Iterable[Run]) -> Iterator[tuple[Run, Action]]:
        """What can be judged now, and was not."""
        for run in runs:
            yield from ((run, a) for a in run.waiting() if a.id not in run.judged and run.is_ready(a))

    def _settle(self, run: Run, action: Action) -> bool:
        """Judge an action whose inputs are there. True if it has come to its end."""
        if action.id in run.judged or not run.is_ready(action):
            return False
        known = without_looking(run, action, self.options.require_engines) or self._looked_up(run, action)
        if isinstance(known, Ended):
            self._end(run, action, known)
            return True
        if (made := self._without_work(run, action)) is None:
            run.judged[action.id] = known
            return False
        done, peak = made
        self._made(run, action, known, done, peak)
        return True

    def _looked_up(self, run: Run, action: Action) -> Ended | Verdict:
        """What the ledger has of an action. What turns out to be damaged there is set aside."""
        known = looked_up(run, action, self.judge)
        for tree in self.judge.damaged:
            self._set_aside(run, action, tree.digest)
        self.judge.damaged.clear()
        return known

    def _without_work(self, run: Run, action: Action) -> tuple[Done, int] | None:
        """What an action would make, and its peak in bytes, if its proof came with what it proves, or if
        what it measures was measured before."""
        if not self._is_here(action) and (proof := _proof_at_hand(run, action)) is not None:
            tree = self.store.put(self.store.workspace())
            met = run.passing.get(action.needs["model"], ())
            return Done(tree, proof.diagnostics, proof.data, passing=met), 0
        if (known := self.judge.recorded(run, action)) is None:
            return None
        entry, outcome = known
        if not self.fetcher.has(entry.tree):
            return None
        if outcome.proof is not None:
            run.proofs[action.id] = outcome.proof
        outlines = entry.data.get("outlines", {})
        return Done(entry.tree, outcome.diagnostics, outcome.data, entry.discovered, outlines), entry.peak

    # ---- starting ----

    def _start(self, run: Run, action: Action) -> None:
        """Run the action now if nothing stands against it; it stays judged otherwise."""
        folders = {role: self._folder(run, maker) for role, maker in action.needs.items()}
        given = {role: folder for role, folder in folders.items() if folder is not None}
        if len(given) < len(folders):
            return  # an input is damaged and is made again first
        if not self._room.admits(run, action) or not self._locked(run, action):
            return
        self._ready()
        in_process = self._is_here(action)
        if action.beside_model and not in_process and not self._crew.has_host(run):
            return
        work = self.store.workspace()
        self._work[run.identity, action.id] = work
        job = RunStep(
            action.step,
            {**given, **action.folders},
            work,
            run.around,
            str(self.store.log(run.around.base, run.name, action.id)),
            traced=action.discovers,
            threads=self._share,
            needs=("modelbuild.worker.jobs",),
        )
        run.running[action.id] = run.judged.pop(action.id)
        self._remaining.started(run, action.id)
        self.reporter.started(run.path, action.id, run.running[action.id].reason)
        if in_process:
            self._finished(run, action, self._crew.does_here(run, action, job))
        else:
            self._crew.does(run, action, job)

    def _is_here(self, action: Action) -> bool:
        return action.id == self.options.in_process

    def _log(self, run: Run, action: Action) -> Path | None:
        """Where what it says is written down, if that is not seen here."""
        return None if self._is_here(action) else self.store.log(run.around.base, run.name, action.id)

    def _locked(self, run: Run, action: Action) -> bool:
        """Take the action's lock, and look once more: another build may have had it until now."""
        if action.id in run.locks or not action.remembered:
            return True
        if not self._holding.takes(run, action, on_gpu(action)):
            return False
        run.judged.pop(action.id)
        known = self._looked_up(run, action)
        if isinstance(known, Ended):
            self._end(run, action, known)
            return False
        run.judged[action.id] = known
        return True

    def _let_go(self, run: Run) -> None:
        """End a model's host when nothing will run beside the model any more."""
        if not any(a.beside_model for a in (*run.waiting(), *map(run.actions.__getitem__, run.running))):
            self._holding.release(run, HOST)
            self._crew.let_go(run)

    # ---- objects ----

    def _folder(self, run: Run, maker: str) -> Path | None:
        """Where an input lies, whole; None if it is not, and ``maker`` has to run again."""
        tree = run.ended[maker].tree if maker in run.ended else None
        if tree is None:
            return None
        folder = self._whole_folder(run, maker)
        if folder is None:
            self._redo(run, maker)
        return folder

    def _whole_folder(self, run: Run, maker: str) -> Path | None:
        """Where a result's files lie, fetched if they have to be; None if they are not what they were."""
        folder, tree = self.fetcher.folder(run, maker), run.ended[maker].tree
        if folder is None or tree is None:
            return None
        # What was made or fetched just now was hashed just now; what was found may have rotted.
        hashed = tree.digest in self._whole or tree.digest in self.fetcher.whole
        if not (hashed or self.store.intact(tree)):
            return None
        self._whole.add(tree.digest)
        return folder

    def _redo(self, run: Run, maker: str) -> None:
        """Make an action's result again: what the store has of it is damaged, or it cannot be fetched."""
        tree = run.ended.pop(maker).tree
        assert tree is not None
        self._redone[run.identity, maker] = tree.digest
        if tree.digest not in self.judge.lost:
            self._set_aside(run, run.actions[maker], tree.digest)
        for other in run.plan.dependents(maker):
            run.judged.pop(other, None)
            self._holding.release(run, other)
        run.published -= {a.name for a in run.plan.artifacts if maker in (a.action, a.proof)}

    def _judge_anew(self, run: Run, maker: str) -> None:
        """Have an action come to another end, and all that came of it: its result is of other weights than
        what was made here. What runs beside the model reads no files, and those of it that are outdated
        come here by themselves."""
        if (run.identity, maker) in self._anew:
            return  # a model with other weights each time it is made: its proof will tell
        self._anew.add((run.identity, maker))
        later = [name for name in run.plan.dependents(maker) if not run.actions[name].beside_model]
        for name in (maker, *later):
            run.judged.pop(name, None)
            if name in run.running:
                self._void.add((run.identity, name))
                continue
            self._holding.release(run, name)
            if name in run.ended and run.ended[name].good:
                del run.ended[name]
        run.published -= {a.name for a in run.plan.artifacts if {maker, *later} & {*a.needed}}

    def _set_aside(self, run: Run, action: Action, digest: str) -> None:
        self.store.set_aside(digest)
        run.damaged.add(action.id)

    # ---- ending ----

    def _heard(self, news: Finished | Told) -> None:
        run, action = news.token.run, news.token.action
        if isinstance(news, Told):
            self.reporter.told(run.path, action.id, news.text)
        elif action is None:
            self._host_finished(run, news)
        elif action.id in run.running:
            self._finished(run, action, news)

    def _finished(self, run: Run, action: Action, finished: Finished) -> None:
        work = self._work.pop((run.identity, action.id))
        verdict = run.running.pop(action.id)
        if (run.identity, action.id) in self._void:
            self._void.remove((run.identity, action.id))
            self.store.discard(work)
            self._holding.release(run, action.id)
            return
        done = finished.result
        if not isinstance(done, Done):
            done = words.crashed(action.id, finished.status or 0, self._log(run, action))
        if done.tree is None:
            self.store.discard(work)
            self._failed(run, action, verdict, done, finished.peak)
            return
        if done.proof is not None:
            run.proofs[action.id] = done.proof
        self._made(run, action, verdict, done, finished.peak)

    def _failed(self, run: Run, action: Action, verdict: Verdict, done: Done, peak: int) -> None:
        """End an action that made nothing; go around it if it was refused, and write that down."""
        said = words.with_log(done.diagnostics, self._log(run, action))
        ended = Ended("failed", None, verdict.reason, verdict.changes, said, done.data, done.seconds,
                      done.exit_code or EXIT_STEP_FAILED)  # fmt: skip
        self._clerk.failed(run, action, done, peak)
        if done.refused:
            ended = around(run, action, ended)
            ended = replace(ended, entry=self._clerk.refused(run, action, verdict, done, peak))
        self._end(run, action, ended)

    def _made(self, run: Run, action: Action, verdict: Verdict, done: Done, peak: int) -> None:
        assert done.tree is not None
        ended = self._clerk.made(run, action, verdict, done, peak)
        self._whole.add(done.tree.digest)
        for maker in weights.outdated(run, action, ended):
            self._judge_anew(run, maker)
        self._end(run, action, ended)

    def _host_finished(self, run: Run, finished: Finished) -> None:
        ended = self._crew.host_ended(run, finished)
        if ended is None or ended.good:
            return
        self._holding.release(run, HOST)
        for action in run.waiting():
            if action.beside_model:
                judged = run.judged.pop(action.id, None)
                if judged is not None and isinstance(finished.result, Done):
                    self._clerk.failed(run, action, finished.result, finished.peak)
                self._end(run, action, Ended("blocked"))

    def _end(self, run: Run, action: Action, ended: Ended) -> None:
        if action.id in run.damaged and ended.status in ("built", "fetched"):
            run.damaged.remove(action.id)
            said = words.damaged(action.id, "made again" if ended.status == "built" else "fetched again")
            ended = replace(ended, diagnostics=(*ended.diagnostics, said))
        run.ended[action.id] = ended
        self._holding.release(run, action.id)
        self.reporter.ended(run.path, action.id, ended)
        redone = self._redone.pop((run.identity, action.id), None)
        if redone is not None and ended.tree is not None and ended.tree.digest != redone:
            for other in run.plan.dependents(action.id):  # they were judged by the lost bytes
                run.ended.pop(other, None)
        if ended.entry is not None:
            self.judge.remember(run, action, ended)
        self._publish(run, action)

    def _publish_due(self) -> bool:
        """Hand over what others have made, fetched side by side. True if some of that has to be made here."""
        due, self._due = self._due, []
        lacking = [(run, a.action) for run, a in due if self.publisher.lacks(run, a)]
        self.fetcher.ahead(lacking)
        again = False
        for run, artifact in due:
            if not all(i in run.ended for i in artifact.needed):  # what it needs is made again
                run.published.discard(artifact.name)
            elif not self.publisher.publish(run, artifact, partial(self._whole_folder, run, artifact.action)):
                self._redo(run, artifact.action)
                again = True
        return again

    def _publish(self, run: Run, action: Action) -> None:
        """Hand over what is proven with this action, and make again what turns out to be damaged."""
        for artifact in run.plan.of_action.get(action.id, ()):
            if artifact.name not in run.published and all(i in run.ended for i in artifact.needed):
                run.published.add(artifact.name)
                if run.ended[artifact.action].signed is not None:
                    self._due.append((run, artifact))
                elif not self.publisher.publish(
                    run, artifact, partial(self._whole_folder, run, artifact.action)
                ):
                    self._redo(run, artifact.action)


def _proof_at_hand(run: Run, action: Action) -> Outcome | None:
    """The proof that an action would make, if what it proves came with it."""
    maker = action.needs.get("model")
    if maker is None or maker not in run.proofs or action.discovers:
        return None
    return run.proofs[maker] if run.actions[maker].step.proven_by == action.step else None
