"""The loop: settle what needs no work, start what fits, wait, and go on around what failed."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic, ModelbuildError
from modelbuild.base.keys import digest, full_key
from modelbuild.base.records import REFUSED
from modelbuild.base.results import GOOD
from modelbuild.building.scheduling import words
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.room import Room, on_gpu
from modelbuild.building.scheduling.runs import Ended, Options, Publishing, Reporter, Run
from modelbuild.machine import cores
from modelbuild.machine.environment import ENVIRONMENT
from modelbuild.plan.actions import Action
from modelbuild.plan.freshness import Verdict
from modelbuild.steps.base import Outcome
from modelbuild.store import Entry, Store
from modelbuild.worker import here
from modelbuild.worker.client import Finished, Told, Workers
from modelbuild.worker.jobs import Done, HostModel, Ready, RunStep

# In this order: forks made early share what is there already.
WITH_TORCH = ("torch",)
PRELOAD = (
    "onnx", "onnx.shape_inference", "onnxruntime", "modelbuild.worker.jobs",
    "modelbuild.graph.simplification", "onnxsim", "modelbuild.graph.precision",
    "modelbuild.graph.simulate", "modelbuild.graph.runtime", "modelbuild.steps.proof",
)  # fmt: skip

HOST = "model"  # the name under which a model's process is reported and logged
_TICK = 0.1  # seconds between two looks at other builds' locks and at the clock


@dataclass(frozen=True)
class _Job:
    """What a worker was asked for: an action, or (None) a model's host."""

    run: Run
    action: Action | None
    number: int


