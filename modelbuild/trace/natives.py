"""Functions of libraries that open files in native code, where no hook sees it."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

LIBRARIES = ("safetensors", "torch")

_MARK = "_tells_of_files"

Told = Callable[[object, bool], None]  # a path, and whether it is read (or written)

# Where a library keeps the function, whether it reads, and where the path stands among the arguments.
_FUNCTIONS = (
    ("safetensors", "safe_open", True, 0, "filename"),
    ("safetensors", "serialize_file", False, 1, "filename"),
    ("safetensors.torch", "safe_open", True, 0, "filename"),
    ("safetensors.torch", "serialize_file", False, 1, "filename"),
    ("safetensors.numpy", "safe_open", True, 0, "filename"),
    ("safetensors.numpy", "serialize_file", False, 1, "filename"),
    ("torch", "from_file", True, 0, "filename"),
    ("torch.jit", "load", True, 0, "f"),
    ("torch.jit._serialization", "load", True, 0, "f"),
)
_METHODS = (
    ("torch._C", "PyTorchFileReader", True),
    ("torch._C", "PyTorchFileWriter", False),
)


def wrap(told: Told) -> None:
    """Have ``told`` called before each of these opens a file, in the libraries that are loaded."""
    for module, name, reads, place, keyword in _FUNCTIONS:
        _replace(sys.modules.get(module), name, told, reads, place, keyword)
    for module, owner, reads in _METHODS:
        _replace(getattr(sys.modules.get(module), owner, None), "__init__", told, reads, 1, "name")
    storage = getattr(sys.modules.get("torch"), "UntypedStorage", None)
    _replace(storage, "from_file", told, True, 0, "filename")


def _replace(owner: Any, name: str, told: Told, reads: bool, place: int, keyword: str) -> None:
    plain = getattr(owner, name, None) if owner is not None else None
    if plain is None or hasattr(plain, _MARK):
        return
    # A class (safe_open) has attributes that a function must not take over, like __dict__.
    names = ("__name__", "__qualname__", "__doc__", "__module__")

    @functools.wraps(plain, [n for n in names if hasattr(plain, n)], ())
    def telling(*args: Any, **kwargs: Any) -> Any:
        told(args[place] if len(args) > place else kwargs.get(keyword), reads)
        return plain(*args, **kwargs)

    setattr(telling, _MARK, True)
    setattr(
        owner, name, staticmethod(telling) if name == "from_file" and isinstance(owner, type) else telling
    )
