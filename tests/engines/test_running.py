"""An engine computes what it was built from, where there is a GPU."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch

from modelbuild.base.errors import Diagnostic, ModelbuildError
from modelbuild.engines.running import _array, _tensor, run_engine
from modelbuild.machine import toolchain
from modelbuild.machine.isolate import in_child
from tests.engines.small import ADD, LARGE, RTX, SMALL, build, needs_rtx, rtx, without_gpu


@needs_rtx
@without_gpu
def test_running_without_a_gpu_says_what_it_needs(tmp_path: Path) -> None:
    build(rtx(), ADD, tmp_path)

    def run() -> tuple[Diagnostic, ...]:
        with pytest.raises(ModelbuildError) as failed:
            run_engine(tmp_path / "m.engine", "tensorrt-rtx", [], ["y"])
        return failed.value.diagnostics

    (found,) = in_child(run).value
    assert found.code == "engine-failed"
    assert found.message.startswith(f"{RTX} cannot run m.engine: cudaError ")
    assert found.hint == "this needs an NVIDIA GPU and a driver that fits this version"


def test_bfloat16_travels_as_pytorchs_tensors_and_comes_back_as_float32() -> None:
    half = np.array([[1.0, -2.5], [3.0e38, 0.0]], np.float32).astype(ml_dtypes.bfloat16)
    tensor = _tensor(half)
    assert tensor.dtype == torch.bfloat16
    np.testing.assert_array_equal(_array(tensor), half.astype(np.float32))
    whole = np.array([1, 2], np.int64)
    back = _array(_tensor(whole))
    assert back.dtype == np.int64
    np.testing.assert_array_equal(back, whole)
    assert not np.shares_memory(back, whole)


@needs_rtx
@pytest.mark.gpu
@pytest.mark.skipif(toolchain.gpu() is None, reason="this machine has no GPU")
def test_an_engine_with_bfloat16_edges_computes_what_numpy_computes(tmp_path: Path) -> None:
    text = ADD.replace("float[", "bfloat16[")
    build(rtx(profiles=(SMALL, LARGE)), text, tmp_path)
    random = np.random.default_rng(0)
    feeds = [
        {n: random.standard_normal((batch, 4)).astype(ml_dtypes.bfloat16) for n in ("left", "right")}
        for batch in (1, 8, 3)
    ]

    ended = in_child(lambda: run_engine(tmp_path / "m.engine", "tensorrt-rtx", feeds, ["y"]))

    assert ended.ok, ended
    for feed, (y,) in zip(feeds, ended.value, strict=True):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y, (feed["left"] + feed["right"]).astype(np.float32), rtol=1e-2)


@needs_rtx
@pytest.mark.gpu
@pytest.mark.skipif(toolchain.gpu() is None, reason="this machine has no GPU")
def test_an_engine_computes_what_numpy_computes_in_each_of_its_profiles(tmp_path: Path) -> None:
    build(rtx(profiles=(SMALL, LARGE), tf32=False), ADD, tmp_path)
    random = np.random.default_rng(0)
    feeds = [
        {n: random.standard_normal((batch, 4), np.float32) for n in ("left", "right")}
        for batch in (1, 8, 3, 1)
    ]

    ended = in_child(lambda: run_engine(tmp_path / "m.engine", "tensorrt-rtx", feeds, ["y"]))

    assert ended.ok, ended
    for feed, (y,) in zip(feeds, ended.value, strict=True):
        np.testing.assert_allclose(y, feed["left"] + feed["right"], rtol=1e-6)
