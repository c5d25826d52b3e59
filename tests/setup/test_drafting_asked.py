"""What its owner says of a model stands in the draft as it is; what nobody said is found around it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbuild.base.errors import ModelbuildError
from modelbuild.cli import main as cli
from modelbuild.recipe.loading import load
from modelbuild.recipe.schema import Recipe
from modelbuild.setup import drafting
from modelbuild.setup.drafting import asked
from modelbuild.setup.drafting.asked import Asked
from modelbuild.setup.drafting.modeline import with_modeline

NETS = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
import torch
from torch import nn
if TYPE_CHECKING:
    from nowhere import Thing

@dataclass
class Config:
    width: int = 8
    classes: int = 3
    use_cache: bool = False

@dataclass
class NeedsWidth:
    width: int

class Plain(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, config.width, 3, padding=1)
        self.last = nn.Linear(config.width, config.classes)
    def forward(self, image: torch.Tensor, mask: torch.Tensor | None = None, flag: bool | None = None,
                deep=False) -> torch.Tensor:
        return self.last(self.first(image).mean((2, 3)))

class Unresolved(Plain):
    def __init__(self, config: Config, thing: Thing = None) -> None:
        super().__init__(config)

class GPTConfig:
    vocabulary = 11

class GPT(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.words = nn.Embedding(config.vocabulary, 4)
    def forward(self, ids, targets=None):
        return self.words(ids)

class Gap(Plain):
    def __init__(self, config: NeedsWidth) -> None:
        super().__init__(Config(width=config.width))

class Flagged(Plain):
    def __init__(self, config: int) -> None:
        super().__init__(Config(width=config))

class Sized(nn.Module):
    def __init__(self, classes: int, *, depth: int) -> None:
        super().__init__()
        self.last = nn.Linear(classes, depth)
    def forward(self, rows, scale):
        return self.last(rows) * scale

class Patches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)
    def forward(self, x):
        return self.last(x.reshape(x.shape[0], -1, 4))

def make(config: Config) -> nn.Module:
    return Plain(config)
instance = Plain(Config())
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module ``asked_nets`` in the current folder, and nowhere on the path."""
    (tmp_path / "asked_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("asked_nets", None)


def text_of(model: str, kwargs: str | None = None, *inputs: str) -> str:
    return drafting.draft(f"asked_nets:{model}", 20, asked.of_options(kwargs, inputs), exports=0)


def drafted(model: str, kwargs: str | None = None, *inputs: str) -> Recipe:
    path = Path("draft.yaml")
    path.unlink(missing_ok=True)
    drafting.save(text_of(model, kwargs, *inputs), path)
    return load(path)


def told(model: str, kwargs: str | None = None, *inputs: str) -> tuple[str, str, str | None]:
    with pytest.raises(ModelbuildError) as caught:
        text_of(model, kwargs, *inputs)
    found = caught.value.diagnostics[0]
    return found.code, found.message, found.hint


# ---- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["Plain", "Unresolved", "make"])
def test_a_config_whose_fields_have_defaults_is_made_with_them(model: str) -> None:
    found = drafted(model)
    assert found.model.kwargs == {"config": {"import": "asked_nets:Config"}}
    assert found.inputs["image"].shape == ("batch", 3, "height", "width")


def test_a_config_without_an_annotation_is_the_one_that_is_called_like_the_model() -> None:
    found = drafted("GPT")
    assert found.model.kwargs == {"config": {"import": "asked_nets:GPTConfig"}}
    values = found.inputs["ids"].values
    assert values is not None
    assert values.high == 11


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        pytest.param("Gap", "NeedsWidth", id="a-config-that-needs-a-value"),
        pytest.param("Flagged", "int", id="a-number-is-no-config-though-int()-is-0"),
    ],
)
def test_what_only_the_user_knows_is_left_open(model: str, kind: str) -> None:
    line = f"    config: null  # check: required ({kind}), and only you know its value\n"
    assert line in text_of(model)


