"""ONNX files are read without their weights, and written as they were."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from modelbuild.graph import files
from modelbuild.graph.files import Model
from modelbuild.graph.naming import graphs

BIG = np.random.default_rng(0).normal(size=(64, 33)).astype(np.float32)
SMALL = np.arange(4, dtype=np.float32)
INTS = np.arange(700, dtype=np.int64)


def proto() -> onnx.ModelProto:
    """Weights on both sides of the threshold, of several types, and some metadata."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "big"], ["h"], "matmul"),
            helper.make_node("Gather", ["h", "ints"], ["g"], axis=0),
            helper.make_node("ReduceMax", ["g"], ["m"], keepdims=0),
            helper.make_node("Add", ["m", "small"], ["y"]),
        ],
        "g",
        [value("x", TensorProto.FLOAT, ["n", 64])],
        [value("y", TensorProto.FLOAT, [4])],
        [
            onnx.numpy_helper.from_array(BIG, "big"),
            onnx.numpy_helper.from_array(SMALL, "small"),
            onnx.numpy_helper.from_array(INTS, "ints"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    helper.set_model_props(made, {"author": "nobody", "licence": "none"})
    return made


@pytest.fixture
def inline(tmp_path: Path) -> Path:
    path = tmp_path / "inline.onnx"
    path.write_bytes(proto().SerializeToString(deterministic=True))
    return path


@pytest.fixture
def external(tmp_path: Path, inline: Path) -> Path:
    path = tmp_path / "external.onnx"
    files.write(files.read(inline), path, external=True)
    return path


def whole(path: Path) -> onnx.ModelProto:
    """The file as onnx reads it, weights and all, without its note that they were inside."""
    made = onnx.load(path)
    for graph in graphs(made.graph):
        attributes = [a.t for node in graph.node for a in node.attribute if a.HasField("t")]
        for tensor in (*graph.initializer, *attributes):
            tensor.ClearField("data_location")
    return made


def values(model: Model) -> dict[str, np.ndarray]:
    return {t.name: model.array(t) for t in model.proto.graph.initializer}


@pytest.mark.parametrize("form", ["inline", "external"])
def test_what_is_read_is_what_was_written(form, request):
    path = request.getfixturevalue(form)
    model = files.read(path)
    assert set(model.weights) == {"big", "ints"}
    assert model.proto.ByteSize() < 1000
    for name, array in (("big", BIG), ("small", SMALL), ("ints", INTS)):
        found = values(model)[name]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    assert model.opset == 18
    onnx.checker.check_model(str(path), full_check=True)
    assert whole(path) == proto()


@pytest.mark.parametrize("form", ["inline", "external"])
@pytest.mark.parametrize("outside", [False, True])
def test_writing_what_was_read_gives_the_same_bytes_again(form, outside, request, tmp_path):
    model = files.read(request.getfixturevalue(form))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.write(model, tmp_path / name / "m.onnx", external=outside)
    for name in ["m.onnx", *(["m.onnx.data"] if outside else [])]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (tmp_path / "a" / "m.onnx.data").exists() == outside


def test_an_inline_file_comes_back_byte_for_byte(inline, tmp_path):
    again = tmp_path / "again.onnx"
    files.write(files.read(inline), again)
    assert whole(again) == whole(inline)
    twice = tmp_path / "twice.onnx"
    files.write(files.read(again), twice)
    assert twice.read_bytes() == again.read_bytes()


def test_weights_go_outside_when_the_file_would_be_too_large(inline, tmp_path, monkeypatch):
    model = files.read(inline)
    monkeypatch.setattr(files, "INLINE_LIMIT", 10_000)
    path = tmp_path / "large.onnx"
    files.write(model, path)
    entry = {
        e.key: e.value for e in onnx.load(path, load_external_data=False).graph.initializer[2].external_data
    }
    assert entry == {"location": "large.onnx.data", "offset": "12288", "length": "5600"}
    np.testing.assert_array_equal(values(files.read(path))["ints"], INTS)


@pytest.mark.parametrize("form", ["inline", "external"])
def test_a_weight_knows_where_its_bytes_are_and_gives_its_memory_back(form, request):
    weight = files.read(request.getfixturevalue(form)).weights["big"]
    assert weight.place is not None
    place, offset = weight.place
    assert place.read_bytes()[offset : offset + weight.nbytes] == BIG.tobytes()
    before = weight.load()
    weight.release()
    np.testing.assert_array_equal(before, BIG)
    np.testing.assert_array_equal(weight.load(), BIG)


def test_one_weight_is_in_memory_at_a_time_when_written(tmp_path):
    alive: list[int] = []

    def load() -> np.ndarray:
        alive.append(1)
        return BIG

    weight = files.Weight(TensorProto.FLOAT, BIG.shape, BIG.nbytes, load, release=alive.clear)
    model = Model(proto(), {"big": weight})
    model.proto.graph.initializer[0].CopyFrom(files.empty_initializer("big", 1, BIG.shape))
    files.write(model, tmp_path / "m.onnx")
    assert alive == []
    assert whole(tmp_path / "m.onnx") == proto()


def test_tensors_in_attributes_and_bodies_are_loaded_from_outside(tmp_path):
    tensor = onnx.numpy_helper.from_array(BIG, "value")
    constant = helper.make_node("Constant", [], ["c"], value=tensor)
    inner = helper.make_graph(
        [helper.make_node("Identity", ["big"], ["o"])],
        "then",
        [],
        [helper.make_tensor_value_info("o", TensorProto.FLOAT, BIG.shape)],
        [onnx.numpy_helper.from_array(BIG, "big")],
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["p"])],
        "else",
        [],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, BIG.shape)],
    )
    graph = helper.make_graph(
        [constant, helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=other)],
        "g",
        [helper.make_tensor_value_info("b", TensorProto.BOOL, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, BIG.shape)],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    path = tmp_path / "m.onnx"
    onnx.save(made, path, save_as_external_data=True, size_threshold=0, convert_attribute=True)
    again = tmp_path / "again.onnx"
    files.write(files.read(path), again)
    assert whole(again) == whole(path)
    assert not files.read(path).weights


