"""What a command answers, as typed values; their JSON is the contract's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from modelbuild.base.catalogue import CATALOGUE, EXIT_INTERRUPTED, EXIT_OK
from modelbuild.base.errors import Diagnostic

GOOD = ("cached", "built", "fetched", "remote")  # the statuses of what is proven, and here or to be had


@dataclass(frozen=True)
class ArtifactResult:
    """One file that a recipe asks for.

    ``status`` is built, cached, fetched (from the remote cache), failed, blocked or skipped; in a dry run
    stale instead of built, and remote instead of fetched.
    ``bytes`` and ``sha256`` are of the published file; ``seconds`` of the work done now.
    ``conversion`` says how ``auto``, ``mixed`` and int8 converted: ``method`` (convert, static or mixed),
    ``kept`` (the nodes left out of it), and after a search ``before`` (the outputs' errors without them)
    and ``runs`` (how many candidates were measured); ``sources`` are the lines of the model that kept nodes
    are from. Of int8 it also has ``outside`` (what kept nodes are
    in, fp16 or fp32), ``kept_fp32`` (those of them that fp16 does not do for), ``nodes``, a row for each
    int8 node, the worst first (``node``, ``op_type``, ``source``, and in dB ``sqnr``, the noise that has
    come together by there, and ``own``, the node's part; null where there is none), and ``runtime``, what
    the building machine's ONNX Runtime made of the file (``sqnr`` against its computation in float, its
    ``instructions`` for int8, and ``why``: saturation or rounding; or ``not_run``, a reason).

    ``ranges``, where the proof of a half precision
    file failed, has a row for each tensor that it makes in half: ``node``, ``op_type``, ``tensor``,
    ``largest``, ``overflows``, ``zeros``, ``nonfinite``, ``elements``, ``mean`` and ``source``, the
    line of the model. A graph that is not half, or passed, has none. ``parity`` also has ``errors``,
    a row for each output at each shape, and ``spread``, a histogram of |error| for each output.
    ``static_by``, of a static variant, says how it was made: ``pin``, from the dynamic model, or
    ``export``, from PyTorch at its own sizes. ``not_proven`` says, a sentence each, which inputs or
    sizes no comparison has covered that the model's code treats in a way of their own.
    """

    name: str
    kind: str
    precision: str
    axes: Mapping[str, int]
    status: str
    reason: str | None = None
    path: str | None = None
    sha256: str | None = None
    bytes: int | None = None
    key: str | None = None
    seconds: float = 0.0
    parity: Mapping[str, Any] | None = None
    conversion: Mapping[str, Any] | None = None
    ranges: Sequence[Mapping[str, Any]] | None = None
    static_by: Literal["pin", "export"] | None = None
    not_proven: Sequence[str] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    def as_json(self) -> dict[str, Any]:
        data = dict(self.__dict__)
        data["seconds"] = round(self.seconds, 3)
        data["not_proven"] = list(self.not_proven)
        data["diagnostics"] = [d.as_json() for d in self.diagnostics]
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ArtifactResult:
        diagnostics = tuple(Diagnostic.from_json(d) for d in data["diagnostics"])
        return cls(**{**data, "diagnostics": diagnostics})


@dataclass(frozen=True)
class RecipeResult:
    """One recipe: ``status`` is ok or failed."""

    recipe: str
    name: str
    status: str
    diagnostics: tuple[Diagnostic, ...] = ()
    artifacts: tuple[ArtifactResult, ...] = ()
    exit_code: int = EXIT_OK

    def as_json(self) -> dict[str, Any]:
        return {
            "recipe": self.recipe,
            "name": self.name,
            "status": self.status,
            "diagnostics": [d.as_json() for d in self.diagnostics],
            "artifacts": [a.as_json() for a in self.artifacts],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RecipeResult:
        diagnostics = tuple(Diagnostic.from_json(d) for d in data["diagnostics"])
        artifacts = tuple(ArtifactResult.from_json(a) for a in data["artifacts"])
        return cls(**{**data, "diagnostics": diagnostics, "artifacts": artifacts})

    def retold(self) -> RecipeResult:
        """As a later command answers it: all of it was told before."""
        return self._saying(lambda d: replace(d, again=True))

    def lasting(self) -> RecipeResult:
        """Without what tells of an act of the command that gave it."""
        return self._saying(lambda d: None if CATALOGUE[d.code].act else d)

    def _saying(self, said: Callable[[Diagnostic], Diagnostic | None]) -> RecipeResult:
        def told(every: Sequence[Diagnostic]) -> tuple[Diagnostic, ...]:
            return tuple(kept for d in every if (kept := said(d)) is not None)

        artifacts = tuple(replace(a, diagnostics=told(a.diagnostics)) for a in self.artifacts)
        return replace(self, diagnostics=told(self.diagnostics), artifacts=artifacts)


@dataclass(frozen=True)
class BuildResult:
    """A whole command. ``exit_code`` is the highest of the recipes', but 130 over all."""

    recipes: tuple[RecipeResult, ...]
    interrupted: bool = False

    @property
    def exit_code(self) -> int:
        if self.interrupted:
            return EXIT_INTERRUPTED
        return max((r.exit_code for r in self.recipes), default=EXIT_OK)

    @property
    def ok(self) -> bool:
        return self.exit_code == EXIT_OK

    def as_json(self) -> dict[str, Any]:
        return {"schema": 1, "ok": self.ok, "recipes": [r.as_json() for r in self.recipes]}
