"""What a step is: knobs as fields, versions as facts, files in, files out.

A step runs in a child process of its own. It touches only what it was given and its own ``out``
folder; standard output and standard error go to a log file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelbuild.base.errors import Diagnostic

if TYPE_CHECKING:
    from modelbuild.steps.model import LiveModel


@dataclass(frozen=True)
class Outcome:
    """What a step that did its work has to say. ``data`` is JSON and is stored with the result.

    A step that proves what it makes gives the outcome of that as ``proof``; see ``Step.proven_by``.
    """

    diagnostics: tuple[Diagnostic, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    proof: Outcome | None = None


@dataclass(frozen=True, kw_only=True)
class Step:
    """One kind of work. The fields of a subclass are its knobs, by name; each is a fact of its key.

    ``version`` goes up when the same input would give other bytes, and ``tests/seal`` asks whenever the
    code behind it moves. ``packages`` are the modules of others that decide the bytes.
    """

    kind: ClassVar[str]
    version: ClassVar[int] = 1
    packages: ClassVar[tuple[str, ...]] = ()
    of_pytorch: ClassVar[tuple[str, ...]] = ()  # those that do where PyTorch's own error is asked for
    beside_model: ClassVar[bool] = False  # whether it runs beside the PyTorch model, by ``run_beside``

    @property
    def on_gpu(self) -> bool:
        """Whether the step uses a GPU where there is one: one at a time does."""
        return False

    def uses(self) -> tuple[str, ...]:
        """The packages that decide the bytes with these knobs: their versions are facts."""
        return self.packages

    def missing(self) -> str | None:
        """What it needs that is not installed here, and how to get it; None if nothing is."""
        return None

    def device(self) -> dict[str, Any]:
        """The facts of this machine that decide the bytes."""
        return {}

    def knobs(self) -> dict[str, Any]:
        """The facts that the recipe decides, as plain data."""
        return dataclasses.asdict(self)

    @property
    def proven_by(self) -> Step | None:
        """The step whose outcome this one's ``Outcome.proof`` is: it need not run again."""
        return None

    def measured(self) -> dict[str, Any] | None:
        """The knobs that decide what is measured, where the others only judge it: an outcome whose data
        have a ``record`` is judged anew by another step with these. None: there is no such record.
        """
        return None

    def judged(self, record: Mapping[str, Any]) -> Outcome | None:
        """The outcome that ``run`` would have, by the record of one with the same ``measured()`` knobs.
        None where the record cannot tell, or the verdict is no good one: then it runs.

        Raises:
            TypeError: this is no such record; or KeyError, ValueError, AttributeError.
        """
        return None

    def declared(self, base: Path) -> tuple[Path, ...]:
        """The files that the recipe's patterns match now: their list is a fact, too.

        Raises:
            ModelbuildError: a pattern matches nothing.
        """
        return ()

    def reads(self, base: Path) -> tuple[Path, ...]:
        """Files that decide the result and that no hook can see being read, under ``base``."""
        return self.declared(base)

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Do the work: read ``given`` (a folder per role), write files into ``out``.

        Raises:
            ModelbuildError: the work cannot be done; nothing in ``out`` is kept.
        """
        raise TypeError(f"{self.kind} needs more than its inputs")

    def run_at(self, base: Path, given: Mapping[str, Path], out: Path) -> Outcome:
        """As ``run``, for a step that also reads files under ``base``, the recipe's folder."""
        return self.run(given, out)


@dataclass(frozen=True, kw_only=True)
class ModelStep(Step):
    """A step that needs the PyTorch model in memory; it runs in a fork of the process that made it."""

    beside_model: ClassVar[bool] = True

    def run_beside(self, model: LiveModel, given: Mapping[str, Path], out: Path) -> Outcome:
        """As ``run``, with the model."""
        raise TypeError(f"{self.kind} does not run beside a model")
