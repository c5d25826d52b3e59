"""What this machine has: packages, backends, a GPU. Asked without importing any of them.

Importing torch to learn its version costs 1.6 s, and tensorrt 0.05 s and a CUDA context; the
metadata of a package costs microseconds. This file also runs as a script of its own (``gpu``).
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# backend -> its module, the library that the module loads, the extra that installs it
_BACKENDS = {
    "tensorrt": ("tensorrt", "nvinfer", '"modelbuild[tensorrt]"'),
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx", '"modelbuild[rtx]"'),
}

# The extras [cpu] and [gpu] install these, which have the same module.
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu")
_AFRESH = (
    f"pip uninstall -y {' '.join(_RUNTIMES)}, then one of "
    'pip install "modelbuild[cpu]" and pip install "modelbuild[gpu]"'
)

# cuInit takes 0.1 to 0.5 s; a driver that hangs for longer is not there.
_DRIVER_SECONDS = 20.0
# CUdevice_attribute in cuda.h
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76


@dataclass(frozen=True)
class Gpu:
    """The first CUDA device, as CUDA_VISIBLE_DEVICES leaves it."""

    name: str  # NVIDIA GeForce RTX 4090
    compute_capability: str  # 8.9

    @property
    def target(self) -> str:
        """As recipes write it: ``sm89``."""
        return f"sm{self.compute_capability.replace('.', '')}"


def versions(distributions: Iterable[str]) -> dict[str, str | None]:
    """Each distribution's installed version; None where it is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def platform_facts() -> dict[str, str]:
    """Python and the machine, as far as they may decide what a tool writes."""
    import platform

    return {
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
    }


def missing_backend(backend: str) -> str | None:
    """Why no engine can be built for ``backend`` here, and what to install; None if one can."""
    from importlib.util import find_spec

    module, library, extra = _BACKENDS[backend]
    for name, shown in ((module, backend), ("polygraphy", "polygraphy")):
        if find_spec(name) is None:
            return f"{shown} is not installed: pip install {extra}"
    if not _has_library(module, library):
        return (
            f"{backend} is installed without its libraries (lib{library}): "
            f"pip install {extra}, or add their folder to LD_LIBRARY_PATH"
        )
    return None


def missing_runtime() -> str | None:
    """Why no file can be run and proven here, and what to install; None if one can."""
    from importlib.util import find_spec

    spec = find_spec("onnxruntime")
    if spec is None:
        return (
            "onnxruntime is not installed, without which nothing can be proven: "
            'pip install "modelbuild[cpu]", or "modelbuild[gpu]" where there is a GPU'
        )
    if spec.origin is None:  # a folder without __init__.py
        return (
            "onnxruntime is installed in part, as where one of its distributions was removed and another one "
            f"stayed: {_AFRESH}"
        )
    return None


def doubled_runtime() -> str | None:
    """That several distributions have installed onnxruntime, of which each overwrites the other's files, and
    what to do; None if there is one at most."""
    found = [f"{name} {number}" for name, number in versions(_RUNTIMES).items() if number is not None]
    if len(found) < 2:
        return None
    return f"{' and '.join(found)} are both installed, into one folder, and which runs is chance: {_AFRESH}"


def need_runtime() -> None:
    """Asked by what runs files, before anything else is done.

    Raises:
        ToolchainError: ``backend-missing``: there is no onnxruntime here.
    """
    if missing := missing_runtime():
        from modelbuild.base.errors import Diagnostic, ToolchainError  # a script has no package beside it

        raise ToolchainError(Diagnostic("backend-missing", missing))


def _has_library(module: str, library: str) -> bool:
    """Whether ``library`` lies where its wheel, the loader's path or the system would have it."""
    from importlib.util import find_spec

    wheel = find_spec(f"{module}_libs")
    folders = list(wheel.submodule_search_locations or ()) if wheel else []
    for variable in ("LD_LIBRARY_PATH", "PATH"):  # PATH is where Windows looks
        folders += os.environ.get(variable, "").split(os.pathsep)
    patterns = (f"lib{library}.so*", f"{library}*.dll")
    if any(next(Path(f).glob(p), None) for f in folders if f for p in patterns):
        return True
    from ctypes.util import find_library

    return find_library(library) is not None


@functools.cache
def gpu() -> Gpu | None:
    """The GPU that CUDA would use, or None; never raises.

    The driver is asked in a process of its own: a process that called cuInit can no longer fork
    children that use CUDA, and our workers fork.
    """
    import ctypes

    try:
        ctypes.CDLL(_driver_name())  # without a driver there is nothing to start a process for
        asked = subprocess.run(
            [sys.executable, "-I", "-S", __file__],
            capture_output=True,
            timeout=_DRIVER_SECONDS,
            check=True,
        )
        name, capability = json.loads(asked.stdout)
        return Gpu(name, capability)
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return None


def _driver_name() -> str:
    return "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def _first_device(driver: Any) -> tuple[str, str] | None:
    """Name and compute capability of device 0. Creates no context. Source: cuda.h, CUDA 13."""
    import ctypes

    device, number = ctypes.c_int(), ctypes.c_int()
    name = ctypes.create_string_buffer(256)
    capability = []
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if driver.cuDeviceGetName(name, len(name), device):
        return None
    for attribute in (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR):
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
            return None
        capability.append(str(number.value))
    return name.value.decode(errors="replace"), ".".join(capability)


if __name__ == "__main__":
    import ctypes

    sys.stdout.write(json.dumps(_first_device(ctypes.CDLL(_driver_name()))))
