"""Run the actions of several plans: judge, start what fits, wait, and go on around what failed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from modelbuild import cores, toolchain
from modelbuild.errors import EXIT_STEP_FAILED, EXIT_TOOLCHAIN, Diagnostic, ModelbuildError
from modelbuild.freshness import Verdict, facts, full_key, judge
from modelbuild.isolate import describe
from modelbuild.keys import digest
from modelbuild.plan import Action, Artifact, Plan
from modelbuild.results import GOOD
from modelbuild.steps.base import Outcome
from modelbuild.steps.engine import BuildEngine
from modelbuild.store import Entry, Store, Tree
from modelbuild.trace import facts as discoveries
from modelbuild.worker.client import Finished, Link, Told, Workers
from modelbuild.worker.jobs import Done, HostModel, Ready, RunStep, Surroundings

Status = Literal["cached", "built", "stale", "failed", "blocked", "skipped"]

# Set before any library is loaded.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # a thread that waits for work leaves its core to another action
    "ORT_DISABLE_TELEMETRY": "1",  # it would start a thread in the server, which forks
    "PYTHONHASHSEED": "0",  # sets of strings come in one order, whatever the user's shell says
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking for a GPU must not spoil CUDA for the forks
    "TOKENIZERS_PARALLELISM": "false",  # a thread pool that a fork would lose
}
# In this order: forks made early share what is there already.
WITH_TORCH = ("torch",)
PRELOAD = (
    "onnx", "onnx.shape_inference", "onnxruntime", "modelbuild.worker.jobs",
    "modelbuild.graph.simplification", "onnxsim", "modelbuild.graph.precision",
    "modelbuild.graph.simulate", "modelbuild.graph.runtime", "modelbuild.steps.proof",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """What became of an action."""

    status: Status
    tree: Tree | None = None
    key: str | None = None
    reason: str | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    peak: int = 0
    exit_code: int = 0


class Reporter(Protocol):
    """Who wants to know what happens."""

    def started(self, recipe: str, action: str, why: str | None) -> None: ...
    def ended(self, recipe: str, action: str, ended: Ended) -> None: ...
    def told(self, recipe: str, action: str, word: str) -> None: ...
    def tick(self) -> None: ...


@dataclass(frozen=True)
class Options:
    jobs: int
    dry_run: bool = False
    force: bool = False
    require_engines: bool = False


class Run:
    """One recipe's plan on its way."""

    def __init__(self, plan: Plan, path: str, around: Surroundings, identity: str) -> None:
        self.plan = plan
        self.path = path
        self.around = around
        self.identity = identity  # under which the store remembers its last build
        self.ended: dict[str, Ended] = {}
        self.running: dict[str, Verdict] = {}
        self.known: dict[str, dict[str, Any]] = {}
        self.judged: dict[str, Verdict] = {}
        self.proofs: dict[str, Outcome] = {}  # of what an action made, made by that action
        self.host: Link | None = None
        self.host_state: Literal["none", "starting", "ready", "failed"] = "none"
        self.host_diagnostics: tuple[Diagnostic, ...] = ()
        self.published: set[str] = set()

    @property
    def name(self) -> str:
        return self.plan.recipe.name

    def waiting(self) -> list[Action]:
        return [a for a in self.plan.actions if a.id not in self.ended and a.id not in self.running]

    def all_ended(self) -> bool:
        return len(self.ended) == len(self.plan.actions)


