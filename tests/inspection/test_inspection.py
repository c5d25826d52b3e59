"""What is told of a file: where it comes from, and to a person."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import pytest

from modelbuild.inspection import inspect_file, render
from modelbuild.wording.phrases import size
from tests.inspection.conftest import digest
from tests.inspection.published import PARITY, publish


@pytest.mark.parametrize(
    ("sha256", "status"),
    [
        pytest.param("{}", "as published", id="same"),
        pytest.param("sha256:{}", "as published", id="same-with-prefix"),
        pytest.param("00", "changed since it was published", id="another"),
        pytest.param(None, "changed since it was published", id="never-published"),
    ],
)
def test_the_manifest_beside_a_file_tells_where_it_comes_from(
    sha256: str | None, status: str, model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    publish(path, sha256 and sha256.format(digest(path)))

    assert inspect_file(path)["provenance"] == {
        "manifest": str(tmp_path / "manifest.json"),
        "status": status,
        "recipe": "configs/m.yaml",
        "key": "sha256:ab",
        "parity": PARITY,
        "toolchain": {"torch": "2.13.0", "tensorrt": None},
    }


def test_a_file_that_stayed_when_its_successor_failed_is_still_as_published(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    good = {"name": "m.onnx", "sha256": digest(path), "key": "sha256:cd", "parity": None}
    publish(path, None, published=good)

    told = inspect_file(path)["provenance"]

    assert (told["status"], told["key"]) == ("as published", "sha256:cd")
    assert told["toolchain"] is None  # the manifest knows the failed build's


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param('{"artifacts": []}', "not in manifest.json", id="another-file's"),
        pytest.param(
            "{", "manifest.json is unreadable: JSONDecodeError: Expecting property name enclosed "
            "in double quotes: line 1 column 2 (char 1)", id="cut",
        ),
        *(
            pytest.param(
                text, "manifest.json is unreadable: ValueError: it is not what a build writes", id=text[:40]
            )
            for text in (
                "{}", "[]", "null", '{"artifacts": [3]}', '{"artifacts": [{"name": "../m.onnx"}]}',
                '{"artifacts": [{"name": "m.onnx", "sha256": 3}]}',
                '{"artifacts": [{"name": "m.onnx", "parity": {"outputs": {"y": {"headroom": "1"}}}}]}',
                '{"artifacts": [{"name": "m.onnx", "published": {"parity": []}}]}',
                '{"artifacts": [], "toolchain": {"torch": {}}}',
            )
        ),
        pytest.param("[" * 9999, "manifest.json is unreadable: ValueError: it is no JSON", id="deep"),
    ],
)  # fmt: skip
def test_a_manifest_that_says_nothing_is_no_reason_to_fail(
    text: str, status: str, model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    (tmp_path / "manifest.json").write_text(text)

    info = inspect_file(path)

    assert info["provenance"]["manifest"] == str(tmp_path / "manifest.json")
    assert info["provenance"]["status"].startswith(status)
    assert f"provenance  {status}" in render(info)


# ---- for a person ----------------------------------------------------------------------------


def test_a_person_reads_an_onnx_file_as_a_table(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.onnx.data")
    publish(path, digest(path))
    data = tmp_path / "m.onnx.data"

    expected = f"""\
file        {path}
kind        ONNX, opset 18, my 1, IR version 10, by hand 7
size        {size(path.stat().st_size)}
inputs      x     float32  [batch, 64]
            flag  bool     []
outputs     y  float16  [batch, 64]
            z  float32  [?, 64]
weights     float32: 16.0 KiB in 1 tensor
            float16: 128 B in 1 tensor
nodes       6: float32 4, float16 2
half        25.0% of computing nodes (1 of 4), 0.8% of weight bytes
kept        3 nodes in float32:
            h (MatMul)
            t (Relu)
            e (my.Twist)
casts       float32 -> float16 1
operators   Add 1, Cast 1, If 1, MatMul 1, Relu 1, my.Twist 1
sha256      {digest(path)}
weights in  m.onnx.data, {size(data.stat().st_size)}
            {digest(data)}
provenance  as published, from configs/m.yaml
key         sha256:ab
parity      passed (fp16-simulated), headroom x2.5
toolchain   torch 2.13.0"""
    assert render(inspect_file(path)) == expected


def test_a_name_cannot_steer_the_terminal(model: onnx.ModelProto, tmp_path: Path) -> None:
    model.graph.input[1].name = "flag\x1b[2J\n"
    model.graph.node[1].input[0] = model.graph.input[1].name
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))

    said = render(inspect_file(path))

    assert "flag\\x1b[2J\\n" in said
    assert "\x1b" not in said
