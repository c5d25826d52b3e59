"""What a report tells of: a manifest as it is read, and a model with all that is known of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import GOOD
from modelbuild.base.tensors import Axis
from modelbuild.wording import phrases, showing

Status = Literal["built", "cached", "fetched", "remote", "failed", "blocked", "skipped", "stale"]
Standing = Literal["failed", "stale", "ok"]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Seconds = Annotated[float, Field(ge=0, le=1e9)]


class _Checked(BaseModel):
    """Manifests lie in folders that others may write into: what is not as expected is refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


# What has no number is null in a manifest: beyond every number, here.
Far = Annotated[
    Annotated[float, Field(allow_inf_nan=True)], BeforeValidator(lambda v: math.inf if v is None else v)
]


class ShownJudged(_Checked):
    """The bound that decides, and the error that was held against it: see ``steps.figures``."""

    measure: str
    value: float
    bound: float


_EXACT = 1e300  # a headroom beyond this is one of no error: earlier builds wrote the largest number


class Errors(_Checked):
    """Of one output, in its own unit where it has one; ``headroom`` is tolerance / error."""

    max_abs: Far
    max_rel: Far
    relative_l2: Far
    cosine: float
    headroom: Far
    judged: ShownJudged | None = None

    @property
    def passed(self) -> bool:
        return self.headroom >= 1

    def told(self) -> str:
        """The headroom, as all of modelbuild tells it."""
        return phrases.headroom(self._finite)

    def against(self) -> str:
        """The error beside the bound that decides."""
        return showing.against(self.judged.model_dump() if self.judged else None, self._finite)

    @property
    def _finite(self) -> float | None:
        return None if self.headroom > _EXACT else self.headroom


class ErrorsAt(Errors):
    output: str
    shape: dict[str, Count]


class ShownSpread(_Checked):
    """A histogram of |error|: see ``steps.spread``."""

    smallest: Annotated[float, Field(gt=0, lt=1e39)]  # binary32
    counts: Annotated[list[Count], Field(max_length=300)]
    equal: Count


class Parity(_Checked):
    passed: bool
    evidence: str
    tolerance: str = ""
    outputs: dict[str, Errors]
    errors: list[ErrorsAt] = []
    spread: dict[str, ShownSpread] = {}


class ShownRange(_Checked):
    """What one tensor held: see ``graph.ranges``. ``kept``: its node computes in fp32."""

    node: str
    op_type: str
    tensor: str
    largest: float
    mean: float = 0.0
    overflows: Count
    zeros: Count
    nonfinite: Count
    elements: Count
    source: str | None = None
    kept: bool = False


class ShownNoise(_Checked):
    node: str
    op_type: str
    sqnr: float | None = None
    source: str | None = None


class Kernels(_Checked):
    """What the machine that built a file made of it with its own int8 kernels."""

    sqnr: float | None = None
    instructions: list[str] = []
    why: str | None = None
    not_run: str | None = None


class Conversion(_Checked):
    method: str
    kept: list[str] = []
    runs: int | None = None
    outside: str = "fp32"
    kept_fp32: list[str] = []
    nodes: list[ShownNoise] = []
    runtime: Kernels | None = None


class Said(_Checked):
    code: str
    level: Literal["error", "warning", "info"]
    message: str
    hint: str | None = None
    where: str | None = None


class ShownArtifact(_Checked):
    """``status`` is that of the last build, or stale if it no longer stands."""

    name: str
    kind: str
    precision: str
    axes: dict[str, Count] = {}
    status: Status
    reason: str | None = None
    sha256: str | None = None
    bytes: Count | None = None
    key: str | None = None
    seconds: Seconds = 0.0
    parity: Parity | None = None
    conversion: Conversion | None = None
    ranges: list[ShownRange] | None = None
    not_proven: list[str] = []
    diagnostics: list[Said] = []

    @property
    def good(self) -> bool:
        return self.status in GOOD

    @property
    def proven(self) -> bool:
        """It is there, and was compared with PyTorch: an engine without its GPU is there only."""
        return self.good and self.parity is not None and self.parity.passed

    def worst(self) -> tuple[str, Errors] | None:
        """The output with the least headroom; None where nothing was compared."""
        outputs = self.parity.outputs if self.parity else {}
        return min(outputs.items(), key=lambda item: item[1].headroom, default=None)


class ShownAction(_Checked):
    """``seconds`` and ``peak`` (resident bytes) are what it cost when it ran."""

    id: str
    step: str
    artifact: str | None = None
    needs: dict[str, str] = {}
    status: Status
    reason: str | None = None
    key: str | None = None
    seconds: Seconds = 0.0
    peak: Count | None = None


class Manifest(_Checked):
    recipe: str
    name: str
    status: str
    diagnostics: list[Said] = []
    artifacts: list[ShownArtifact]
    actions: list[ShownAction] = []
    toolchain: dict[str, str | None] = {}


@dataclass(frozen=True)
class ShownRanges:
    """The tensors of a half precision model; ``note`` says why there are none."""

    rows: Sequence[ShownRange] = ()
    note: str | None = None


@dataclass(frozen=True)
class Commit:
    """Of the repository that the recipe is in, when the report is made; ``edits`` are files that differ."""

    id: str
    edits: int


@dataclass(frozen=True)
class ShownPort:
    """An input or an output: ``float32[batch, 3, 224, 224]``. A ``shape`` of None is not known."""

    name: str
    dtype: str
    shape: Sequence[int | str] | None


@dataclass(frozen=True)
class ShownInterface:
    """What a model takes and gives. ``opsets`` are by precision; ``of`` is the file that says so, None
    where there is none yet and the recipe does."""

    inputs: Sequence[ShownPort]
    outputs: Sequence[ShownPort]
    axes: Sequence[Axis] = ()
    opsets: Mapping[str, int] = field(default_factory=dict)
    of: str | None = None


@dataclass(frozen=True)
class ShownModel:
    """One recipe: what its last build left, and whether it still stands.

    ``ranges`` are by precision, ``facts`` by action: what its key is made of, and what it read.
    ``built`` is when the manifest was written, in seconds since 1970.
    """

    name: str
    recipe: str
    status: Standing
    artifacts: Sequence[ShownArtifact] = ()
    actions: Sequence[ShownAction] = ()
    diagnostics: Sequence[Said] = ()
    toolchain: Mapping[str, str | None] = field(default_factory=dict)
    ranges: Mapping[str, ShownRanges] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    built: float | None = None
    commit: Commit | None = None
    interface: ShownInterface | None = None

    def short(self, artifact: str) -> str:
        """``fp16.batch1`` of ``resnet50.fp16.batch1.onnx``."""
        return artifact.removeprefix(f"{self.name}.").removesuffix(".onnx").removesuffix(".engine")


def said(diagnostic: Diagnostic) -> Said:
    return Said(**{k: v for k, v in diagnostic.as_json().items() if k in Said.model_fields})
