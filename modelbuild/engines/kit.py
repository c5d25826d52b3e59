"""One backend in this process: its module, Polygraphy's side of it, its logger.

Polygraphy calls TensorRT and TensorRT-RTX by one name and learns which of them is meant from an
environment variable when it is imported; so there is one road here, and a process can go only one
of the two ways.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from glob import escape
from typing import Any

from modelbuild.base.errors import Diagnostic, ToolchainError, first_line
from modelbuild.engines.profiles import ShapeRange
from modelbuild.engines.words import failed, plain

# backend -> its module, and its name as NVIDIA writes it
_BACKENDS = {
    "tensorrt-rtx": ("tensorrt_rtx", "TensorRT-RTX"),
    "tensorrt": ("tensorrt", "TensorRT"),
}


@dataclass(frozen=True)
class Kit:
    """One backend, imported: its module, Polygraphy's side of it, and what it complained of."""

    title: str
    trt: Any
    polygraphy: Any  # polygraphy.backend.trt
    errors: list[str]

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def name(self) -> str:
        return f"{self.title} {self.version}"

    def profile(self, shapes: Mapping[str, ShapeRange]) -> Any:
        """Polygraphy's profile of these shapes."""
        profile = self.polygraphy.Profile()
        for name, (low, opt, high) in shapes.items():
            # Polygraphy takes names for patterns: `x[0]` would not match itself and be given sizes
            # of Polygraphy's own.
            profile.add(escape(name), low, opt, high)
        return profile

    @contextlib.contextmanager
    def own_words(self, what: str) -> Iterator[None]:
        """Turn a failure inside into ``engine-failed``, with the library's words as its reason."""
        failure = importlib.import_module("polygraphy.exception").PolygraphyException
        self.errors.clear()
        try:
            yield
        # A builder or runtime that cannot be made is a TypeError of the bindings, without a word.
        except (failure, TypeError, RuntimeError) as error:
            said = [w for w in map(plain, self.errors) if w] or [first_line(error)]
            hint = None
            if any("cudaError" in word for word in said):
                hint = "this needs an NVIDIA GPU and a driver that fits this version"
            raise failed(f"{what}: {'; '.join(dict.fromkeys(said))}", hint) from error


@functools.cache
def load(backend: str) -> Kit:
    """Import the backend; once per process, because its logger cannot be changed later."""
    module, title = _BACKENDS[backend]
    rtx = backend == "tensorrt-rtx"
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1" if rtx else "0"
    try:
        trt = importlib.import_module(module)
        config = importlib.import_module("polygraphy.config")
        polygraphy = importlib.import_module("polygraphy.backend.trt")
        log: Any = importlib.import_module("polygraphy.backend.trt.util")
    except (ImportError, OSError) as error:
        message = f"{backend} cannot be imported: {first_line(error)}"
        raise ToolchainError(Diagnostic("backend-missing", message)) from error
    if bool(config.USE_TENSORRT_RTX) is not rtx:
        raise RuntimeError("Polygraphy was imported for the other TensorRT in this process")
    errors: list[str] = []
    log.TRT_LOGGER = _logger(trt, errors)
    return Kit(title, trt, polygraphy, errors)


def _logger(trt: Any, errors: list[str]) -> Any:
    """A TensorRT logger that prints what is INFO or worse, and keeps errors.

    Not Polygraphy's: that one hides INFO, and nothing can be asked of it afterwards. That every
    VERBOSE line calls Python too does not show (BERT-base: 14,000 lines, 3.3 s with and without).
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity != trt.ILogger.VERBOSE:
                sys.stderr.write(f"[{severity.name[0]}] {message}\n")
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(message)

    return Logger()
