"""Who does the work: the children of a command, and a process per model that its actions run beside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from modelbuild.building.scheduling import words
from modelbuild.building.scheduling.runs import HOST, Ended, Reporter, Run
from modelbuild.machine.environment import ENVIRONMENT
from modelbuild.plan.actions import Action
from modelbuild.store import Store
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


@dataclass(frozen=True)
class Token:
    """What a worker was asked for: an action, or (None) a model's host."""

    run: Run
    action: Action | None
    number: int


class Crew:
    """Of one command. No process is started before there is work for one."""

    def __init__(self, runs: Sequence[Run], store: Store, reporter: Reporter, in_process: str | None) -> None:
        self._runs = runs
        self._store = store
        self._reporter = reporter
        self._in_process = in_process
        self._workers: Workers | None = None
        self._numbers = 0

    def at_work(self) -> bool:
        return self._workers is not None

    def news(self, patience: float) -> Iterable[Finished | Told]:
        """What the children say within these seconds."""
        return self._pool().wait(patience)

    def end(self) -> None:
        """Have every child gone."""
        if self._workers is not None:
            self._workers.end()

    def does(self, run: Run, action: Action, job: RunStep) -> None:
        """Have a child do this, beside the model if it needs one: ``host`` was asked for that."""
        workers = self._pool()
        place = run.host if action.beside_model and run.host else workers.first
        workers.submit(place, job, self._token(run, action))

    def does_here(self, run: Run, action: Action, job: RunStep) -> Finished:
        """Do this in the command's own process."""

        def tell(word: str) -> None:
            self._reporter.told(run.path, action.id, word)

        host = HostModel(run.plan.source, run.around, "") if action.beside_model else None
        return here.run(job, host, self._preload(), tell, self._token(run, action))

    def has_host(self, run: Run) -> bool:
        """Whether the recipe's model is there to run beside. It is asked for, if nobody has yet."""
        if run.host_state == "none":
            self._start_host(run)
        return run.host is not None

    def let_go(self, run: Run) -> None:
        """End a model's host, beside which nothing will run any more."""
        if run.host is not None:
            self._pool().close(run.host)
            run.host, run.host_state, run.host_number = None, "none", 0

    def host_ended(self, run: Run, finished: Finished) -> Ended | None:
        """Hear of a model's host: it is ready, or has failed. None if it was let go meanwhile."""
        if finished.token.number != run.host_number:
            return None
        if isinstance(finished.result, Ready) and finished.status is None:
            workers = self._pool()
            run.host = workers.adopt(finished.token, workers.first)
            run.host_state = "ready"
            ended = Ended("built", seconds=finished.result.seconds)
        else:
            ended = self._lost_host(run, finished)
            run.host, run.host_state, run.host_lost = None, "failed", ended
        self._reporter.ended(run.path, HOST, ended)
        return ended

    def _lost_host(self, run: Run, finished: Finished) -> Ended:
        log = self._store.log(run.around.base, run.name, HOST)
        done = finished.result
        if not isinstance(done, Done):
            done = words.crashed("the model's process", finished.status or 0, log)
        said = words.with_log(done.diagnostics, log)
        return Ended(
            "failed", diagnostics=said, data=done.data, seconds=done.seconds, exit_code=done.exit_code
        )

    def _start_host(self, run: Run) -> None:
        assert run.plan.source is not None
        run.host_state = "starting"
        job = HostModel(run.plan.source, run.around, str(self._store.log(run.around.base, run.name, HOST)))
        token = self._token(run, None)
        run.host_number = token.number
        self._pool().submit(self._pool().first, job, token)
        self._reporter.started(run.path, HOST, None)

    def _pool(self) -> Workers:
        if self._workers is None:
            # Where one step is debugged, breakpoint() stops there, and does not fail the others.
            quiet = {"PYTHONBREAKPOINT": "0"} if self._in_process else {}
            self._workers = Workers(self._preload(), {**ENVIRONMENT, **quiet})
        return self._workers

    def _preload(self) -> tuple[str, ...]:
        with_torch = any(r.plan.source is not None for r in self._runs)
        return (*WITH_TORCH, *PRELOAD) if with_torch else PRELOAD

    def _token(self, run: Run, action: Action | None) -> Token:
        self._numbers += 1
        return Token(run, action, self._numbers)
