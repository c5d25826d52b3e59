"""Functions of libraries that open files in native code, where no hook sees it."""

from __future__ import annotations

import functools
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# When one of these is imported, its readers are wrapped.
LIBRARIES = ("h5py", "onnx", "onnxruntime", "safetensors", "torch")

_MARK = "_tells_of_files"
_MOST = 2_000  # files beside a model that are looked for in it

Told = Callable[[object, bool], None]  # a path, and whether it is read (or written)
Files = Callable[[tuple[Any, ...], dict[str, Any]], Iterable[tuple[object, bool]]]


def _argument(place: int, keyword: str, reads: bool = True) -> Files:
    """The file that an argument names."""
    return lambda args, kwargs: [(args[place] if len(args) > place else kwargs.get(keyword), reads)]


def _model(place: int, keyword: str) -> Files:
    """An ONNX file that an argument names, and those that its weights are in."""

    def found(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[object, bool]]:
        path = args[place] if len(args) > place else kwargs.get(keyword)
        if isinstance(path, str | os.PathLike):
            yield path, True
            yield from ((beside, True) for beside in _named_inside(os.fspath(path)))

    return found


def _named_inside(path: str) -> Iterator[str]:
    """The files in a file's folder and below whose names it holds. Too many rather than one too few."""
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            home, number = os.path.dirname(path) or ".", 0
            for folder, _, names in os.walk(home):
                for name in names:
                    place = os.path.join(folder, name)
                    if text.find(os.fsencode(os.path.relpath(place, home))) >= 0:
                        yield place
                number += len(names)
                if number > _MOST:
                    return
    except (OSError, ValueError):
        return


def _tensor(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[object, bool]]:
    """The file that a tensor of an ONNX model is in."""
    tensor, folder = (*args, *kwargs.values())[:2]
    for entry in tensor.external_data:
        if entry.key == "location":
            yield os.path.join(folder, entry.value), True


def _hdf5(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[object, bool]]:
    name, mode = (*args[1:], *([kwargs.get("name")] if len(args) < 2 else []), None)[:2]
    yield name, (kwargs.get("mode", mode) or "r") in ("r", "r+", "a")


# Where a library keeps the function or the method, and which files a call reads or writes.
_FUNCTIONS: tuple[tuple[str, str, Files], ...] = (
    ("safetensors", "safe_open", _argument(0, "filename")),
    ("safetensors", "serialize_file", _argument(1, "filename", False)),
    ("safetensors.torch", "safe_open", _argument(0, "filename")),
    ("safetensors.torch", "serialize_file", _argument(1, "filename", False)),
    ("safetensors.numpy", "safe_open", _argument(0, "filename")),
    ("safetensors.numpy", "serialize_file", _argument(1, "filename", False)),
    ("torch", "from_file", _argument(0, "filename")),
    ("torch.jit", "load", _argument(0, "f")),
    ("torch.jit._serialization", "load", _argument(0, "f")),
    ("torch._C", "import_ir_module", _argument(1, "filename")),
    ("torch._C", "_load_for_lite_interpreter", _argument(0, "filename")),
    ("torch._C", "_load_mobile_module_from_file", _argument(0, "filename")),
    ("torch._C", "_load_jit_module_from_file", _argument(0, "filename")),
    ("onnx.external_data_helper", "load_external_data_for_tensor", _tensor),
    ("onnx.checker", "check_model", _model(0, "model")),
    ("onnx.shape_inference", "infer_shapes_path", _model(0, "model_path")),
)
_METHODS: tuple[tuple[str, str, str, Files], ...] = (
    ("torch._C", "PyTorchFileReader", "__init__", _argument(1, "name")),
    ("torch._C", "PyTorchFileWriter", "__init__", _argument(1, "name", False)),
    ("torch", "UntypedStorage", "from_file", _argument(0, "filename")),
    ("onnxruntime", "InferenceSession", "__init__", _model(1, "path_or_bytes")),
    ("onnxruntime", "SessionOptions", "register_custom_ops_library", _argument(1, "library_path")),
    ("h5py", "File", "__init__", _hdf5),
)


def wrap(told: Told) -> None:
    """Have ``told`` called before each of these opens a file, in the libraries that are loaded."""
    for module, name, files in _FUNCTIONS:
        _replace(sys.modules.get(module), name, told, files)
    for module, owner, name, files in _METHODS:
        _replace(getattr(sys.modules.get(module), owner, None), name, told, files)


def _replace(owner: Any, name: str, told: Told, files: Files) -> None:
    plain = getattr(owner, name, None) if owner is not None else None
    if plain is None or hasattr(plain, _MARK):
        return
    # A class (safe_open) has attributes that a function must not take over, like __dict__.
    names = ("__name__", "__qualname__", "__doc__", "__module__")

    @functools.wraps(plain, [n for n in names if hasattr(plain, n)], ())
    def telling(*args: Any, **kwargs: Any) -> Any:
        for path, reads in files(args, kwargs):
            told(path, reads)
        return plain(*args, **kwargs)

    setattr(telling, _MARK, True)
    setattr(
        owner, name, staticmethod(telling) if name == "from_file" and isinstance(owner, type) else telling
    )
