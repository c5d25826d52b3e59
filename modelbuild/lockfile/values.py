"""What a lock file says, as values."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

VERSION = 2

# A file's digest is of its content, or of its definitions where they are known.
CONTENT, OUTLINE = "sha256:", "outline:"

_STRICT = {"extra": "forbid"}
_NEAR = 1.5  # with SSE4 for AVX-512 the headroom of fp32 moved by 18 %; threads moved none


@dataclass(frozen=True)
class Worst:
    """The output that is nearest to its bound, to three digits: more of them is noise."""

    output: str
    relative_l2: float
    max_abs: float
    headroom: float | str  # tolerance / error; "exact" where there is no error

    __pydantic_config__: ClassVar[Any] = _STRICT

    def near(self, other: Worst) -> bool:
        """Whether both may be of the same bytes and samples, on two CPUs."""
        if isinstance(self.headroom, str) or isinstance(other.headroom, str):
            return self.headroom == other.headroom
        small, large = sorted((self.headroom, other.headroom))
        return large <= _NEAR * small


@dataclass(frozen=True)
class Onnx:
    """An ONNX artifact.

    ``data`` is the digest of the weights beside it, where they are; ``bytes`` counts both files.
    ``nodes`` are those that compute floats, by the type they compute in, and the others.
    """

    sha256: str
    bytes: int
    opset: int
    nodes: Mapping[str, int]
    tolerance: str | None = None
    worst: Worst | None = None
    data: str | None = None
    kept_fp32: int = 0

    __pydantic_config__: ClassVar[Any] = _STRICT

    def after(self, old: Onnx) -> Onnx:
        """As ``old``, if nothing but the last digits of what was measured has moved."""
        near = self.worst is not None and old.worst is not None and self.worst.near(old.worst)
        return old if near and replace(self, worst=old.worst) == old else self


@dataclass(frozen=True)
class Lock:
    """What a build gave (``onnx``, ``engines``) and what decided it.

    No two builds of an engine have the same bytes, so its key stands for it; None: not built here.
    ``files``, ``environment`` and ``finds`` are what the model's code read or looked for by itself: the
    latter has what it was answered where it looked for a file, listed a folder or imported. ``definition``
    is a digest of what the recipe means, which can be compared without a build.
    """

    recipe: str
    onnx: Mapping[str, Onnx]
    engines: Mapping[str, str | None]
    toolchain: Mapping[str, str]
    environment: Mapping[str, str | None]
    files: Mapping[str, str]
    finds: Mapping[str, str | None]
    definition: str | None = None

    __pydantic_config__: ClassVar[Any] = _STRICT

    def without(self, names: Collection[str]) -> Lock:
        """All but these artifacts, for a build that has none of them."""
        onnx = {name: row for name, row in self.onnx.items() if name not in names}
        return replace(self, onnx=onnx, engines={n: k for n, k in self.engines.items() if n not in names})

    def after(self, old: Lock) -> Lock:
        """This lock to be written in the place of ``old``: what has not moved reads as it did.

        What was measured differs from one CPU to the next, and a machine without a backend does
        not know the keys of its engines.
        """
        onnx = {
            name: row.after(old.onnx[name]) if name in old.onnx else row for name, row in self.onnx.items()
        }
        engines = {name: key or old.engines.get(name) for name, key in self.engines.items()}
        return replace(self, onnx=onnx, engines=engines)
