"""ONNX files that others wrote: what is mended, what is kept, and what each refusal says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from onnx import ModelProto, helper

from modelbuild.base.errors import Diagnostic, ModelbuildError, StepError
from modelbuild.base.tensors import TensorSpec
from modelbuild.graph import files, interface
from modelbuild.graph.files import Model
from modelbuild.graph.runtime import session, session_of_file
from modelbuild.recipe.loading import load
from modelbuild.steps.adopt import Adopt, AdoptedReference
from modelbuild.steps.claims import check_file
from modelbuild.steps.reference import Sampling
from modelbuild.steps.reference import load as recorded

X = TensorSpec("x", "float32", ("n", 3))
SAMPLING = Sampling((X,), (), ({"n": 2},), 1, 0)
VALUES = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)


def _parse(text: str, opset: int = 18, more: str = "") -> ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}{more}]> g {text}')


def _weights_among_inputs() -> ModelProto:
    """IR version 3, which lists every weight among the inputs: one on disk, one in the structure."""
    weights = {"w": np.ones((3, 400), np.float32), "b": np.full(400, 2, np.float32)}
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Add", ["m", "b"], ["y"])], "g",
            [value("x", 1, ["n", 3]), *(value(n, 1, a.shape) for n, a in weights.items())],
            [value("y", 1, ["n", 400])], [onnx.numpy_helper.from_array(a, n) for n, a in weights.items()],
        ),
        ir_version=3, opset_imports=[helper.make_opsetid("", 9)],
    )  # fmt: skip


def _sparse(indices: list[int] | list[list[int]]) -> ModelProto:
    model = _parse("(float[n,3] x) => (float[n,2] y) { y = MatMul (x, w) }")
    values = onnx.numpy_helper.from_array(np.array([2.0, 3.0], np.float32), "w")
    where = onnx.numpy_helper.from_array(np.array(indices, np.int64), "where")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, [3, 2]))
    return model


def _adopt(
    folder: Path, model: ModelProto, specs: tuple[TensorSpec, ...] = (X,), opset: int | None = None
) -> tuple[Path, tuple[Diagnostic, ...]]:
    onnx.save(model, str(folder / "source.onnx"))
    (folder / "out").mkdir()
    ended = Adopt(path="source.onnx", inputs=specs, outputs=None, opset=opset).run_at(
        folder, {}, folder / "out"
    )
    return folder / "out" / "model.onnx", ended.diagnostics


_TWINS = "(float[n,3] x) => (float[n,3] y) { [a] r = Relu (x) [a] y = Neg (r) }"
_SORTED = _parse("(float[n,3] x) => (float[n,3] y) { r = Relu (x) y = Neg (r) }")


def _unsorted() -> ModelProto:
    model = ModelProto()
    model.CopyFrom(_SORTED)
    model.graph.node.reverse()
    return model


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (_weights_among_inputs(), VALUES.sum(1, keepdims=True) + np.full(400, 2)),
        (_sparse([0, 5]), VALUES @ [[2, 0], [0, 0], [0, 3]]),
        (_sparse([[0, 1], [2, 0]]), VALUES @ [[0, 2], [0, 0], [3, 0]]),
        (_parse(_TWINS), -VALUES.clip(0)),
        (_unsorted(), -VALUES.clip(0)),
    ],
    ids=["IR version 3", "sparse", "sparse, by rows", "two nodes of one name", "out of order"],
)
def test_what_runtimes_take_and_onnx_forbids_is_mended(
    tmp_path: Path, model: ModelProto, expected: np.ndarray
) -> None:
    path, said = _adopt(tmp_path, model)
    check_file(path)
    assert said == ()
    assert [i.name for i in onnx.load(str(path)).graph.input] == ["x"]
    np.testing.assert_allclose(session_of_file(path).run(None, {"x": VALUES})[0], expected, rtol=1e-5)


_ML = ', "ai.onnx.ml" : 3'
_RELU = "(float[n,3] x) => (float[n,3] y) { y = Relu (x) }"


@pytest.mark.parametrize(
    ("model", "specs", "code", "message"),
    [
        (
            _parse("(float[n,3] x) => (seq(float[n,3]) s) { s = SequenceConstruct (x, x) }"), (X,),
            "outputs-mismatch",
            "output `s` of source.onnx is a sequence, and only tensors can be compared",
        ),
        (
            _parse("(float[n,3] x) => (seq(map(int64, float)) p)"
                   " { p = ai.onnx.ml.ZipMap <classlabels_int64s = [0, 1, 2]> (x) }", more=_ML), (X,),
            "outputs-mismatch",
            "output `p` of source.onnx is a sequence of maps, and only tensors can be compared",
        ),
        (
            _parse("(float[n,3] x) => (bfloat16[n,3] y) { y = Cast <to = 16> (x) }"), (X,),
            "outputs-mismatch",
            "output `y` of source.onnx is bfloat16, which ONNX Runtime does not hand out on a CPU",
        ),
        (
            _parse("(optional(float[n,3]) x) => (float[n,3] y) { y = OptionalGetElement (x) }"), (X,),
            "inputs-mismatch",
            "input `x` of source.onnx is an optional value, and a recipe's inputs are tensors",
        ),
        (
            _parse("(float[n,3] x, float[n,3] z) => (float[n,3] y) { y = Add (x, z) }"), (X,),
            "inputs-mismatch", "source.onnx has the inputs `x`, `z`; the recipe has `x`",
        ),
        (
            _parse(_RELU), (X, TensorSpec("mask", "bool", ("n",))),
            "inputs-mismatch", "source.onnx has the inputs `x`; the recipe has `x`, `mask`",
        ),
        (
            _parse("(int32[n,3] x) => (float[n,3] y) { y = Cast <to = 1> (x) }"), (X,),
            "inputs-mismatch", "input `x` of source.onnx is int32, the recipe says float32",
        ),
        (
            _parse(_RELU), (TensorSpec("x", "float32", ("n", 3, 3)),),
            "inputs-mismatch", "input `x` of source.onnx has 2 axes, the recipe says 3",
        ),
        (
            _parse(_RELU), (TensorSpec("x", "float32", ("n", 4)),),
            "inputs-mismatch", "input `x` of source.onnx has a fixed 3 where the recipe has 4",
        ),
        (
            _parse("(float[1,3] x) => (float[1,3] y) { y = Relu (x) }"), (X,),
            "baked-axis", "input `x` of source.onnx has a fixed 1 where the recipe has axis `n`",
        ),
    ],
)  # fmt: skip
def test_what_no_recipe_can_ask_of_a_file_is_told_of_that_input_or_output(
    tmp_path: Path, model: ModelProto, specs: tuple[TensorSpec, ...], code: str, message: str
) -> None:
    with pytest.raises(ModelbuildError) as refused:
        _adopt(tmp_path, model, specs)
    assert [(d.code, d.message) for d in refused.value.diagnostics] == [(code, message)]
    assert all(d.hint for d in refused.value.diagnostics)


_SUM = "(float[n,3] x) => (float[n,1] y) { y = ReduceSum <axes = [1]> (x) }"


def test_a_file_is_raised_to_the_opset_that_the_recipe_asks_for(tmp_path: Path) -> None:
    path, (said,) = _adopt(tmp_path, _parse(_SUM, 11), opset=17)
    assert (said.code, said.level) == ("opset-mismatch", "info")
    assert said.message == "raised from opset 11 to 17, as the recipe asks"
    assert files.read(path).opset == 17
    got = session_of_file(path).run(None, {"x": VALUES})[0]
    np.testing.assert_allclose(got, VALUES.sum(1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize(
    ("opset", "asked", "message"),
    [
        (18, 11, "source.onnx has opset 18, the recipe asks for 11, and a file's opset can only be raised"),
        (11, 90, "source.onnx has opset 11, the recipe asks for 90, and ONNX's version converter does not"),
    ],
)
def test_an_opset_that_cannot_be_had_is_told(tmp_path: Path, opset: int, asked: int, message: str) -> None:
    text = _SUM if opset < 13 else _RELU
    with pytest.raises(ModelbuildError) as refused:
        _adopt(tmp_path, _parse(text, opset), opset=asked)
    (said,) = refused.value.diagnostics
    assert said.code == "opset-mismatch"
    assert said.message.startswith(message)


@pytest.mark.parametrize(
    ("text", "names", "told"),
    [
        ("(float[n,3] x) => (float[n,3] y, float[2] table) <float[2] table = {1, 2}> { y = Relu (x) }",
         ["y", "table"], 0),
        ("(float[n,3] x) => (float[n,3] y, float[n,3] x) { y = Relu (x) }", ["y", "x_output"], 1),
        ("(float[n,3] x) => (float[n,3] y, float[n,3] y) { y = Relu (x) }", ["y", "y_output"], 1),
    ],
    ids=["a weight", "an input", "twice"],
)  # fmt: skip
def test_outputs_of_a_file_keep_their_names_or_it_is_told(
    tmp_path: Path, text: str, names: list[str], told: int
) -> None:
    path, said = _adopt(tmp_path, _parse(text))
    check_file(path)
    runs = session_of_file(path)
    assert [o.name for o in runs.get_outputs()] == names
    assert [d.code for d in said] == ["outputs-mismatch"] * told
    assert all(f"is called `{names[1]}` here" in d.message for d in said)
    got = dict(zip(names, runs.run(None, {"x": VALUES}), strict=True))
    np.testing.assert_array_equal(got["y"], VALUES.clip(0))


# ---- the reference -----------------------------------------------------------------------------


def _reference(folder: Path, model: ModelProto) -> Mapping[str, np.ndarray]:
    onnx.save(model, str(folder / "source.onnx"))
    (folder / "out").mkdir()
    AdoptedReference(path="source.onnx", sampling=SAMPLING).run_at(folder, {}, folder / "out")
    ((_, arrays, outs),) = recorded(folder / "out")
    return {**arrays, "y": outs[0]}


def test_a_file_that_only_its_nodes_names_keep_from_loading_is_a_reference(tmp_path: Path) -> None:
    got = _reference(tmp_path, _parse(_TWINS))
    np.testing.assert_array_equal(got["y"], -got["x"].clip(0))


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        (
            "(float[n,3] x) => (float[n,3] y) { r = RandomNormalLike (x) y = Add (x, r) }",
            "nondeterministic-reference", "source.onnx does not agree with itself on the same input",
        ),
        (
            "(float[n,3] x) => (float[n,3] y) { a = Cast <to=16> (x) b = Mul (a, a) y = Cast <to=1> (b) }",
            "import-failed", "source.onnx does not run on a CPU, and so cannot be its own reference: ",
        ),
        (
            "(float[n,3] x) => (float[n,3] y) { y = acme.Foo (x) }",
            "import-failed", "source.onnx cannot be used: Fail: ",
        ),
    ],
)  # fmt: skip
def test_a_file_that_can_be_no_reference_says_why(tmp_path: Path, text: str, code: str, message: str) -> None:
    with pytest.raises(ModelbuildError) as refused:
        _reference(tmp_path, _parse(text, more=', "acme" : 1'))
    (said,) = refused.value.diagnostics
    assert said.code == code
    assert said.message.startswith(message)


def test_data_files_of_constants_are_read_too(tmp_path: Path) -> None:
    """External data of a Constant node is as much the model as an initializer's."""
    model = _parse("(float[n,3] x) => (float[n,3] y) { w = Constant <value_float = 0.0> () y = Mul (x, w) }")
    value = onnx.numpy_helper.from_array(np.ones(3, np.float32), "w")
    model.graph.node[0].CopyFrom(helper.make_node("Constant", [], ["w"], value=value))
    onnx.save(model, str(tmp_path / "source.onnx"), save_as_external_data=True, location="w.bin",
              size_threshold=0, convert_attribute=True)  # fmt: skip
    step = Adopt(path="source.onnx", inputs=(X,), outputs=None, opset=None)
    assert [p.name for p in step.reads(tmp_path)] == ["source.onnx", "w.bin"]


