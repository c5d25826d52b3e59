"""Drafts of ONNX files: what cannot be one is said, and names that a recipe cannot have are changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from modelbuild.base.errors import ModelbuildError
from modelbuild.cli import main as cli
from modelbuild.setup import drafting


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(name: str, *inputs: onnx.ValueInfoProto, external: bool = False, width: int = 300) -> Path:
    """A file that adds a weight to its first input."""
    weight = numpy_helper.from_array(np.ones(width, "float32"), "w")
    nodes = [helper.make_node("Add", [inputs[0].name if inputs else "w", "w"], ["y"])]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", list(inputs), [out], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, name, save_as_external_data=external, location=f"{name}.data", size_threshold=0)
    return Path(name)


def floats(name: str, shape: list[str | int | None] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def said(path: Path) -> tuple[str, str]:
    with pytest.raises(ModelbuildError) as caught:
        drafting.draft_of_onnx(path, None)
    (found,) = caught.value.diagnostics
    assert found.hint
    return found.code, found.message


def test_a_file_that_is_missing_broken_or_something_else_is_said() -> None:
    assert said(Path("no.onnx")) == ("recipe-invalid", "there is no file no.onnx")
    assert said(Path(".")) == ("recipe-invalid", ". is no file")
    Path("text.onnx").write_text("no model at all")
    code, message = said(Path("text.onnx"))
    assert (code, message[:26]) == ("import-failed", "text.onnx cannot be used: ")
    Path("empty.onnx").touch()
    assert said(Path("empty.onnx"))[1] == "empty.onnx cannot be used: ValueError: empty.onnx is empty"
    whole = save("whole.onnx", floats("x", [300])).read_bytes()
    Path("half.onnx").write_bytes(whole[: len(whole) // 2])
    assert said(Path("half.onnx"))[1] == "half.onnx cannot be used: ValueError: the ONNX model is truncated"


def test_a_file_without_its_data_is_said() -> None:
    path = save("outside.onnx", floats("x", ["n", 300]), external=True)
    Path("outside.onnx.data").unlink()
    code, message = said(path)
    assert code == "import-failed"
    assert message.startswith("outside.onnx cannot be used: ")
    assert "outside.onnx.data" in message


def test_inputs_that_no_recipe_can_have_are_said() -> None:
    assert said(save("none.onnx")) == ("inputs-mismatch", "none.onnx has no inputs")
    text = helper.make_tensor_value_info("t", TensorProto.STRING, [1])
    assert said(save("text.onnx", floats("x", [300]), text))[1] == (
        "text.onnx: the input `t` is string, which no recipe can fill"
    )
    assert said(save("rank.onnx", floats("x", None)))[1] == (
        "rank.onnx: the input `x` has no shape, not even how many axes it has"
    )
    assert said(save("name.onnx", floats("größe", [300])))[1] == (
        "name.onnx: a recipe cannot name the input 'gr\\xf6\\xdfe'"
    )


def test_axes_keep_their_names_where_they_can_and_each_has_its_own() -> None:
    path = save(
        "axes.onnx", floats("x", ["a b", "a-b", "7", "sequence", 3]), floats("y2", [None, "a b"]), width=3
    )
    text = drafting.draft_of_onnx(path, None)
    assert "  x: {shape: [a_b, a_b_2, axis_7, sequence, 3]}" in text
    assert "  y2: {shape: [batch, a_b]}" in text
    assert "# the axis `a-b` of the file is called `a_b_2` here\n" in text


def test_an_axis_called_as_batches_mostly_are_has_the_sizes_of_one() -> None:
    text = drafting.draft_of_onnx(save("n.onnx", floats("x", ["N", 300])), None)
    assert "  N: {min: 1, opt: 4, max: 8}\n" in text


def test_minus_one_is_a_free_axis_and_the_draft_builds() -> None:
    text = drafting.draft_of_onnx(save("minus.onnx", floats("x", [-1, 300])), None)
    assert "  x: {shape: [batch, 300]}" in text
    Path("minus.yaml").write_text(text + "verify: {samples: 1}\n")
    assert cli.main(["build", "minus.yaml", "--quiet", "--cache-dir", "cache"]) == 0
    (batch, width) = onnx.load("build/minus/minus.fp32.onnx").graph.input[0].type.tensor_type.shape.dim
    assert (batch.dim_param, width.dim_value) == ("batch", 300)


def test_an_output_that_is_no_tensor_is_said() -> None:
    node = helper.make_node("SplitToSequence", ["x"], ["parts"], axis=0)
    parts = helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [floats("x", ["n", 4])], [parts])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), "s.onnx")
    expected = "s.onnx: the output `parts` is no tensor, and only tensors can be compared"
    assert said(Path("s.onnx")) == ("outputs-mismatch", expected)


def test_a_file_that_runs_at_no_size_is_drafted_with_a_note() -> None:
    shape = numpy_helper.from_array(np.array([-1, 11]), "shape")
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    graph = helper.make_graph(nodes, "g", [floats("x", ["n"])], [out], [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, "elevens.onnx")
    text = drafting.draft_of_onnx(Path("elevens.onnx"), None)
    assert "# check: these sizes are guesses: " in text
    assert "  x: {shape: [n]}  # check: from the file\n" in text
    assert "# check: these sizes are guesses: patience is 0\n" in drafting.draft_of_onnx(
        Path("elevens.onnx"), None, 0
    )


def test_the_path_is_relative_to_where_the_recipe_is_written(here: Path) -> None:
    Path("models").mkdir()
    save("add.onnx", floats("x", ["batch", 300])).rename("models/add.onnx")
    (here / "recipes").mkdir()
    assert cli.main(["init", "--from-onnx", "models/add.onnx", "-o", "recipes/add.yaml"]) == 0
    assert "  onnx: ../models/add.onnx\n" in Path("recipes/add.yaml").read_text()
    assert cli.main(["check", "recipes/add.yaml"]) == 0
    assert "  onnx: models/add.onnx\n" in drafting.draft_of_onnx(Path("models/add.onnx"), None, 0)


# ---- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "one of the arguments IMPORT --from-onnx --from --ci is required"),
        (["a:B", "--ci"], "not allowed with argument"),
        (["a:B", "--from-onnx", "x.onnx"], "not allowed with argument"),
        (["--ci", "--from-onnx", "x.onnx"], "not allowed with argument"),
        (["a:B", "--patience", "-1"], "'-1' is not a number of seconds, from 0 to 86400"),
        (["a:B", "--patience", "nan"], "'nan' is not a number of seconds, from 0 to 86400"),
    ],
)
def test_init_takes_exactly_one_source(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["init", *given])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_init_writes_what_ci_needs_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["init", "--ci", "-o", "x.yaml"]) == 2
    assert "--ci and -o do not go together" in capsys.readouterr().err
    assert cli.main(["init", "--ci"]) == 0
    wrote = capsys.readouterr().out.splitlines()
    assert "wrote .github/workflows/modelbuild.yml" in wrote
    assert all(Path(line.removeprefix("wrote ")).is_file() for line in wrote)
    assert cli.main(["init", "--ci"]) == 2


def test_init_never_overwrites_and_says_so_before_it_tries(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("name: mine\n")
    assert cli.main(["init", "no_such_module:Net", "-o", "mine.yaml"]) == 2
    assert "mine.yaml exists already" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "name: mine\n"