def test_values_packed_in_nibbles_stay_as_they_are(tmp_path):
    made = proto()
    made.graph.initializer.append(
        helper.make_tensor("nibbles", TensorProto.INT4, [5000], np.zeros(5000, np.int8))
    )
    made.graph.initializer[-1].raw_data = bytes(range(250)) * 10
    del made.graph.initializer[-1].int32_data[:]
    path, again = tmp_path / "m.onnx", tmp_path / "again.onnx"
    onnx.save(made, path, save_as_external_data=True, size_threshold=0)
    files.write(files.read(path), again)
    assert onnx.load(again).graph.initializer[-1].raw_data == bytes(range(250)) * 10


# ---- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(inline, share):
    data = inline.read_bytes()
    inline.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ValueError, match="truncated"):
        files.read(inline)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"", "inline.onnx is empty", id="empty"),
        pytest.param(b"hello, world " * 100, "not an ONNX model", id="text"),
        pytest.param(b"\x80" * 100, "truncated", id="endless-number"),
        pytest.param(b"\x3a\x04\x0a\x02\xff\xff", "not an ONNX model", id="bad-node"),
    ],
)
def test_what_is_no_model_is_refused(inline, data, said):
    inline.write_bytes(data)
    with pytest.raises(ValueError, match=said):
        files.read(inline)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.lists(st.tuples(st.integers(0, 899), st.integers(0, 255)), min_size=1, max_size=6))
def test_damage_is_a_value_error_or_another_model(damage):
    import tempfile

    made = proto()
    data = bytearray(made.SerializeToString(deterministic=True))
    edge = len(data) - 900
    for at, byte in damage:  # in the head and in the tail; the middle is values
        data[at if at < 450 else edge + at] = byte
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.onnx"
        path.write_bytes(data)
        try:
            model = files.read(path)
        except ValueError:
            return
        for weight in model.weights.values():
            assert weight.load().shape == weight.dims


@pytest.mark.parametrize("location", ["../secret", "/etc/passwd", "link", ""])
def test_weights_outside_the_models_folder_are_refused(external, location):
    (external.parent.parent / "secret").write_bytes(BIG.tobytes())
    os.symlink(external.parent.parent / "secret", external.parent / "link")
    made = onnx.load(external, load_external_data=False)
    for entry in made.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    external.write_bytes(made.SerializeToString())
    with pytest.raises(ValueError, match="weight 'big' lies outside the model's folder"):
        files.read(external)


def test_a_missing_data_file_is_named(external):
    (external.parent / "external.onnx.data").unlink()
    with pytest.raises(ValueError, match=r"its weights in external\.onnx\.data cannot be read"):
        files.read(external)


def test_a_data_file_that_is_too_short_is_refused(external):
    data = external.parent / "external.onnx.data"
    data.write_bytes(data.read_bytes()[:-8])
    with pytest.raises(ValueError, match="weight 'ints' has not the 5600 bytes of its shape"):
        files.read(external)
