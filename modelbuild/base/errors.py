"""Every way to stop or to complain: a code that users grep, a sentence, what to do, where."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from modelbuild.base.catalogue import (
    EXIT_PROOF_FAILED,
    EXIT_STEP_FAILED,
    EXIT_TOOLCHAIN,
    EXIT_USAGE,
    Code,
    Exit,
    Level,
)
from modelbuild.base.escaping import line, visible


@dataclass(frozen=True)
class Diagnostic:
    """One thing a user should know.

    ``where`` is a place a person can open (``configs/bert.yaml:14:3``, a node, an artifact);
    ``excerpt`` the lines of source with a caret, for the terminal only. ``again`` says that it comes with a
    result from the cache, and was told when that was made.
    """

    code: Code
    message: str
    hint: str | None = None
    where: str | None = None
    level: Level = "error"
    excerpt: str | None = None
    again: bool = field(default=False, compare=False)

    def as_json(self) -> dict[str, Any]:
        """The five fields of the contract, and the excerpt where there is one."""
        data = asdict(self)
        del data["again"]
        if self.excerpt is None:
            del data["excerpt"]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Diagnostic:
        return cls(**data)

    def render(self) -> str:
        """As a person reads it: ``error[code]: where: message``, the source, the hint."""
        place = f"{line(self.where)}: " if self.where else ""
        lines = [f"{self.level}[{self.code}]: {place}{_set_in(self.message)}"]
        if self.excerpt:
            lines.append(self.excerpt)
        if self.hint:
            lines.append(f"hint: {_set_in(self.hint)}")
        return visible("\n".join(lines))


# How a line begins that a person, or a runner of CI, takes for one of ours.
_BEGINNINGS = ("error[", "warning[", "info[", "hint: ", "failed: ", "::")


def _set_in(text: str) -> str:
    """The text, in which no line after the first reads as a diagnostic of its own: a file's name may have
    line breaks, too."""
    first, *rest = text.split("\n")
    return "\n".join([first, *(f"  {row}" if row.lstrip().startswith(_BEGINNINGS) else row for row in rest)])


class ModelbuildError(Exception):
    """Something that stops a recipe, a step or the command; never without a diagnostic."""

    exit_code: Exit = EXIT_STEP_FAILED

    def __init__(
        self, diagnostics: Diagnostic | Iterable[Diagnostic], data: Mapping[str, Any] | None = None
    ) -> None:
        found = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("; ".join(d.message for d in found))
        self.diagnostics: tuple[Diagnostic, ...] = found
        self.data: Mapping[str, Any] = data or {}  # what was measured before it stopped, as JSON

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process boundaries; BaseException would unpickle from its message."""
        return (type(self), (self.diagnostics, self.data))


class RecipeError(ModelbuildError):
    """The recipe or the command line is wrong: nothing was run."""

    exit_code = EXIT_USAGE


class StepError(ModelbuildError):
    """A step could not do its work."""


class Refusal(StepError):
    """What a step finds wrong with the model at the sizes that it was given: at others, it may be right.

    It is found again for as long as the step's facts stay, and so is kept as a result is, unless
    the data say ``"lasting": False``.
    """


class ProofError(ModelbuildError):
    """Built, but it is not what PyTorch computes, or nobody can tell."""

    exit_code = EXIT_PROOF_FAILED


class ToolchainError(ModelbuildError):
    """A toolchain or device that was asked for is not here."""

    exit_code = EXIT_TOOLCHAIN


class Unreachable(ToolchainError):
    """The remote cache was asked for, and there is none that answers."""


class Elsewhere(Exception):
    """What a child raised that could not be sent as it was; it says which kind that is, and its words."""


@contextlib.contextmanager
def about(*route: str | int) -> Iterator[None]:
    """What is raised in it is about this part of the recipe (``"model", "weights"``), if it says no other."""
    try:
        yield
    except ModelbuildError as error:
        error.data = {"about": route, **error.data}
        raise


def first_line(error: BaseException, limit: int = 400) -> str:
    """``ValueError: the first line of what it said``: for a message, without the traceback."""
    text = str(error).strip().splitlines()
    said = text[0][:limit] if text else ""
    if isinstance(error, Elsewhere):
        return said
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
