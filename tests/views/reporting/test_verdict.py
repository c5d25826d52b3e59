"""What a report opens with: is all of it proven, by how much, how large, when and with what."""

from __future__ import annotations

import re
from typing import Any

import pytest

from modelbuild.views.reporting.page import render
from modelbuild.views.reporting.values import Said, ShownModel
from modelbuild.views.reporting.verdict import verdict
from tests.views.reporting.samples import artifact, model, parity

FP32 = artifact("net.fp32.onnx", bytes=100 << 20, parity=parity(("y", {"batch": 1}, 1e9)))
FP16 = artifact("net.fp16.onnx", bytes=50 << 20, parity=parity(("y", {"batch": 1}, 4.0)))
BAD = artifact("net.bf16.onnx", "failed", bytes=None, parity=parity(("y", {"batch": 1}, 0.5)))
ENGINE = artifact("net.fp16.tensorrt-rtx.engine", bytes=60 << 20)
RUN = artifact("net.fp16.tensorrt.engine", bytes=60 << 20, parity=parity(("y", {"batch": 1}, 3.0)))


def made(*artifacts: Any, status: Any = "ok", **more: Any) -> ShownModel:
    tools = {"modelbuild": "0.1.0", "torch": "2.13.0", "tensorrt-rtx": "tensorrt-rtx-cu13 1.7.1"}
    known = {"toolchain": tools, "built": 1_795_000_000.0}
    return ShownModel("net", "net.yaml", status, artifacts, **{**known, **more})


def told(*models: ShownModel) -> tuple[str, str]:
    """The tone of the verdict, and its words."""
    page = verdict(models)
    found = re.match(r'<div class="verdict (\w+)">', page)
    assert found
    return found[1], re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page)).strip()


def test_all_that_is_proven_is_counted_with_the_least_headroom_and_its_bound() -> None:
    tone, words = told(made(FP32, FP16))
    assert tone == "ok"
    assert words.startswith("2 of 2 proven")
    assert "worst headroom x4 net.fp16.onnx, y: relative_l2 0.0025 of 0.01" in words
    assert "fp16 is 50% of fp32 50.0 MiB of 100.0 MiB" in words
    assert "last build 2026-11-18 11:06 UTC" in words
    assert "with modelbuild 0.1.0, torch 2.13.0, tensorrt-rtx 1.7.1" in words


def test_what_failed_is_red_and_so_is_its_headroom() -> None:
    blocked = artifact("net.bf16.tensorrt.engine", "blocked", bytes=None)
    tone, words = told(made(FP32, BAD, blocked, status="failed"))
    assert tone == "failed"
    assert words.startswith("1 of 3 proven 1 failed, 1 blocked")
    assert '<span class="bad">x0.5</span>' in verdict([made(FP32, BAD)])
    assert '<span class="bad">bf16.tensorrt: blocked</span>' in verdict([made(blocked)])


def test_an_engine_that_no_gpu_has_run_is_there_and_not_proven() -> None:
    tone, words = told(made(FP16, ENGINE))
    assert tone == "stale"
    assert words.startswith("1 of 2 proven 1 built and not run here")
    assert "engines fp16.tensorrt-rtx: 60.0 MiB, not run here" in words
    assert told(made(FP16, RUN))[0] == "ok"


def test_a_skipped_engine_is_told_and_is_not_held_against_the_others() -> None:
    tone, words = told(made(FP16, artifact("net.fp16.tensorrt.engine", "skipped", bytes=None)))
    assert tone == "ok"
    assert words.startswith("1 of 1 proven 1 skipped")
    assert "engines fp16.tensorrt: skipped" in words


def test_what_is_stale_is_not_proven_any_more() -> None:
    tone, words = told(made(FP32, FP16.model_copy(update={"status": "stale"}), status="stale"))
    assert (tone, words[:22]) == ("stale", "1 of 2 proven 1 stale ")


def test_a_recipe_that_is_wrong_counts_although_it_has_no_artifact() -> None:
    said = Said(code="recipe-invalid", level="error", message="wrong")
    tone, words = told(made(FP32), ShownModel("b", "b.yaml", "failed", diagnostics=[said]))
    assert tone == "failed"
    assert words.startswith("1 of 1 proven 1 recipe with errors")
    assert told(ShownModel("b", "b.yaml", "failed"))[1].startswith("Nothing was built")


def test_half_precision_is_compared_with_the_same_files_in_fp32() -> None:
    alone = artifact("net.fp16.batch1.onnx", axes={"batch": 1}, bytes=7)
    assert "fp16 is 50% of fp32 50.0 MiB of 100.0 MiB" in told(made(FP32, FP16, alone))[1]
    assert "of fp32" not in told(made(FP16))[1]


def test_several_models_have_one_verdict_and_each_its_own() -> None:
    page = render([made(FP32, FP16), model("bad")])
    assert page.count('class="verdict ') == 3
    assert "3 of 5 proven" in page
    assert render([made(FP32)]).count('class="verdict ') == 1


@pytest.mark.parametrize("headroom", [0.5, 4.0])
def test_the_overview_has_engines_and_says_in_red_what_is_not_enough(headroom: float) -> None:
    half = artifact("net.fp16.onnx", parity=parity(("y", {}, headroom)))
    page = render([made(FP32, half, ENGINE), model("other", "ok")])
    overview = page[page.index("All models") : page.index("<details")]
    assert "fp16.tensorrt-rtx: 60.0 MiB, not run here" in overview
    assert (f'<span class="bad">x{headroom:g}</span></td>' in overview) == (headroom < 1)
