"""How far an artifact may be from PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

MEASURED = ("rtol", "atol", "relative_l2", "cosine", "sqnr")
"""The bounds of outputs that are measured; ``mismatch`` is that of outputs that are counted."""


@dataclass(frozen=True)
class Tolerance:
    """The bounds that a recipe names; each that is not None must hold.

    ``rtol`` and ``atol`` are one bound, numpy's: |candidate - reference| <= atol + rtol * |reference|,
    element by element. ``relative_l2`` is ||candidate - reference|| / ||reference||. ``cosine`` is a
    lower bound, and ``sqnr`` too: the ratio of signal to noise in dB, -20 * log10(relative_l2). ``mismatch``
    is the share of the elements of an integer or bool output that may differ where floats decide them.
    ``conditioning`` is how many times PyTorch's own error is allowed where the others do not hold.
    ``outputs`` has the bounds of outputs that have their own.
    """

    rtol: float | None = None
    atol: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None
    sqnr: float | None = None
    mismatch: float | None = None
    conditioning: float | None = None
    outputs: Mapping[str, Tolerance] = field(default_factory=dict)

    @classmethod
    def of(cls, named: Mapping[str, object]) -> Tolerance:
        """From a recipe's data."""
        outputs = named.get("outputs") or {}
        assert isinstance(outputs, Mapping)
        own = {name: cls.of(bounds) for name, bounds in outputs.items()}
        return cls(**{k: v for k, v in named.items() if k != "outputs"}, outputs=own)  # type: ignore[arg-type]

    def named(self) -> dict[str, float]:
        """The bounds of all outputs that have none of their own."""
        every = ((n, getattr(self, n)) for n in (*MEASURED, "mismatch", "conditioning"))
        return {n: v for n, v in every if v is not None}

    @property
    def is_measured(self) -> bool:
        """Whether it bounds floats."""
        return any(getattr(self, n) is not None for n in MEASURED)

    def over(self, rest: Tolerance) -> Tolerance:
        """With the bounds of ``rest`` for the kind of output, measured or counted, that this leaves open."""
        bounds = self if self.is_measured else rest
        return Tolerance(
            **{n: getattr(bounds, n) for n in MEASURED},
            mismatch=rest.mismatch if self.mismatch is None else self.mismatch,
            conditioning=rest.conditioning if self.conditioning is None else self.conditioning,
        )

    def at(self, output: str, precision: str) -> Tolerance:
        """What holds for one output of a file of this precision; nothing, where nothing at all is named."""
        if self == Tolerance():
            return self
        every = self.over(DEFAULTS[precision])
        own = self.outputs.get(output)
        return every if own is None else own.over(every)

    def filled(self, precision: str) -> Tolerance:
        """With the default bounds of a precision, where those of floats are left open and not given up."""
        if self.is_measured or self == Tolerance():
            return self
        return replace(self.over(DEFAULTS[precision]), outputs=self.outputs)

    @property
    def is_conditioned(self) -> bool:
        """Whether PyTorch's own error counts for any output."""
        return self.conditioning is not None or any(t.is_conditioned for t in self.outputs.values())

    def __str__(self) -> str:
        said = ", ".join(f"{k} {v:g}" for k, v in self.named().items())
        own = "; ".join(f"`{name}`: {bounds}" for name, bounds in self.outputs.items())
        return "; ".join(part for part in (said, own) if part)


DEFAULTS: Mapping[str, Tolerance] = {
    "fp32": Tolerance(rtol=1e-3, atol=1e-4, relative_l2=1e-3, mismatch=1e-3),
    "fp16": Tolerance(relative_l2=1e-2, cosine=0.999, mismatch=1e-2),
    "bf16": Tolerance(relative_l2=5e-2, cosine=0.99, mismatch=5e-2),
    "int8": Tolerance(relative_l2=1e-1, cosine=0.99, mismatch=5e-2),
}
"""Where a recipe names no bound, or none for a kind of output."""
