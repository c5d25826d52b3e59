"""The nodes of a file one by one, with the lines of the model that they come from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import onnx
import onnx.parser
import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.cli import main as cli
from modelbuild.graph import files
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.inspection import inspect_file, render

NET = """<ir_version: 10, opset_import: ["" : 18]> g (float[n, 2] x, bool flag) => (float[n, 2] y)
<float[2, 2] w = {1, 2, 3, 4}> {
    [node_linear] h = MatMul(x, w)
    s = Shape(h)
    r = Reshape(h, s)
    y = If (flag) <then_branch = a () => (float[n, 2] t) { [node_exp] t = Exp(r) },
                   else_branch = b () => (float[n, 2] e) { [node_tanh] e = Tanh(r) }>
}"""
LINES = {"net.py:9 in forward": ["node_linear", "r"], "net.py:12 in forward": ["node_exp"]}
ACTIONS = [
    {"id": "export", "artifact": None, "key": "sha256:1", "needs": {"model": "gone"}, "sources": LINES},
    {"id": "another", "artifact": None, "key": "sha256:2", "needs": {}, "sources": {"a.py:1 in f": ["r"]}},
    {"id": "fp32", "artifact": "net.onnx", "key": "sha256:3", "needs": {"model": "export"}},
    {"id": "verify fp32", "artifact": "net.onnx", "key": "sha256:4", "needs": {"artifact": "fp32"}},
]  # fmt: skip


def published(folder: Path, actions: Any = ACTIONS, half: bool = False, **entry: Any) -> Path:
    path = folder / "net.onnx"
    model = files.Model(onnx.parser.parse_model(NET))
    if half:
        model, _ = convert(model, HalfOptions(op_block_list=(), node_block_list=("node_exp",)))
    files.write(model, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    artifact = {"name": path.name, "sha256": sha256, "key": "sha256:3", **entry}
    manifest = {"schema": 1, "artifacts": [artifact], "actions": actions}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return path


def test_every_node_is_told_by_the_name_that_keeps_it_in_fp32_and_its_line(tmp_path: Path) -> None:
    info = inspect_file(published(tmp_path), nodes=True)
    assert [tuple(row.values()) for row in info["node_list"]] == [
        ("node_linear", "MatMul", "float32", False, "net.py:9 in forward"),
        ("s", "Shape", "int64", False, None),
        ("r", "Reshape", "float32", False, "net.py:9 in forward"),
        ("y", "If", "float32", False, None),
        ("node_exp", "Exp", "float32", False, "net.py:12 in forward"),
        ("node_tanh", "Tanh", "float32", False, None),
    ]
    assert list(info["node_list"][0]) == ["name", "op_type", "dtype", "kept", "source"]
    assert info["without_lines"] is None
    assert render(info).splitlines()[-7:] == [
        "node         operator  type     line of the model",
        "node_linear  MatMul    float32  net.py:9 in forward",
        "s            Shape     int64",
        "r            Reshape   float32  net.py:9 in forward",
        "y            If        float32",
        "node_exp     Exp       float32  net.py:12 in forward",
        "node_tanh    Tanh      float32",
    ]


def test_what_a_half_model_keeps_in_fp32_is_marked(tmp_path: Path) -> None:
    info = inspect_file(published(tmp_path, half=True), nodes=True)
    rows = {row["name"]: (row["dtype"], row["kept"]) for row in info["node_list"]}
    assert rows["node_linear"] == ("float16", False)
    assert rows["node_exp"] == ("float32", True)
    assert [name for name, (_, kept) in rows.items() if kept] == [k["name"] for k in info["kept_nodes"]]
    assert "node_exp     Exp       float32, kept  net.py:12 in forward" in render(info).splitlines()


def test_each_name_that_is_listed_may_be_named_in_a_recipe(tmp_path: Path) -> None:
    path = published(tmp_path)
    names = tuple(row["name"] for row in inspect_file(path, nodes=True)["node_list"])
    half, _ = convert(files.read(path), HalfOptions(op_block_list=(), node_block_list=names))
    assert not [t for t in half.proto.graph.initializer if t.data_type == onnx.TensorProto.FLOAT16]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"sha256": "00"}, "changed since it was published"),
        ({"name": "other.onnx"}, "not in manifest.json"),
        ({"key": "sha256:9"}, "manifest.json has none of them: the model is an ONNX file, or an earlier"),
        ({"actions": [{**ACTIONS[2], "needs": {}}]}, "manifest.json has none of them: the model is an"),
        ({"actions": [{"id": 3}]}, "manifest.json has none of them"),
        ({"actions": [ACTIONS[2], {**ACTIONS[0], "sources": 7}]}, "manifest.json has none of them"),
        (None, "there is no manifest.json beside the file"),
    ],
    ids=["changed", "another", "another-key", "from-onnx", "damaged", "damaged-lines", "alone"],
)
def test_without_lines_there_are_names_and_it_is_said_why(
    given: dict[str, Any] | None, why: str, tmp_path: Path
) -> None:
    path = published(tmp_path, **(given or {}))
    if given is None:
        (tmp_path / "manifest.json").unlink()
    info = inspect_file(path, nodes=True)
    assert info["without_lines"].startswith(why)
    assert [row["source"] for row in info["node_list"]] == [None] * 6
    said = render(info).splitlines()
    assert said[-7:-1] == [
        "node_linear  MatMul    float32",
        "s            Shape     int64",
        "r            Reshape   float32",
        "y            If        float32",
        "node_exp     Exp       float32",
        "node_tanh    Tanh      float32",
    ]
    assert said[-1] == f"without lines of the model: {info['without_lines']}"


def test_the_command_lists_nodes_only_where_it_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(published(tmp_path))
    assert cli.main(["inspect", path]) == 0
    assert "node_linear" not in capsys.readouterr().out
    assert cli.main(["inspect", "--nodes", path, "--format", "json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["node_list"]) == 6


def test_an_engine_has_no_such_nodes(tmp_path: Path) -> None:
    path = tmp_path / "m.engine"
    path.write_bytes(b"ftrt" + bytes(64))
    with pytest.raises(RecipeError, match="is an engine: `--nodes` lists those of an ONNX file"):
        inspect_file(path, nodes=True)
