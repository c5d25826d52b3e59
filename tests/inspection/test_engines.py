"""What is told of an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild.inspection import inspect_file, render
from modelbuild.machine import toolchain
from modelbuild.machine.isolate import in_child
from modelbuild.wording.phrases import size
from tests.inspection.conftest import digest, put
from tests.inspection.engines import NO_GPU, build_engine, needs_rtx, without_gpu
from tests.inspection.published import publish


@needs_rtx
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param((), ["sm80", "sm86", "sm89", "sm120", "sm121"], id="none-is-ampere-and-later"),
        pytest.param(("sm89", "sm86"), ["sm86", "sm89"], id="two"),
        *(pytest.param((t,), [t], id=t) for t in ("sm75", "sm80", "sm120", "sm121")),
    ],
)
def test_the_header_of_an_engine_tells_version_and_targets(
    asked: tuple[str, ...], told: list[str], tmp_path: Path
) -> None:
    info = inspect_file(build_engine(tmp_path, targets=asked))

    version = toolchain.versions(["tensorrt-rtx"])["tensorrt-rtx"]
    assert (info["kind"], info["backend"], info["version"]) == ("engine", "tensorrt-rtx", version)
    assert info["targets"] == told


@needs_rtx
@without_gpu
def test_without_a_gpu_an_engine_says_what_cannot_be_told(tmp_path: Path) -> None:
    path = build_engine(tmp_path)

    info = inspect_file(path)

    assert set(info) == {
        "file", "bytes", "sha256", "kind", "backend", "version", "targets", "note", "provenance",
    }  # fmt: skip
    assert info["note"] == NO_GPU
    assert (info["bytes"], info["sha256"]) == (path.stat().st_size, digest(path))


def test_an_engine_of_a_backend_that_is_not_here_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(b"ftrt" + bytes(100), "m.fp16.tensorrt.engine")(tmp_path)
    monkeypatch.setattr(toolchain, "missing_backend", lambda backend: f"{backend} is not installed")

    info = inspect_file(path)

    assert (info["backend"], "version" in info) == ("tensorrt", False)
    assert info["note"] == ("inputs, outputs and profiles need the engine loaded: tensorrt is not installed")


@needs_rtx
@pytest.mark.gpu
@pytest.mark.skipif(toolchain.gpu() is None, reason="this machine has no GPU")
def test_with_a_gpu_an_engine_tells_its_inputs_and_profiles(tmp_path: Path) -> None:
    path = build_engine(tmp_path)

    info = in_child(lambda: inspect_file(path)).value

    assert info["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["?", 4]}]
    assert info["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["?", 4]}]
    assert info["profiles"] == [
        {"x": {"min": [1, 4], "opt": [1, 4], "max": [1, 4]}},
        {"x": {"min": [1, 4], "opt": [3, 4], "max": [8, 4]}},
    ]


@needs_rtx
@without_gpu
def test_a_person_reads_an_engine_as_a_table(tmp_path: Path) -> None:
    path = build_engine(tmp_path, targets=("sm86",))
    publish(path, digest(path), parity=None)
    version = toolchain.versions(["tensorrt-rtx"])["tensorrt-rtx"]

    expected = f"""\
file        {path}
kind        engine of tensorrt-rtx {version}
size        {size(path.stat().st_size)}
targets     sm86
note        {NO_GPU}
sha256      {digest(path)}
provenance  as published, from configs/m.yaml
key         sha256:ab
parity      not measured
toolchain   torch 2.13.0"""
    assert render(inspect_file(path)) == expected


def test_a_loaded_engine_shows_its_profiles() -> None:
    info = {
        "file": "m.engine", "bytes": 2_500_000_000, "sha256": "ab", "kind": "engine",
        "backend": "tensorrt", "layers": 3, "provenance": None,
        "inputs": [{"name": "x", "dtype": "float16", "shape": ["?", 4]}],
        "outputs": [{"name": "y", "dtype": "float16", "shape": None}],
        "profiles": [{"x": {"min": [1, 4], "opt": [3, 4], "max": [8, 4]}}],
    }  # fmt: skip

    expected = """\
file        m.engine
kind        engine of tensorrt
size        2.3 GiB
inputs      x  float16  [?, 4]
outputs     y  float16  any shape
profiles    0: x [1, 4] [3, 4] [8, 4]
layers      3
sha256      ab
provenance  unknown: no manifest.json beside it"""
    assert render(info) == expected
