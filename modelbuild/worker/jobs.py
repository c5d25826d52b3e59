"""What a forked child does: run a step and store what it made, or hold a model for others."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base import passing, telling
from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic, ModelbuildError, Refusal, first_line
from modelbuild.base.records import WEIGHTS
from modelbuild.machine import cores, environment
from modelbuild.steps.base import ModelStep, Outcome, Step
from modelbuild.steps.origins import place
from modelbuild.store import Store, Tree
from modelbuild.trace.recording import Noted, Trace

if TYPE_CHECKING:
    from modelbuild.steps.model import LiveModel


@dataclass(frozen=True)
class Surroundings:
    """Where a recipe's work happens. None of it is a fact: the same bytes come out elsewhere."""

    base: Path  # the recipe's folder: relative paths, and modules beside the recipe
    cwd: Path
    cache: Path
    out: Path

    def enter(self) -> None:
        """Make the modules beside the recipe, and in the command's folder, importable."""
        environment.make_importable(self.base, self.cwd)


@dataclass(frozen=True)
class Done:
    """A step's result: an object in the store, or the diagnostics and exit code of a failure.

    ``proof`` is that of the object, if the step has proven it while it made it. A failure that is
    ``refused`` was a ``Refusal``.
    """

    tree: Tree | None
    diagnostics: tuple[Diagnostic, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    discovered: Mapping[str, str | None] = field(default_factory=dict)
    outlines: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unstable: tuple[str, ...] = ()  # files that changed while the step had read them
    seconds: float = 0.0
    exit_code: int = 0
    proof: Outcome | None = None
    refused: bool = False
    passing: tuple[str, ...] = ()  # reasons that it is what it is and that may be gone the next time


@dataclass(frozen=True)
class Ready:
    """A model's host is waiting for steps to run beside the model."""

    seconds: float
    hosting: bool = True


@dataclass(frozen=True)
class RunStep:
    """Run one step and put its files into the store."""

    step: Step
    given: Mapping[str, Path]
    work: Path
    around: Surroundings
    log: str
    traced: bool = False
    threads: int = 1
    needs: tuple[str, ...] = ()

    def run(self, state: Any, channel: socket.socket) -> Done:
        from modelbuild.worker import wire

        return self.done(state, lambda text: wire.send(channel, wire.Word(text)))

    def done(self, state: Any, tell: Callable[[str], None]) -> Done:
        """Do it, in this process; ``state`` is the model of a step that needs one."""
        start = time.perf_counter()
        trace: Trace | None = None
        telling.listen(tell)
        cores.limit(self.threads)
        gc.enable()
        try:
            if isinstance(self.step, ModelStep):
                trace = state.trace
                outcome = self.step.run_beside(state, self.given, self.work)
                outcome = replace(outcome, data={**outcome.data, WEIGHTS: state.weights})
            else:
                if self.traced:
                    os.chdir(self.around.cwd)
                    self.around.enter()
                    trace = Trace(self.around.base, (self.around.cache, self.around.out))
                outcome = self.step.run_at(self.around.base, self.given, self.work)
            tree = Store(self.around.cache).put(self.work)
        except Refusal as error:
            _write_down()
            found = self._found(trace)
            return Done(None, error.diagnostics, error.data, found.facts, found.outlines, found.unstable,
                        _since(start), error.exit_code, refused=True, passing=passing.noted())  # fmt: skip
        except ModelbuildError as error:
            _write_down()
            return _stopped(error, start, trace)
        except MemoryError:
            raise
        except OSError as error:
            _write_down()
            return _failed(
                self.step, error, start, f"check the disk and the cache folder {self.around.cache}"
            )
        except Exception as error:
            _write_down()
            return _failed(self.step, error, start, None)
        found = self._found(trace)
        return Done(tree, outcome.diagnostics, outcome.data, found.facts, found.outlines, found.unstable,
                    _since(start), proof=outcome.proof, passing=passing.noted())  # fmt: skip

    def _found(self, trace: Trace | None) -> Noted:
        return trace.found(self.step.reads(self.around.base)) if trace else Noted()


@dataclass(frozen=True)
class HostModel:
    """Make the model once, then fork the steps that need it."""

    source: Any  # steps.model.ModelSource
    around: Surroundings
    log: str
    needs: tuple[str, ...] = ("torch",)

    def run(self, state: Any, channel: socket.socket) -> Done:
        from modelbuild.worker import wire
        from modelbuild.worker.server import serve

        start = time.perf_counter()
        trace: Trace | None = None
        try:
            trace = self._entered()
            live = self._made(trace)
        except ModelbuildError as error:
            _write_down()
            return _stopped(error, start, trace)
        except MemoryError:
            raise
        except (Exception, SystemExit) as error:  # in what the model's classes do instead of PyTorch's
            _write_down()
            said = f"the model cannot be made: {first_line(error)}{place(error)}"
            found = Diagnostic("import-failed", said, "the whole traceback is in the log")
            return Done(None, (found,), seconds=_since(start), exit_code=EXIT_STEP_FAILED)
        wire.send(channel, Ready(_since(start)))
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        serve(channel, state=live)

    def live(self) -> LiveModel:
        """Make the model, in this process, which is traced from here on.

        Raises:
            ModelbuildError: it cannot be made.
        """
        return self._made(self._entered())

    def _entered(self) -> Trace:
        os.chdir(self.around.cwd)
        self.around.enter()
        return Trace(self.around.base, (self.around.cache, self.around.out))

    def _made(self, trace: Trace) -> LiveModel:
        from modelbuild.steps.model import LiveModel

        return LiveModel.make(self.source, self.around.base, trace)


def _stopped(error: ModelbuildError, start: float, trace: Trace | None) -> Done:
    """A failure, with what was read until then: while that stands, it would be met again."""
    found = trace.found() if trace else Noted()
    return Done(
        None, error.diagnostics, error.data, found.facts, seconds=_since(start), exit_code=error.exit_code
    )


def _failed(step: Step, error: Exception, start: float, hint: str | None) -> Done:
    diagnostic = Diagnostic("step-failed", f"{step.kind}: {first_line(error)}{place(error)}", hint)
    return Done(None, (diagnostic,), seconds=_since(start), exit_code=EXIT_STEP_FAILED)


def _write_down() -> None:
    """The traceback, into the log; if the disk is full, the result still has to say so."""
    with contextlib.suppress(OSError):
        traceback.print_exc()


def _since(start: float) -> float:
    return time.perf_counter() - start