def test_kwargs_fill_what_only_the_user_knows_and_the_model_is_tried() -> None:
    found = drafted("Sized", "{classes: 5, depth: 2}")
    assert found.model.kwargs == {"classes": 5, "depth": 2}
    assert found.inputs["rows"].shape == ("batch", 5)
    nested = drafted("Gap", '{"config": {"import": "asked_nets:NeedsWidth", "kwargs": {"width": 4}}}')
    assert nested.model.kwargs == {"config": {"import": "asked_nets:NeedsWidth", "kwargs": {"width": 4}}}
    assert nested.outputs == ("out0",)


@pytest.mark.parametrize(
    ("model", "kwargs", "expected"),
    [
        pytest.param(
            "Sized", "{dept: 2}",
            ("import-failed", "Sized() takes no argument `dept`", "did you mean `depth`?"), id="typo",
        ),
        pytest.param(
            "Sized", "{depth:2}",
            ("import-failed", "Sized() takes no argument `depth:2`", "YAML wants a space behind a colon"),
            id="no-space",
        ),
        pytest.param(
            "Sized", "{classes: many, depth: 2}",
            ("import-failed", "calling `asked_nets:Sized` failed: TypeError: empty(): argument 'size'", None),
            id="no-model-comes-of-it",
        ),
        pytest.param(
            "Sized", "7",
            ("recipe-invalid", "--kwargs `7` is not a mapping of names to values",
             "write `{depth: 18}`, or `{config: {import: package.module:Config, kwargs: {depth: 18}}}`"),
            id="no-mapping",
        ),
        pytest.param(
            "Sized", "{depth: [2}", ("recipe-invalid", "not valid YAML: ", None), id="no-yaml",
        ),
        pytest.param(
            "instance", "{depth: 2}",
            ("import-failed", "`asked_nets:instance` is an object already", None), id="an-instance",
        ),
    ],
)  # fmt: skip
def test_arguments_that_make_no_model_are_an_error(
    model: str, kwargs: str, expected: tuple[str, str, str | None]
) -> None:
    code, message, hint = told(model, kwargs)
    assert code == expected[0]
    assert message.startswith(expected[1])
    assert expected[2] in (None, hint)


# ---- inputs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shape", "dtype"),
    [
        pytest.param("x:1x3x224x224", (1, 3, 224, 224), None, id="as-trtexec-has-it"),
        pytest.param("x:[1,3,224,224]", (1, 3, 224, 224), None, id="as-polygraphy-has-it"),
        pytest.param(
            "x:batchx3xheightxwidth:uint8", ("batch", 3, "height", "width"), "uint8", id="named-axes"
        ),
        pytest.param("x:[boxes, 4]", ("boxes", 4), None, id="a-name-with-an-x"),
        pytest.param("x:", (), None, id="a-scalar"),
        pytest.param("x:[]:int64", (), "int64", id="a-scalar-in-brackets"),
        pytest.param("x:batch", ("batch",), None, id="one-axis"),
    ],
)
def test_an_input_is_read(text: str, shape: tuple[int | str, ...], dtype: str | None) -> None:
    (found,) = asked.inputs_of([text]).values()
    assert (found.name, found.shape, found.dtype) == ("x", shape, dtype)


@pytest.mark.parametrize(
    ("texts", "message", "hint"),
    [
        (["x"], "--input `x` has no name and shape", "write NAME:SHAPE or NAME:SHAPE:DTYPE"),
        (["x:-1x3"], "--input `x:-1x3`: `-1` says no size and no name", "a dynamic axis has a name here"),
        (["x:1x3:flot32"], "--input `x:1x3:flot32`: `flot32` is no dtype", "did you mean `float32`?"),
        (["x:1x3.5"], "--input `x:1x3.5`: `3.5` is no size and no name of an axis", "write NAME:SHAPE"),
        (["x:1x99999999999"], "`99999999999` is no size", "write NAME:SHAPE"),
        (["x:1", "x:2"], "--input names `x` twice", "give each input once"),
    ],
)
def test_an_input_that_is_none_is_told(texts: list[str], message: str, hint: str) -> None:
    with pytest.raises(ModelbuildError) as caught:
        asked.inputs_of(texts)
    (found,) = caught.value.diagnostics
    assert message in found.message
    assert found.hint is not None
    assert found.hint.startswith(hint)


