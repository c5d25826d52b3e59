"""How far an artifact may be from PyTorch."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Tolerance:
    """The bounds that a recipe names; each that is not None must hold.

    ``rtol`` and ``atol`` are one bound, numpy's: |candidate - reference| <= atol + rtol * |reference|,
    element by element. ``relative_l2`` is ||candidate - reference|| / ||reference||. ``cosine`` is a
    lower bound.
    """

    rtol: float | None = None
    atol: float | None = None
    relative_l2: float | None = None
    cosine: float | None = None

    def __str__(self) -> str:
        named = {k: v for k, v in asdict(self).items() if v is not None}
        return ", ".join(f"{k} {v:g}" for k, v in named.items())