class Scheduler:
    """``run()`` once. ``publish`` is called for each artifact as soon as its proof is in."""

    def __init__(
        self,
        runs: Sequence[Run],
        store: Store,
        options: Options,
        reporter: Reporter,
        publish: Callable[[Run, Artifact], None],
    ) -> None:
        self.runs = runs
        self.store = store
        self.options = options
        self.reporter = reporter
        self.publish = publish
        self.workers: Workers | None = None
        self._versions: dict[str, str | None] = {}
        self._current: dict[tuple[Path, str, str | None], str | None] = {}
        self._history: dict[str, dict[str, Any]] = {r.identity: store.history(r.identity) for r in runs}
        self._work: dict[tuple[str, str], Path] = {}
        self._heights = {r.identity: _heights(r.plan) for r in runs}
        gpu = toolchain.gpu() if any(_on_device(r.plan) for r in runs) else None
        self._share = cores.available()
        self._device = f"{gpu.name} {gpu.target}" if gpu else None

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
                assert self.workers is not None, "actions wait for nothing"
                for news in self.workers.wait(0.1):
                    if isinstance(news, Told):
                        run, action = news.token
                        self.reporter.told(run.path, action.id, news.text)
                    else:
                        self._finished(news)
                self.reporter.tick()
        finally:
            if self.workers is not None:
                self.workers.end()
            for folder in self._work.values():
                self.store.discard(folder)

    # ---- deciding ----

    def _advance(self) -> None:
        """Settle everything that needs no work, then fill the free places."""
        for run in self.runs:
            progress = True
            while progress:
                progress = False
                for action in run.waiting():
                    progress |= self._settle(run, action)
            self._let_go(run)
        ready = [(run, a) for run in self.runs for a in run.waiting() if a.id in run.judged]
        # Recipe by recipe, so that models in memory stay few; in each, the longest chain first.
        order = {run.identity: i for i, run in enumerate(self.runs)}
        ready.sort(key=lambda row: (order[row[0].identity], -self._heights[row[0].identity][row[1].id]))
        side_by_side = min(self.options.jobs, self._busy() + len(ready))
        self._share = max(1, cores.available() // max(1, side_by_side))
        for run, action in ready:
            if self._busy() >= self.options.jobs:
                return
            self._start(run, action)

    def _let_go(self, run: Run) -> None:
        """End a model's host when nothing will run beside the model any more."""
        beside = {a.id for a in run.plan.actions if a.beside_model}
        if run.host is not None and beside <= set(run.ended):
            assert self.workers is not None
            self.workers.close(run.host)
            run.host = None

    def _busy(self) -> int:
        return sum(len(r.running) + (r.host_state == "starting") for r in self.runs)

    def _settle(self, run: Run, action: Action) -> bool:
        """Judge an action whose inputs are there. True if it has come to its end."""
        if action.id in run.judged:
            return False
        before = [run.ended.get(i) for i in action.before]
        if any(b is None for b in before):
            return False
        states = [b.status for b in before if b is not None]
        if any(s in ("failed", "blocked", "skipped") for s in states):
            skipped = all(s in (*GOOD, "stale", "skipped") for s in states)
            self._end(run, action, Ended("skipped" if skipped else "blocked"))
            return True
        backend = action.step.backend if isinstance(action.step, BuildEngine) else None
        if backend and (missing := toolchain.missing_backend(backend)):
            self._end(run, action, self._without(missing))
            return True
        if "stale" in states:
            reason = next(b.reason for b in before if b is not None and b.status == "stale")
            self._end(run, action, Ended("stale", reason=reason))
            return True
        try:
            verdict = self._judge(run, action)
        except ModelbuildError as error:
            self._end(run, action, Ended("failed", diagnostics=error.diagnostics, exit_code=error.exit_code))
            return True
        if verdict.entry is not None:
            self._end(run, action, _from_entry(verdict.entry))
            return True
        if self.options.dry_run:
            self._end(run, action, Ended("stale", reason=verdict.reason))
            return True
        if (proof := _proof_at_hand(run, action)) is not None:
            tree = self.store.put(self.store.workspace())
            self._record(run, action, verdict, Done(tree, proof.diagnostics, proof.data), 0)
            return True
        run.judged[action.id] = verdict
        return False

    def _without(self, missing: str) -> Ended:
        required = self.options.require_engines
        said = Diagnostic("backend-missing", missing, None, level="error" if required else "info")
        if required:
            return Ended("failed", diagnostics=(said,), exit_code=EXIT_TOOLCHAIN)
        return Ended("skipped", diagnostics=(said,))

    def _judge(self, run: Run, action: Action) -> Verdict:
        inputs = {
            role: tree.digest
            for role, maker in action.needs.items()
            if (tree := run.ended[maker].tree) is not None
        }
        for name in action.step.distributions:
            if name not in self._versions:
                self._versions[name] = toolchain.versions([name])[name]
        known = facts(action, inputs, self._versions)
        if declared := action.step.declared(run.around.base):
            known["declared files"] = [os.path.relpath(p, run.around.base) for p in declared]
        if isinstance(action.step, BuildEngine) and action.step.device_decides:
            known["gpu"] = self._device
        run.known[action.id] = known
        last = self._history[run.identity].get(action.id)
        verdict = judge(
            known,
            [] if not action.remembered else self.store.entries(digest(known)),
            lambda entry: self.store.folder(entry.tree) is not None,
            lambda name, value: self._fact_now(run.around.base, name, value),
            last,
        )
        if verdict.entry is not None and self.options.force:
            return Verdict(verdict.cheap, None, "forced")
        if not action.remembered:
            return Verdict(verdict.cheap, None, None)
        # An input that was made again is said in its maker's words, not as "input changed".
        for maker in action.before:
            reason = run.ended[maker].reason
            if verdict.entry is None and reason and last is not None:
                return replace(verdict, reason=reason)
        return verdict

    def _fact_now(self, base: Path, name: str, value: str | None) -> str | None:
        asked = (base, name, value)
        if asked not in self._current:
            self._current[asked] = discoveries.current(name, value, base)
        return self._current[asked]

    # ---- doing ----

    def _start(self, run: Run, action: Action) -> None:
        workers = self._pool()
        link = workers.first
        if action.beside_model:
            if run.host_state == "none":
                if sum(r.host is not None for r in self.runs) < self.options.jobs:
                    self._start_host(run)
                return
            if run.host_state != "ready" or run.host is None:
                return
            link = run.host
        given = {role: self._folder(run, maker) for role, maker in action.needs.items()}
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
        workers.submit(link, job, (run, action))
        self.reporter.started(run.path, action.id, run.running[action.id].reason)

    def _start_host(self, run: Run) -> None:
        assert run.plan.source is not None
        run.host_state = "starting"
        log = str(self.store.log(run.name, "model"))
        job = HostModel(run.plan.source, run.around, log)
        self._pool().submit(self._pool().first, job, (run, None))
        self.reporter.started(run.path, "model", None)

    def _pool(self) -> Workers:
        if self.workers is None:
            self.store.sweep()
            with_torch = any(r.plan.source is not None for r in self.runs)
            preload = (*WITH_TORCH, *PRELOAD) if with_torch else PRELOAD
            self.workers = Workers(preload, ENVIRONMENT)
        return self.workers

    def _folder(self, run: Run, maker: str) -> Path:
        tree = run.ended[maker].tree
        folder = self.store.folder(tree) if tree is not None else None
        assert folder is not None, f"{maker} left nothing"
        return folder

    # ---- ending ----

    def _finished(self, finished: Finished) -> None:
        run, action = finished.token
        if action is None:
            self._host_finished(run, finished)
            return
        if action.id not in run.running:
            return
        verdict = run.running.pop(action.id)
        work = self._work.pop((run.identity, action.id))
        done = finished.result
        log = self.store.log(run.name, action.id)
        if not isinstance(done, Done):
            done = _crashed(action.id, finished.status or 0, log)
        if done.tree is None:
            self.store.discard(work)
            said = _with_log(done.diagnostics, log)
            self._end(
                run,
                action,
                Ended(
                    "failed", None, None, verdict.reason, said, done.data, done.seconds,
                    finished.peak, done.exit_code or EXIT_STEP_FAILED,
                ),
            )  # fmt: skip
            return
        if done.proof is not None:
            run.proofs[action.id] = done.proof
        self._record(run, action, verdict, done, finished.peak)

    def _record(self, run: Run, action: Action, verdict: Verdict, done: Done, peak: int) -> None:
        """Write down what an action made, and end it."""
        assert done.tree is not None
        known = run.known[action.id]
        entry = Entry(
            full_key(known, done.discovered), done.tree, known, dict(done.discovered),
            tuple(d.as_json() for d in done.diagnostics), dict(done.data), done.seconds, peak,
        )  # fmt: skip
        if action.remembered:
            self.store.record(verdict.cheap, entry)
        self._end(run, action, replace(_from_entry(entry), status="built", reason=verdict.reason,
                                       seconds=done.seconds))  # fmt: skip

    def _host_finished(self, run: Run, finished: Finished) -> None:
        if isinstance(finished.result, Ready) and finished.status is None:
            assert self.workers is not None
            run.host = self.workers.adopt(finished.token, self.workers.first)
            run.host_state = "ready"
            self.reporter.ended(run.path, "model", Ended("built", seconds=finished.result.seconds))
            return
        beside = [a for a in run.waiting() if a.beside_model]
        if run.host_state == "ready" and not beside:
            return  # let go, or the steps that it took along say so
        log = self.store.log(run.name, "model")
        done = finished.result
        if not isinstance(done, Done):
            done = _crashed("the model's process", finished.status or 0, log)
        run.host, run.host_state = None, "failed"
        run.host_diagnostics = _with_log(done.diagnostics, log)
        failed = Ended("failed", diagnostics=run.host_diagnostics, exit_code=done.exit_code)
        self.reporter.ended(run.path, "model", failed)
        for action in beside:
            run.judged.pop(action.id, None)
            self._end(run, action, Ended("failed", exit_code=done.exit_code))

    def _end(self, run: Run, action: Action, ended: Ended) -> None:
        run.ended[action.id] = ended
        self.reporter.ended(run.path, action.id, ended)
        if ended.status in GOOD and action.remembered and not self.options.dry_run:
            history = self._history[run.identity]
            entry = {"facts": run.known[action.id], "discovered": ended.data.get("discovered", {})}
            history[action.id] = entry
        for artifact in run.plan.artifacts:
            proven = artifact.proof is None or artifact.proof in run.ended
            if artifact.name not in run.published and artifact.action in run.ended and proven:
                run.published.add(artifact.name)
                self.publish(run, artifact)

    def remember(self) -> None:
        """Keep the facts of this build, so that the next one can say what moved."""
        for run in self.runs:
            self.store.remember(run.identity, self._history[run.identity])


def _proof_at_hand(run: Run, action: Action) -> Outcome | None:
    """The proof that an action would make, if what it proves came with it."""
    maker = action.needs.get("model")
    if maker is None or maker not in run.proofs or action.discovers:
        return None
    made_by = next(a.step for a in run.plan.actions if a.id == maker)
    return run.proofs[maker] if made_by.proven_by == action.step else None


def _from_entry(entry: Entry) -> Ended:
    return Ended(
        "cached",
        entry.tree,
        entry.key,
        None,
        tuple(Diagnostic.from_json(dict(d)) for d in entry.diagnostics),
        {**entry.data, "discovered": entry.discovered},
        0.0,
        entry.peak,
    )


def _on_device(plan: Plan) -> bool:
    steps = (a.step for a in plan.actions)
    return any(isinstance(s, BuildEngine) and s.device_decides for s in steps)


def _heights(plan: Plan) -> dict[str, int]:
    """The longest chain of actions that waits for each one: the longest goes first."""
    heights: dict[str, int] = {a.id: 0 for a in plan.actions}
    for action in reversed(plan.actions):
        for needed in action.before:
            heights[needed] = max(heights[needed], heights[action.id] + 1)
    return heights


def _crashed(what: str, status: int, log: Path) -> Done:
    words = _last_words(log)
    killed = os.WIFSIGNALED(status)
    cause = "native code died, or memory ran out" if killed else "something in it ended the process"
    said = Diagnostic(
        "worker-crashed",
        f"{what} {'was ' if killed else ''}{describe(status)}" + (f"; last words: {words}" if words else ""),
        f"{cause}; the other artifacts are not touched",
    )
    return Done(None, (said,), exit_code=EXIT_STEP_FAILED)


def _last_words(log: Path, limit: int = 200) -> str:
    try:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines()]
    except OSError:
        return ""
    return next((line[:limit] for line in reversed(lines) if line), "")


def _with_log(diagnostics: Iterable[Diagnostic], log: Path) -> tuple[Diagnostic, ...]:
    """Errors name the log: library noise is there, and nowhere else."""
    return tuple(
        replace(d, hint=f"{d.hint}; log: {log}" if d.hint else f"log: {log}") if d.level == "error" else d
        for d in diagnostics
    )