class Scheduler:
    """``run()`` once. Each artifact is published as soon as its proof is in."""

    def __init__(
        self,
        runs: Sequence[Run],
        store: Store,
        options: Options,
        reporter: Reporter,
        publisher: Publishing,
    ) -> None:
        self.runs = runs
        self.store = store
        self.options = options
        self.reporter = reporter
        self.publisher = publisher
        self.workers: Workers | None = None
        self.judge = Judge(store, options.force, pinning=not options.dry_run, in_process=options.in_process)
        self._room = Room(runs, [self.judge.memory(r) for r in runs], options.jobs)
        self._work: dict[tuple[str, str], Path] = {}
        self._whole: set[str] = set()  # objects whose bytes were looked at, or made, by this command
        self._redone: dict[tuple[str, str], str] = {}
        self._told: set[tuple[str, str]] = set()
        self._share = cores.available()
        self._numbers = 0

    def run(self) -> None:
        """Bring every action to an end.

        Raises:
            KeyboardInterrupt: after every child is gone.
        """
        try:
            while True:
                self._advance()
                if all(r.all_ended() for r in self.runs):
                    return
                if self.workers is None:  # other builds are at work on everything that is left
                    time.sleep(_TICK)
                else:
                    for news in self.workers.wait(_TICK):
                        self._heard(news)
                self.reporter.tick()
        finally:
            if self.workers is not None:
                self.workers.end()
            for folder in self._work.values():
                self.store.discard(folder)
            for run in self.runs:
                for action in list(run.locks):
                    self._unlock(run, action)

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
        for run in self.runs:
            progress = True
            while progress:
                progress = False
                for action in run.waiting():  # which may have another way meanwhile
                    progress |= self._settle(run, run.actions[action.id])
            self._let_go(run)
        ready = [(run, a) for run in self.runs for a in run.waiting() if a.id in run.judged]
        self._share = self._room.share(cores.available(), len(ready))
        # The one that runs here comes last: the children that it leaves room for run meanwhile.
        for run, action in sorted(self._room.in_order(ready), key=lambda row: self._is_here(row[1])):
            if self._room.is_full():
                return
            if action.id in run.judged:  # an earlier one in this list may have sent it back
                self._start(run, action)

    def _settle(self, run: Run, action: Action) -> bool:
        """Judge an action whose inputs are there. True if it has come to its end."""
        if action.id in run.judged:
            return False
        before = [run.ended[i] for i in action.before if i in run.ended]
        if len(before) < len(action.before):
            return False
        states = [b.status for b in before]
        if any(s in ("failed", "blocked", "skipped") for s in states):
            skipped = all(s in (*GOOD, "stale", "skipped") for s in states)
            self._end(run, action, Ended("skipped" if skipped else "blocked"))
            return True
        if missing := action.step.missing():
            self._end(run, action, words.without(missing, self.options.require_engines))
            return True
        if "stale" in states:
            reason = next(b.reason for b in before if b.status == "stale")
            self._end(run, action, Ended("stale", reason=reason))
            return True
        verdict = self._judged(run, action)
        if verdict is None:
            return True
        if self.options.dry_run:
            self._end(run, action, Ended("stale", reason=verdict.reason, changes=verdict.changes))
            return True
        if not self._is_here(action) and (proof := _proof_at_hand(run, action)) is not None:
            tree = self.store.put(self.store.workspace())
            run.running[action.id] = verdict
            met = run.passing.get(action.needs["model"], ())
            self._record(run, action, Done(tree, proof.diagnostics, proof.data, passing=met), 0)
            return True
        if (known := self.judge.recorded(run, action)) is not None:
            entry, outcome = known
            if outcome.proof is not None:
                run.proofs[action.id] = outcome.proof
            run.running[action.id] = verdict
            outlines = entry.data.get("outlines", {})
            done = Done(entry.tree, outcome.diagnostics, outcome.data, entry.discovered, outlines)
            self._record(run, action, done, entry.peak)
            return True
        run.judged[action.id] = verdict
        return False

    def _judged(self, run: Run, action: Action) -> Verdict | None:
        """What is to be done and why; None if the action has come to its end."""
        try:
            verdict = self.judge.verdict(run, action)
        except ModelbuildError as error:
            self._end(run, action, Ended("failed", diagnostics=error.diagnostics, exit_code=error.exit_code))
            return None
        if self.judge.damaged and not self.options.dry_run:
            for tree in self.judge.damaged:
                self._set_aside(run, action, tree.digest)
        self.judge.damaged.clear()
        if verdict.entry is None:
            return verdict
        if REFUSED in verdict.entry.data:
            ended = words.refused(verdict.entry, self.store.log(run.name, action.id))
            self._end(run, action, self._around(run, action, ended))
        else:
            self._end(run, action, _from_entry("cached", verdict.entry))
        return None

    # ---- starting ----

    def _start(self, run: Run, action: Action) -> None:
        """Run the action now if nothing stands against it; it stays judged otherwise."""
        folders = {role: self._folder(run, maker) for role, maker in action.needs.items()}
        given = {role: folder for role, folder in folders.items() if folder is not None}
        if len(given) < len(folders):
            return  # an input is damaged and is made again first
        if not self._room.admits(run, action) or not self._locked(run, action):
            return
        in_process = self._is_here(action)
        if action.beside_model and not in_process:
            if run.host_state == "none":
                self._start_host(run)
            if run.host is None:
                return
        work = self.store.workspace()
        self._work[run.identity, action.id] = work
        job = RunStep(
            action.step,
            {**given, **action.folders},
            work,
            run.around,
            str(self.store.log(run.name, action.id)),
            traced=action.discovers,
            threads=self._share,
            needs=("modelbuild.worker.jobs",),
        )
        run.running[action.id] = run.judged.pop(action.id)
        token = self._job(run, action)
        self.reporter.started(run.path, action.id, run.running[action.id].reason)
        if in_process:
            self._run_here(token, job)
        else:
            workers = self._pool()
            workers.submit(run.host if action.beside_model and run.host else workers.first, job, token)

    def _run_here(self, token: _Job, job: RunStep) -> None:
        run, action = token.run, token.action
        assert action is not None
        host = HostModel(run.plan.source, run.around, "") if action.beside_model else None
        ended = here.run(
            job, host, self._preload(), lambda word: self.reporter.told(run.path, action.id, word), token
        )
        self._finished(run, action, ended)

    def _is_here(self, action: Action) -> bool:
        return action.id == self.options.in_process

    def _log(self, run: Run, action: Action) -> Path | None:
        """Where what it says is written down, if that is not seen here."""
        return None if self._is_here(action) else self.store.log(run.name, action.id)

    def _locked(self, run: Run, action: Action) -> bool:
        """Take the action's lock, and look once more: another build may have had it until now."""
        if action.id in run.locks or not action.remembered:
            return True
        if action.beside_model and not self._taken(run, HOST, action, [_model_lock(run)]):
            return False
        names = [f"action {run.judged[action.id].cheap}"] + (["gpu"] if on_gpu(action) else [])
        if not self._taken(run, action.id, action, names):
            return False
        run.judged.pop(action.id)
        verdict = self._judged(run, action)
        if verdict is None:
            self._unlock(run, action.id)
            return False
        run.judged[action.id] = verdict
        return True

    def _taken(self, run: Run, holder: str, action: Action, names: Sequence[str]) -> bool:
        """Take these locks for ``holder``, all or none, unless it has them."""
        if holder in run.locks:
            return True
        for name in names:
            lock = self.store.lock(name)
            if lock is None:
                self._unlock(run, holder)
                self._tell_waiting(run, action, name)
                return False
            run.locks.setdefault(holder, []).append(lock)
        return True

    def _unlock(self, run: Run, holder: str) -> None:
        for lock in run.locks.pop(holder, ()):
            lock.release()

    def _tell_waiting(self, run: Run, action: Action, name: str) -> None:
        if (run.identity, action.id) not in self._told:
            self._told.add((run.identity, action.id))
            holder = self.store.holder(name)
            who = f"another build (process {holder})" if holder else "another build"
            if holder == os.getpid():
                who = "another recipe of this command"
            self.reporter.told(run.path, action.id, f"{who} is at it; waiting for its result")

    def _start_host(self, run: Run) -> None:
        assert run.plan.source is not None
        run.host_state = "starting"
        job = HostModel(run.plan.source, run.around, str(self.store.log(run.name, HOST)))
        token = self._job(run, None)
        run.host_number = token.number
        self._pool().submit(self._pool().first, job, token)
        self.reporter.started(run.path, HOST, None)

    def _let_go(self, run: Run) -> None:
        """End a model's host when nothing will run beside the model any more."""
        if any(a.beside_model for a in run.waiting()) or any(
            run.actions[a].beside_model for a in run.running
        ):
            return
        self._unlock(run, HOST)
        if run.host is not None:
            assert self.workers is not None
            self.workers.close(run.host)
            run.host, run.host_state, run.host_number = None, "none", 0

    def _pool(self) -> Workers:
        if self.workers is None:
            # Where one step is debugged, breakpoint() stops there, and does not fail the others.
            quiet = {"PYTHONBREAKPOINT": "0"} if self.options.in_process else {}
            self.workers = Workers(self._preload(), {**ENVIRONMENT, **quiet})
        return self.workers

    def _preload(self) -> tuple[str, ...]:
        with_torch = any(r.plan.source is not None for r in self.runs)
        return (*WITH_TORCH, *PRELOAD) if with_torch else PRELOAD

    def _job(self, run: Run, action: Action | None) -> _Job:
        self._numbers += 1
        return _Job(run, action, self._numbers)

    # ---- objects ----

    def _folder(self, run: Run, maker: str) -> Path | None:
        """Where an input lies, whole; None if it is not, and ``maker`` has to run again."""
        tree = run.ended[maker].tree if maker in run.ended else None
        if tree is None:
            return None
        folder = self.store.folder(tree)
        if folder is not None and (tree.digest in self._whole or self.store.intact(tree)):
            self._whole.add(tree.digest)
            return folder
        self._redo(run, maker)
        return None

    def _redo(self, run: Run, maker: str) -> None:
        """Make an action's result again: what the store has of it is damaged."""
        tree = run.ended.pop(maker).tree
        assert tree is not None
        self._redone[run.identity, maker] = tree.digest
        self._set_aside(run, run.actions[maker], tree.digest)
        for other in run.plan.dependents(maker):
            run.judged.pop(other, None)
            self._unlock(run, other)
        run.published -= {a.name for a in run.plan.artifacts if maker in (a.action, a.proof)}

    def _set_aside(self, run: Run, action: Action, digest: str) -> None:
        self.store.set_aside(digest)
        run.damaged[action.id] = words.damaged(action.id)

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
        done = finished.result
        if not isinstance(done, Done):
            done = words.crashed(action.id, finished.status or 0, self._log(run, action))
        if done.tree is None:
            self.store.discard(work)
            self._failed(run, action, done, finished.peak)
            return
        if done.proof is not None:
            run.proofs[action.id] = done.proof
        self._record(run, action, done, finished.peak)

    def _failed(self, run: Run, action: Action, done: Done, peak: int) -> None:
        """End an action that made nothing; go around it if it was refused, and write that down."""
        verdict = run.running.pop(action.id)
        said = words.with_log(done.diagnostics, self._log(run, action))
        ended = Ended("failed", None, verdict.reason, verdict.changes, said, done.data, done.seconds,
                      done.exit_code or EXIT_STEP_FAILED)  # fmt: skip
        if "record" in done.data and not action.discovers:
            with contextlib.suppress(OSError):  # what was measured stands, by whatever bounds
                empty = self.store.put(self.store.workspace())
                self._keep_record(run, action, replace(done, tree=empty), peak)
        if done.refused:
            ended = self._around(run, action, ended)
            lasting = done.data.get("lasting", True) and not (done.unstable or done.passing)
            # Variants may be fine: they shall not wait for it again.
            if lasting and action.remembered and run.plan.references:
                data = {**done.data, REFUSED: done.exit_code or EXIT_STEP_FAILED}
                with contextlib.suppress(OSError):  # a full disk: then it is refused anew next time
                    tree = self.store.put(self.store.workspace())
                    entry = self._entry(run, action, replace(done, tree=tree, data=data), peak)
                    self.store.record(verdict.cheap, entry)
                    ended = replace(ended, entry=entry)
        self._end(run, action, ended)

    def _around(self, run: Run, action: Action, ended: Ended) -> Ended:
        """How an action that was refused ends: skipped, if no file needs it by another way now."""
        if not run.reroute(action.id, ended.data):
            return ended
        self._room.learn(run, self.judge.memory(run))
        if action.id in run.plan.needed():
            return ended
        return replace(ended, status="skipped", diagnostics=(), exit_code=0)

    def _entry(self, run: Run, action: Action, done: Done, peak: int) -> Entry:
        """What the ledger keeps of a result."""
        assert done.tree is not None
        known = self.judge.facts_of(run, action)
        data = {name: value for name, value in done.data.items() if name != "record"}
        if done.outlines:
            data["outlines"] = done.outlines
        return Entry(
            full_key(known, done.discovered), done.tree, known, dict(done.discovered),
            tuple(d.as_json() for d in done.diagnostics), data, done.seconds, peak,
        )  # fmt: skip

    def _keep_record(self, run: Run, action: Action, done: Done, peak: int) -> None:
        """Write down what was measured, to be judged anew where nothing but its bounds moves."""
        known = self.judge.record_facts(run, action)
        if known is not None and "record" in done.data and action.remembered and not done.passing:
            entry = self._entry(run, action, done, peak)
            data = {**entry.data, "record": done.data["record"]}
            key = full_key(known, done.discovered)
            self.store.record(digest(known), replace(entry, key=key, facts=known, diagnostics=(), data=data))

    def _record(self, run: Run, action: Action, done: Done, peak: int) -> None:
        """Write down what an action made, and end it."""
        verdict = run.running.pop(action.id)
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
                self.store.record(verdict.cheap, entry)
                self._keep_record(run, action, done, peak)
            except OSError as error:
                said.append(words.unrecorded(action.id, self.store.root, error))
        self._whole.add(entry.tree.digest)
        built = _from_entry("built", entry)
        said = [*built.diagnostics, *said]
        self._end(
            run,
            action,
            replace(
                built,
                reason=verdict.reason,
                changes=verdict.changes,
                seconds=done.seconds,
                diagnostics=tuple(said),
            ),
        )

    def _host_finished(self, run: Run, finished: Finished) -> None:
        if finished.token.number != run.host_number:
            return  # it was let go
        if isinstance(finished.result, Ready) and finished.status is None:
            assert self.workers is not None
            run.host = self.workers.adopt(finished.token, self.workers.first)
            run.host_state = "ready"
            self.reporter.ended(run.path, HOST, Ended("built", seconds=finished.result.seconds))
            return
        log = self.store.log(run.name, HOST)
        done = finished.result
        if not isinstance(done, Done):
            done = words.crashed("the model's process", finished.status or 0, log)
        run.host, run.host_state = None, "failed"
        self._unlock(run, HOST)
        run.host_diagnostics = words.with_log(done.diagnostics, log)
        failed = Ended("failed", diagnostics=run.host_diagnostics, exit_code=done.exit_code)
        self.reporter.ended(run.path, HOST, failed)
        for action in run.waiting():
            if action.beside_model:
                run.judged.pop(action.id, None)
                self._end(run, action, Ended("failed", exit_code=done.exit_code))

    def _end(self, run: Run, action: Action, ended: Ended) -> None:
        if action.id in run.damaged and ended.status == "built":
            ended = replace(ended, diagnostics=(*ended.diagnostics, run.damaged.pop(action.id)))
        run.ended[action.id] = ended
        self._unlock(run, action.id)
        self.reporter.ended(run.path, action.id, ended)
        redone = self._redone.pop((run.identity, action.id), None)
        if redone is not None and ended.tree is not None and ended.tree.digest != redone:
            for other in run.plan.dependents(action.id):  # they were judged by the lost bytes
                run.ended.pop(other, None)
        if ended.entry is not None and not self.options.dry_run:
            self.judge.remember(run, action, ended)
        self._publish(run, action)

    def _publish(self, run: Run, action: Action) -> None:
        """Hand over what is proven with this action, and make again what turns out to be damaged."""
        for artifact in run.plan.of_action.get(action.id, ()):
            needed = [i for i in (artifact.action, artifact.proof) if i]
            if artifact.name not in run.published and all(i in run.ended for i in needed):
                run.published.add(artifact.name)
                if not self.publisher.publish(run, artifact):
                    self._redo(run, artifact.action)


def _model_lock(run: Run) -> str:
    """One build makes a model for these actions, and the others wait for all of them at once: with
    a lock per action alone, two builds would each get one and both make the model."""
    return "model " + digest(sorted(run.judged[a.id].cheap for a in run.waiting() if a.beside_model
                                    and a.id in run.judged))  # fmt: skip


def _proof_at_hand(run: Run, action: Action) -> Outcome | None:
    """The proof that an action would make, if what it proves came with it."""
    maker = action.needs.get("model")
    if maker is None or maker not in run.proofs or action.discovers:
        return None
    return run.proofs[maker] if run.actions[maker].step.proven_by == action.step else None


def _from_entry(status: str, entry: Entry) -> Ended:
    said = tuple(Diagnostic.from_json(dict(d)) for d in entry.diagnostics)
    return Ended("built" if status == "built" else "cached", entry, diagnostics=said, data=entry.data)