def test_a_shape_of_numbers_stays_that_shape() -> None:
    found = drafted("Plain", None, "image:1x3x40x48")
    assert found.inputs["image"].shape == (1, 3, 40, 48)
    assert found.dynamic_axes == {}


def test_named_axes_are_dynamic_and_dtype_and_values_are_found() -> None:
    found = drafted("GPT", None, "ids:nx7")
    ids = found.inputs["ids"]
    assert (ids.shape, ids.dtype) == (("n", 7), "int64")
    assert ids.values is not None
    assert ids.values.high == 11
    assert list(found.dynamic_axes) == ["n"]


def test_a_named_axis_at_which_one_size_runs_is_said_to_be_fixed() -> None:
    text = text_of("Sized", "{classes: 5, depth: 2}", "rows:batchxwidth", "scale:")
    assert "check: the inputs below are as asked for: forward() fails with them: " in text
    found = drafted("Patches", None, "x:batchxside")
    assert found.dynamic_axes["side"].min % 4 == 0


def test_an_input_is_asked_for_by_another_name_and_passed_by_position() -> None:
    assert list(drafted("GPT", None, "tokens:batchx7:int64").inputs) == ["tokens"]


def test_a_name_near_a_parameter_is_a_mistake() -> None:
    said = (
        "inputs-mismatch",
        "forward() of `asked_nets:Plain` has no parameter `imag`",
        "did you mean `image`?",
    )
    assert told("Plain", None, "imag:1x3x8x8") == said


def test_an_optional_input_comes_in_by_being_asked_for() -> None:
    assert list(drafted("Plain", None, "mask:4").inputs) == ["image", "mask"]


def test_optional_inputs_that_were_left_out_are_named_and_flags_are_none() -> None:
    assert "# left out, as forward() does without: `mask`\n" in text_of("Plain")
    assert "left out" not in text_of("Plain", None, "image:1x3x8x8", "mask:4")


def test_the_head_has_the_command_as_a_shell_takes_it() -> None:
    text = text_of("Sized", "{classes: 5, depth: 2}", "rows:3x5")
    command = "modelbuild init asked_nets:Sized --kwargs '{classes: 5, depth: 2}' --input rows:3x5"
    assert f"# Drafted by `{command}`. " in text


# ---- a recipe to go on from --------------------------------------------------------------------

BEGUN = """\
# mine
name: mine
model:
  import: asked_nets:Sized
  kwargs: {classes: 5, depth: 2}  # settled
verify: {samples: 2}  # few
"""


def gone_on(text: str) -> str:
    Path("begun.yaml").write_text(text)
    return drafting.draft_from(Path("begun.yaml"), None, 20)


def test_a_recipe_that_has_a_model_alone_is_completed_and_else_left_as_it_is() -> None:
    text = gone_on(BEGUN)
    assert text.startswith(BEGUN)
    Path("whole.yaml").write_text(text)
    found = load(Path("whole.yaml"))
    assert list(found.inputs) == ["rows", "scale"]
    assert found.dynamic_axes["batch"].max == 8
    assert found.verify.samples == 2


def test_a_whole_recipe_comes_out_to_the_letter() -> None:
    whole = gone_on(BEGUN)
    assert gone_on(whole) == whole


