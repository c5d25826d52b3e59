"""Where a build differs from its lock file, in words."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from modelbuild.lockfile import Lock, Worst, differences, mismatch
from tests.lockfile.samples import ENGINE, FACTS, FP16, FP32, NET, ROWS, TOOLS, locked, with_fp32

A_TO_E = "sha256 aaaaaaaaaaaa… -> eeeeeeeeeeee…"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param(locked(), [], id="nothing"),
        pytest.param(
            locked({name: dataclasses.replace(row, opset=19) for name, row in ROWS.items()}),
            ["opset 18 -> 19"],
            id="opset-of-all",
        ),
        pytest.param(locked(with_fp32(opset=19)), [f"{NET}: opset 18 -> 19"], id="opset-of-one"),
        pytest.param(
            locked(with_fp32(tolerance="atol 1")),
            [f"{NET}: tolerance rtol 0.001, atol 0.0001 -> atol 1"],
            id="tolerance",
        ),
        pytest.param(
            locked(with_fp32(sha256="e" * 64, bytes=7, nodes={"float32": 4, "other": 1})),
            [f"{NET}: other bytes ({A_TO_E}); nodes: float32 3 -> 4, other 0 -> 1"],
            id="bytes",
        ),
        pytest.param(
            locked({**ROWS, "net.fp16.onnx": dataclasses.replace(FP16, data=None)}),
            ["net.fp16.onnx.data: other bytes (sha256 cccccccccccc… -> none)"],
            id="weights-beside-it",
        ),
        pytest.param(
            locked({**ROWS, "net.fp16.batch1.onnx": FP16}),
            ["net.fp16.batch1.onnx is not in the lock file"],
            id="new-artifact",
        ),
        pytest.param(
            locked({NET: FP32}, {}),
            ["net.fp16.onnx is in the lock file alone", "net.fp16.tensorrt.engine is in the lock file alone"],
            id="gone",
        ),
        pytest.param(
            locked(engines={ENGINE: "sha256:" + "e" * 64}),
            ["net.fp16.tensorrt.engine: another key (dddddddddddd… -> eeeeeeeeeeee…)"],
            id="engine",
        ),
        pytest.param(locked(engines={ENGINE: None}), [], id="engine-not-built-here"),
        pytest.param(locked(tools={**TOOLS, "torch": "2.13.0"}), ["torch 2.12.1 -> 2.13.0"], id="upgrade"),
        pytest.param(locked(tools={**TOOLS, "tensorrt": "10.1"}), [], id="installed-here-alone"),
        pytest.param(
            locked(facts={**FACTS, "package transformers": "5.1"}), ["transformers 5.0 -> 5.1"], id="package"
        ),
        pytest.param(
            locked(facts={**FACTS, "file ../models/blocks.py": "sha256:4"}),
            ["../models/blocks.py changed"],
            id="file",
        ),
        pytest.param(locked(facts={**FACTS, "file net.py": "sha256:4"}), [], id="comment-in-a-file"),
        pytest.param(
            locked(outlines={"net.py": {"Net": "new", "": "34cd"}}), ["net.py changed"], id="definition"
        ),
        pytest.param(locked(outlines={}), [], id="a-file-that-one-side-could-not-outline"),
        pytest.param(
            locked(tools={**TOOLS, "python": "3.13.1"}, outlines={"net.py": {"Net": "other"}}),
            ["python 3.11 -> 3.13"],
            id="each-python-outlines-in-its-own-way",
        ),
        pytest.param(
            locked(facts={**FACTS, "file new.json": "sha256:4"}),
            ["new.json is read, and not in the lock file"],
            id="new-file",
        ),
        pytest.param(
            locked(facts={n: v for n, v in FACTS.items() if "w.bin" not in n}),
            [".../w.bin is in the lock file, and not read"],
            id="file-no-more-read",
        ),
        pytest.param(
            locked(facts={n.replace("../models", "/repo/models"): v for n, v in FACTS.items()}),
            [],
            id="built-from-another-folder",
        ),
        pytest.param(locked(facts={**FACTS, "env WIDTH": "16"}), ["WIDTH 8 -> 16"], id="environment"),
        pytest.param(locked(facts={**FACTS, "env WIDTH": None}), ["WIDTH 8 -> unset"], id="unset"),
        pytest.param(locked(facts={**FACTS, "env WIDTH": "sha256:12"}), ["WIDTH changed"], id="secret"),
        pytest.param(
            locked(facts={**FACTS, "env X": "1"}),
            ["X is read from the environment, and not in the lock file"],
            id="new-variable",
        ),
        pytest.param(
            locked(facts={**FACTS, "absent other.json": None}),
            ["the model's code finds other files, folders or modules than it did: `absent other.json`"],
            id="looks-for-more",
        ),
        pytest.param(locked(name="other"), ["recipe net -> other"], id="name"),
        pytest.param(locked(with_fp32(worst=Worst("y", 2e-7, 2e-7, 1000.0))), [], id="measured-elsewhere"),
    ],
)
def test_what_differs_is_said_in_words(now: Lock, said: list[str]) -> None:
    assert differences(locked(), now) == said


def test_the_most_telling_difference_is_said_first() -> None:
    rows = {NET: dataclasses.replace(FP32, opset=19, sha256="e" * 64), "net.bf16.onnx": FP16}
    facts = {**FACTS, "file ../models/blocks.py": "sha256:4"}
    now = locked(rows, tools={**TOOLS, "torch": "3"}, facts=facts)
    assert [line.split()[0] for line in differences(locked({NET: FP32}), now)] == [
        "opset", "../models/blocks.py", "torch", f"{NET}:", "net.bf16.onnx",
    ]  # fmt: skip


def test_a_build_of_some_artifacts_is_held_to_their_part() -> None:
    assert differences(locked().without(["net.fp16.onnx", ENGINE]), locked({NET: FP32}, {})) == []


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        pytest.param(NET, {NET: "a" * 64}, None, id="same"),
        pytest.param(NET, {NET: "e" * 64}, f"{NET}: other bytes ({A_TO_E})", id="other"),
        pytest.param(
            NET,
            {NET: "a" * 64, NET + ".data": "c" * 64},
            f"{NET}.data: other bytes (sha256 none -> cccccccccccc…)",
            id="weights-came-out",
        ),
        pytest.param(
            "net.bf16.onnx", {"net.bf16.onnx": "a" * 64}, "net.bf16.onnx is not in the lock file", id="new"
        ),
    ],
)
def test_an_artifact_is_held_to_its_digests(name: str, files: dict[str, str], said: str | None) -> None:
    assert mismatch(locked(), name, files) == said


@pytest.mark.parametrize(
    ("now", "kept"),
    [
        pytest.param({"worst": Worst("y", 2e-7, 2e-7, 3000.0)}, True, id="another-cpu"),
        pytest.param({"worst": Worst("y", 2e-7, 2e-7, 2000.0)}, False, id="more-than-noise"),
        pytest.param({"worst": Worst("z", 2e-7, 2e-7, "exact")}, False, id="no-error-any-more"),
        pytest.param({"worst": Worst("y", 2e-7, 2e-7, 3000.0), "sha256": "e" * 64}, False, id="other-bytes"),
        pytest.param({"worst": Worst("y", 2e-7, 2e-7, 3000.0), "tolerance": "atol 1"}, False, id="tolerance"),
        pytest.param({"worst": None}, False, id="not-measured"),
    ],
)
def test_a_measurement_is_written_anew_only_if_it_is_another(now: dict[str, Any], kept: bool) -> None:
    lock = locked(with_fp32(**now))
    assert (lock.after(locked()) == locked()) is kept
    assert kept or lock.after(locked()) == lock


@pytest.mark.parametrize(
    ("engines", "key", "said"),
    [
        pytest.param({ENGINE: "sha256:" + "d" * 64}, "sha256:" + "d" * 64, None, id="same"),
        pytest.param(
            {ENGINE: "sha256:" + "d" * 64},
            "sha256:" + "e" * 64,
            f"{ENGINE}: another key (dddddddddddd… -> eeeeeeeeeeee…)",
            id="another",
        ),
        pytest.param({ENGINE: None}, "sha256:" + "e" * 64, None, id="not-built-where-it-was-locked"),
        pytest.param({}, "sha256:" + "e" * 64, f"{ENGINE} is not in the lock file", id="new"),
    ],
)
def test_an_engine_of_another_key_is_not_published(
    engines: dict[str, str | None], key: str, said: str | None
) -> None:
    assert mismatch(locked(engines=engines), ENGINE, {ENGINE: "a" * 64}, key) == said


def test_the_key_of_an_engine_that_is_not_built_here_stays() -> None:
    assert locked(engines={ENGINE: None}).after(locked()) == locked()
    other = locked(engines={ENGINE: "sha256:" + "e" * 64})
    assert other.after(locked()) == other
    assert locked(engines={}).after(locked()).engines == {}
