"""Functions of libraries that open files in native code, where no hook sees it."""

from __future__ import annotations

import functools
import inspect
import mmap
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

# When one of these is imported, its readers are wrapped.
LIBRARIES = ("cv2", "h5py", "onnx", "onnxruntime", "safetensors", "tokenizers", "torch")

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


def _some(place: int, reads: bool = True) -> Files:
    """Files that any of the arguments from this place on name: the first, and others that are there."""

    def found(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[object, bool]]:
        yield from ((path, reads) for path in (*args[place : place + 1], *kwargs.values()))
        for path in args[place + 1 :]:
            if isinstance(path, str | bytes | os.PathLike) and os.path.lexists(path):
                yield path, reads

    return found


def _several(place: int, keyword: str) -> Files:
    """The files that an argument lists."""

    def found(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[object, bool]]:
        paths = args[place] if len(args) > place else kwargs.get(keyword)
        yield from ((path, True) for path in (paths if isinstance(paths, list | tuple) else [paths]))

    return found


def _storage(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[object, bool]]:
    """OpenCV's own files, of which 1 writes one anew, and 4 means that the name is the text itself."""
    name, flags = (*args[1:], *kwargs.values(), None, 0)[:2]
    flags = kwargs.get("flags", flags)
    if not isinstance(flags, int) or not flags & 4:
        yield name, flags != 1


# Of OpenCV's many, those whose first argument is a file; which of them there are depends on its version.
_OPENCV_READS = (
    "imread", "imreadmulti", "imreadanimation", "imreadWithMetadata", "imcount", "haveImageReader",
    "readOpticalFlow", "loadPointCloud", "loadMesh", "FaceDetectorYN_create", "FaceRecognizerSF_create",
    "TrackerVit_create", "ALIKED_create", "DISK_create", "LightGlueMatcher_create",
)  # fmt: skip
_OPENCV_WRITES = ("imwrite", "imwritemulti", "imwriteanimation", "imwriteWithMetadata", "writeOpticalFlow")
_OPENCV_NETS = (
    "readNet", "readNetFromCaffe", "readNetFromDarknet", "readNetFromModelOptimizer", "readNetFromTFLite",
    "readNetFromTensorflow", "readNetFromTorch", "readTensorFromONNX", "Tokenizer_load",
)  # fmt: skip
_OPENCV_METHODS = (
    ("VideoCapture", "__init__"), ("VideoCapture", "open"), ("CascadeClassifier", "__init__"),
    ("CascadeClassifier", "load"), ("HOGDescriptor", "__init__"), ("HOGDescriptor", "load"),
    ("DescriptorMatcher", "read"), ("Feature2D", "read"), ("ANNIndex", "load"), ("FontFace", "__init__"),
    ("FontFace", "set"),
)  # fmt: skip
_OPENCV_FACTORIES = ("FaceDetectorYN", "FaceRecognizerSF", "TrackerVit", "ALIKED", "DISK", "LightGlueMatcher")

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
    *(("cv2", name, _some(0)) for name in _OPENCV_READS),
    *(("cv2", name, _some(0, reads=False)) for name in _OPENCV_WRITES),
    *(("cv2.dnn", name, _some(0)) for name in _OPENCV_NETS),
    ("cv2.dnn", "readNetFromONNX", _model(0, "onnxFile")),
)
_METHODS: tuple[tuple[str, str, str, Files], ...] = (
    ("torch._C", "PyTorchFileReader", "__init__", _argument(1, "name")),
    ("torch._C", "PyTorchFileWriter", "__init__", _argument(1, "name", False)),
    ("torch", "UntypedStorage", "from_file", _argument(0, "filename")),
    ("onnxruntime", "InferenceSession", "__init__", _model(1, "path_or_bytes")),
    ("onnxruntime", "SessionOptions", "register_custom_ops_library", _argument(1, "library_path")),
    ("h5py", "File", "__init__", _hdf5),
    ("tokenizers", "Tokenizer", "from_file", _argument(0, "path")),
    ("tokenizers", "Tokenizer", "train", _several(1, "files")),
    ("tokenizers", "Tokenizer", "save", _argument(1, "path", False)),
    *(
        ("tokenizers.models", kind, name, _some(place))
        for kind in ("BPE", "WordLevel", "WordPiece")
        for name, place in (("__init__", 1), ("from_file", 0), ("read_file", 0))
    ),
    *(("cv2", kind, name, _some(1)) for kind, name in _OPENCV_METHODS),
    *(("cv2", kind, "create", _some(0)) for kind in _OPENCV_FACTORIES),
    ("cv2", "FileStorage", "__init__", _storage),
    ("cv2", "FileStorage", "open", _storage),
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
    if plain is object.__init__:
        plain = _made
    # A class (safe_open) has attributes that a function must not take over, like __dict__.
    names = ("__name__", "__qualname__", "__doc__", "__module__")
    bound = _of_class(owner, name)

    @functools.wraps(plain, [n for n in names if hasattr(plain, n)], ())
    def telling(*args: Any, **kwargs: Any) -> Any:
        for path, reads in files(args[1:] if bound else args, kwargs):
            told(path, reads)
        return bound.__get__(None, args[0])(*args[1:], **kwargs) if bound else plain(*args, **kwargs)

    setattr(telling, _MARK, True)
    kept: Any = telling
    if bound:
        kept = classmethod(telling)
    elif isinstance(owner, type) and isinstance(inspect.getattr_static(owner, name), staticmethod):
        kept = staticmethod(telling)
    setattr(owner, name, kept)


def _of_class(owner: Any, name: str) -> Any:
    """A class method as its class keeps it, which a subclass binds to itself; None if it is none."""
    kept = inspect.getattr_static(owner, name, None) if isinstance(owner, type) else None
    return kept if isinstance(kept, classmethod | _NATIVE_CLASS_METHOD) else None


_NATIVE_CLASS_METHOD = type(vars(dict)["fromkeys"])


def _made(self: object, *args: Any, **kwargs: Any) -> None:
    """The ``__init__`` of a type whose ``__new__`` does it all, and which no hook can go before."""