def test_axes_that_inference_renamed_get_their_names_back() -> None:
    before, after = Model(_parse(_RELU)), Model(_parse(_RELU))
    for value in (*after.proto.graph.input, *after.proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "unk__0"
    assert interface.same_interface(before, after) == "x has shape ('unk__0', 3), not ('n', 3)"
    interface.restore_axes(before, after)
    assert interface.same_interface(before, after) is None
    assert interface.outputs(after)[0].shape == ("n", 3)
    assert session(after).run(None, {"x": VALUES})[0].shape == (2, 3)


def test_files_of_a_model_that_is_a_file_are_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("model: {onnx: net.onnx, files: [vocab.txt]}\ninputs: {x: {shape: [2, 3]}}\n")
    with pytest.raises(ModelbuildError, match=r"`model.files` is for `import` and does nothing"):
        load(path)


def _external(name: str, location: str) -> onnx.TensorProto:
    tensor = onnx.TensorProto(name=name, data_type=onnx.TensorProto.FLOAT, dims=[3])
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    return tensor


def _with_values(where: str, location: str) -> onnx.ModelProto:
    """y = x * w, with the values of w in a file: of a node, a body, a function, or of sparse ones."""
    made = _parse("(float[n,3] x) => (float[n,3] y) { w = Constant <value_float = 0.0> () y = Mul (x, w) }")
    value = _external("w", location)
    node = helper.make_node("Constant", [], ["w"], value=value)
    if where == "sparse":
        sparse = onnx.SparseTensorProto(values=value, dims=[3])
        sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.arange(3), "i"))
        node = helper.make_node("Constant", [], ["w"], sparse_value=sparse)
    elif where == "body":
        kept = onnx.numpy_helper.from_array(np.ones(1, bool), "k")
        out = helper.make_tensor_value_info("o", onnx.TensorProto.FLOAT, [3])
        body = helper.make_graph([helper.make_node("Identity", ["w0"], ["o"])], "b", [], [out])
        body.initializer.append(_external("w0", location))
        made.graph.initializer.append(kept)
        node = helper.make_node("If", ["k"], ["w"], then_branch=body, else_branch=body)
    elif where == "function":
        opsets = [helper.make_opsetid("", 18)]
        made.functions.append(helper.make_function("own", "F", [], ["w"], [node], opsets))
        made.opset_import.append(helper.make_opsetid("own", 1))
        node = helper.make_node("F", [], ["w"], domain="own")
    made.graph.node[0].CopyFrom(node)
    return made


