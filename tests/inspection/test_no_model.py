"""That nothing but a model gets past a look."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.inspection import inspect_file, render
from modelbuild.machine.isolate import in_child
from tests.inspection.conftest import put

# ---- what is no model ------------------------------------------------------------------------

REBUILD = "build or download it again; .onnx, .engine and .plan files can be inspected"


def vtrt(size: int) -> bytes:
    """The first bytes of an engine of TensorRT-RTX 1.7.1 that says it has this size."""
    head = b"vtrt" + bytes(4) + (2).to_bytes(8, "little") + size.to_bytes(8, "little")
    return head + bytes([1, 7, 1, 116]) + b"vtrt" + bytes([12, 0, 0, 0])


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        pytest.param(
            lambda folder: folder / "nope.onnx",
            "there is no file {path}", "`modelbuild build` writes its files to build/",
            id="missing",
        ),
        pytest.param(
            lambda folder: folder,
            "{path} is a folder", "name a file in it: an .onnx or an .engine",
            id="a-folder",
        ),
        pytest.param(put(b""), "{path} is empty", "build or download it again", id="empty"),
        pytest.param(
            put(b"hello world" * 10),
            "{path} cannot be inspected: not an ONNX model (wire type 4 at byte 2)", REBUILD,
            id="text",
        ),
        pytest.param(
            put(b"version https://git-lfs.github.com/spec/v1\n"),
            "{path} is a Git LFS pointer, not the file", "run `git lfs pull`",
            id="a-git-lfs-pointer",
        ),
        pytest.param(
            put(onnx.ModelProto(ir_version=10).SerializeToString()),
            "{path} cannot be inspected: not an ONNX model", REBUILD,
            id="a-message-without-a-graph",
        ),
        pytest.param(
            put(b"hello world", "m.engine"),
            "{path} cannot be inspected: not an engine", REBUILD,
            id="text-called-an-engine",
        ),
        pytest.param(
            put(b"vtrt12345", "m.plan"),
            "{path} cannot be inspected: the engine is truncated", REBUILD,
            id="an-engine-cut-in-its-header",
        ),
        pytest.param(
            put(vtrt(1000), "m.engine"),
            "{path} cannot be inspected: 36 bytes are there of 1000", REBUILD,
            id="an-engine-cut-later",
        ),
    ],
)  # fmt: skip
def test_what_is_no_model_is_an_error_that_says_so(
    make: Any, message: str, hint: str, tmp_path: Path
) -> None:
    path = make(tmp_path)

    with pytest.raises(RecipeError) as refused:
        inspect_file(path)

    expected = Diagnostic("recipe-invalid", message.format(path=path), hint)
    assert refused.value.diagnostics == (expected,)


def test_weights_that_are_not_there_are_an_error(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.onnx.data")
    (tmp_path / "m.onnx.data").unlink()

    with pytest.raises(RecipeError) as refused:
        inspect_file(path)

    message = f"{path} cannot be inspected: m.onnx: its weights in m.onnx.data cannot be read"
    assert refused.value.diagnostics == (Diagnostic("recipe-invalid", message, REBUILD),)


def test_no_damage_gets_past_as_anything_but_a_recipe_error(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = model.SerializeToString()
    structure = len(whole) - 64 * 64 * 4  # damage in a weight's values is no damage
    chance = random.Random(0)
    damaged = [whole[:n] for n in range(1, structure, 7)]
    for _ in range(400):
        bytes_ = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            bytes_[chance.randrange(structure)] = chance.randrange(256)
        damaged.append(bytes(bytes_))

    def run() -> int:
        refused = 0
        for content in damaged:
            path.write_bytes(content)
            try:
                render(inspect_file(path))
            except RecipeError:
                refused += 1
        return refused

    ended = in_child(run)

    assert ended.ok, ended
    assert ended.value > len(damaged) / 2
