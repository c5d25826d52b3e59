"""What a file is: an ONNX model or an engine, its interface and size, and where it comes from.

Weights are hashed and never loaded: BERT-base takes 0.6 s, half of it hashing. No model runs but an int8
one, in a child, since what a CPU makes of it is a question of the CPU.
"""

from __future__ import annotations

from pathlib import Path

from modelbuild.inspection import engine_file
from modelbuild.inspection import nodes as listing
from modelbuild.inspection.common import Info, no_model
from modelbuild.inspection.provenance import from_manifest
from modelbuild.inspection.text import render
from modelbuild.store import hash_file

__all__ = ["Info", "inspect_file", "interface", "render"]

ENGINE_SUFFIXES = (".engine", ".plan")


def inspect_file(path: Path, *, nodes: bool = False) -> Info:
    """Everything that can be told of ``path``, as JSON; with ``nodes``, of each node of an ONNX file.

    Raises:
        RecipeError: ``recipe-invalid``: there is no such file, or it is no whole model;
            or nodes are asked for of an engine.
    """
    if path.is_dir():
        raise no_model(f"{path} is a folder", "name a file in it: an .onnx or an .engine")
    if not path.is_file():
        raise no_model(f"there is no file {path}", "`modelbuild build` writes its files to build/")
    try:
        with open(path, "rb") as file:
            head = file.read(engine_file.HEADER.size)
        if not head:
            raise no_model(f"{path} is empty", "build or download it again")
        if head.startswith(b"version https://git-lfs"):
            raise no_model(f"{path} is a Git LFS pointer, not the file", "run `git lfs pull`")
        is_engine = path.suffix in ENGINE_SUFFIXES or engine_file.has_magic(head)
        if is_engine and nodes:
            hint = "ask it of the ONNX file that the engine was built from"
            raise no_model(f"{path} is an engine: `--nodes` lists those of an ONNX file", hint)
        what = engine_file.describe(path, head) if is_engine else _onnx(path, nodes)
        hashed = hash_file(path)
    except OSError as error:
        message = f"{path} cannot be read: {error.strerror}"
        raise no_model(message, "check its permissions") from error
    info = {"file": str(path), "bytes": hashed.bytes, "sha256": hashed.sha256, **what}
    info["provenance"] = from_manifest(path, hashed.sha256)
    if info.get("int8") is not None:
        info["int8"]["runtime"] = _tried(path, info["provenance"])
    if nodes:
        listed, why = listing.with_lines(info.pop("node_list"), path, info["provenance"])
        info |= {"node_list": listed, "without_lines": why}
    return info


def interface(path: Path) -> Info:
    """``opset``, ``inputs`` and ``outputs`` of an ONNX file, as ``inspect_file`` has them; milliseconds.

    Raises:
        RecipeError: ``recipe-invalid``: there is no such file, or it is no whole model.
    """
    from modelbuild.inspection import onnx_file

    try:
        if not path.is_file():
            raise no_model(f"there is no file {path}")
        return onnx_file.interface_of(path)
    except OSError as error:
        raise no_model(f"{path} cannot be read: {error.strerror}") from error


def _tried(path: Path, provenance: Info | None) -> Info:
    from modelbuild.inspection import int8

    return int8.tried(path, provenance)


def _onnx(path: Path, nodes: bool) -> Info:
    from modelbuild.inspection import onnx_file

    info, data = onnx_file.describe(path, nodes)
    info["external_data"] = []
    for file in data:
        hashed = hash_file(file)
        name = str(file.relative_to(path.parent.resolve()))
        info["external_data"].append({"file": name, "bytes": hashed.bytes, "sha256": hashed.sha256})
    return info
