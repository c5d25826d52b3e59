"""An engine computes what it was built from, where there is a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from modelbuild import toolchain
from modelbuild.engines.running import run_engine
from modelbuild.errors import Diagnostic, ModelbuildError
from modelbuild.isolate import in_child
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