def test_an_input_that_is_missing_comes_beside_those_that_are_there() -> None:
    text = gone_on(
        BEGUN + "inputs:\n  rows: {shape: [n, 5]}\ndynamic_axes: {n: {min: 2, opt: 3, max: 9}}\n# end\n"
    )
    assert "# `inputs` is not as it was: it lacked something, or does not run\n" in text
    assert "  rows: {shape: [n, 5]}  # runs; as asked for\n  scale: " in text
    assert "dynamic_axes: {n: {min: 2, opt: 3, max: 9}}\n# end\n" in text


def test_an_argument_that_is_missing_is_added_to_the_model() -> None:
    text = gone_on("model:\n  import: asked_nets:Plain\n  seed: 7\n")
    assert "  kwargs:\n    config: {import: asked_nets:Config}  # Config's defaults\n  seed: 7\n" in text


def test_a_range_at_which_the_model_does_not_run_is_narrowed_and_it_is_said() -> None:
    model = "model: {import: asked_nets:Patches}\ninputs: {x: {shape: [batch, side]}}\n"
    text = gone_on(
        model + "dynamic_axes: {batch: {min: 1, opt: 2, max: 3}, side: {min: 6, opt: 8, max: 18}}\n"
    )
    assert "# `dynamic_axes` is not as it was: it lacked something, or does not run\n" in text
    assert "  side: {min: 4, opt: 8, max: 16}  # only multiples of 4 run\n" in text
    assert "inputs: {x: {shape: [batch, side]}}\n" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("inputs: {x: {shape: [1]}}\n", "it has no `model`", id="no-model"),
        pytest.param("{model: {import: 'a:B'}}\n", "it stands in braces", id="braces"),
        pytest.param("model: {onnx: a.onnx}\n", "its model is an ONNX file", id="onnx"),
        pytest.param("model: {import: 'a:B'}\nopsett: 18\n", "unknown key `opsett`", id="a-mistake"),
    ],
)
def test_what_cannot_be_gone_on_from_is_told(text: str, message: str) -> None:
    with pytest.raises(ModelbuildError) as caught:
        gone_on(text)
    assert message in caught.value.diagnostics[0].message


def test_a_recipe_goes_on_in_its_own_folder_as_its_paths_are_from_there(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("begun.yaml").write_text(BEGUN)
    Path("other").mkdir()
    assert cli.main(["init", "--from", "begun.yaml", "-o", "other/net.yaml"]) == 2
    assert "is in another folder than begun.yaml" in capsys.readouterr().err


# ---- the command -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        ["--ci", "--kwargs", "{}"],
        ["--ci", "--input", "x:1"],
        ["--from", "a.yaml", "--kwargs", "{}"],
        ["--from", "a.yaml", "--input", "x:1"],
        ["--from-onnx", "a.onnx", "--kwargs", "{}"],
        ["--from-onnx", "a.onnx", "--input", "x:1"],
    ],
    ids=" ".join,
)
def test_an_option_that_would_be_ignored_is_refused(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["init", *given]) == 2
    way, option = (word for word in given if word.startswith("--"))
    assert f"{way} and {option} do not go together" in capsys.readouterr().err


def test_a_draft_names_the_schema_that_is_there() -> None:
    Path("pyproject.toml").touch()  # the tests may run below a project of their own, which has a schema
    assert with_modeline("name: a\n", None) == (
        "# yaml-language-server: $schema=recipe.schema.json\n"
        "#   modelbuild schema > recipe.schema.json  (what editors read)\nname: a\n"
    )
    Path("schemas").mkdir()
    Path("schemas/recipe.schema.json").write_text("{}")
    Path("configs").mkdir()
    line = "# yaml-language-server: $schema=../schemas/recipe.schema.json\n"
    assert with_modeline("name: a\n", Path("configs/a.yaml")) == f"{line}name: a\n"
    assert with_modeline(f"{line}name: a\n", None) == f"{line}name: a\n"


def test_nothing_asked_for_is_nothing() -> None:
    assert asked.of_options(None, []) == Asked()