@pytest.mark.parametrize("where", ["node", "body", "function", "sparse"])
def test_values_in_a_file_are_read_wherever_the_graph_has_them(tmp_path: Path, where: str) -> None:
    (tmp_path / "source.onnx").write_bytes(_with_values(where, "w.bin").SerializeToString())
    np.array([1, 2, 3], np.float32).tofile(tmp_path / "w.bin")
    for step in (
        Adopt(path="source.onnx", inputs=(X,), outputs=None, opset=None),
        AdoptedReference(path="source.onnx", sampling=SAMPLING),
    ):
        assert [p.name for p in step.reads(tmp_path)] == ["source.onnx", "w.bin"]
    model = files.read(tmp_path / "source.onnx")
    got = session(model).run(None, {"x": VALUES})[0]
    np.testing.assert_allclose(got, VALUES * [1, 2, 3], rtol=1e-6)


@pytest.mark.parametrize("location", ["../secret", "link", "/etc/hostname", "w\0.bin"])
@pytest.mark.parametrize("where", ["node", "body", "function", "sparse"])
def test_values_in_a_file_elsewhere_are_not_read(tmp_path: Path, where: str, location: str) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    np.array([1, 2, 3], np.float32).tofile(tmp_path / "secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "source.onnx").write_bytes(_with_values(where, location).SerializeToString())
    for step in (
        Adopt(path="source.onnx", inputs=(X,), outputs=None, opset=None),
        AdoptedReference(path="source.onnx", sampling=SAMPLING),
    ):
        assert step.reads(folder) == (folder / "source.onnx",)
        with pytest.raises(StepError, match="lies outside the model's folder"):
            step.run_at(folder, {}, tmp_path)
