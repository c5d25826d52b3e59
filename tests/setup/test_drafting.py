"""Drafts: whatever model is named, what comes out is a recipe, and says what it guessed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbuild.base.errors import ModelbuildError, RecipeError
from modelbuild.recipe.loading import load, parse
from modelbuild.recipe.schema import Recipe
from modelbuild.setup import drafting
from modelbuild.setup.drafting.text import recipe_name

pytest.importorskip("transformers")  # imported once: the children of each test have it then
NETS = """
from __future__ import annotations
import torch
from torch import nn

class Plain(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3)
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x)

class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 2)
    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.first(rows)

class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(77, 4)
    def forward(self, tokens: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        return self.embed(tokens)

class Pair(nn.Module):
    def forward(self, left: torch.Tensor, image: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        return left, image * scale

class Sized(nn.Module):
    def __init__(self, classes: int, *, depth: int, dropout: float = 0.1) -> None:
        super().__init__()
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image
    @classmethod
    def named(cls, name: str) -> Sized:
        return cls(1, depth=1)

class OddNames(nn.Module):
    def forward(self, null: torch.Tensor) -> torch.Tensor:
        return null

class Optional(nn.Module):
    def forward(self, image: torch.Tensor | None = None) -> torch.Tensor:
        return image

class Open(nn.Module):
    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return tensors[0]

class Nothing(nn.Module):
    def forward(self, flag: bool) -> None: ...

class NoForward(nn.Module): ...

class WritesItsShape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = torch.zeros(1).item()
        self.first = nn.Linear(3, 3)
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.start

instance = Plain()
def make() -> nn.Module: return Table()
def make_sized(classes) -> Sized: return Sized(classes, depth=2)
def make_something(classes): return Sized(classes, depth=2)
def number() -> int: return 3
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module ``some_nets`` in the current folder, and nowhere on the path."""
    import sys

    (tmp_path / "some_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield
    sys.modules.pop("some_nets", None)


def drafted(model: str, patience: float = 20) -> Recipe:
    """The draft, saved, as the loader reads it."""
    path = Path("draft.yaml")
    path.unlink(missing_ok=True)
    drafting.save(drafting.draft(model, patience, exports=0), path)
    return load(path)


def shapes(model: str) -> dict[str, tuple[int | str, ...]]:
    return {name: spec.shape for name, spec in drafted(model).inputs.items()}


def ranges(recipe: Recipe) -> dict[str, tuple[int, int, int]]:
    return {n: (a.min, a.opt, a.max) for n, a in recipe.dynamic_axes.items()}


def test_a_text_model_of_transformers_gets_its_config_and_its_vocabulary() -> None:
    bert = drafted("transformers:BertModel", 0)
    assert bert.name == "bert_model"
    assert bert.model.kwargs == {"config": {"import": "transformers:BertConfig"}}
    assert list(bert.inputs) == ["input_ids", "attention_mask"]
    ids, mask = bert.inputs.values()
    assert (ids.shape, ids.dtype) == (("batch", "sequence"), "int64")
    assert ids.values is not None
    assert (ids.values.low, ids.values.high) == (0, 30522)
    assert mask.values is not None
    assert (mask.values.low, mask.values.high) == (1, 2)
    assert ranges(bert) == {"batch": (1, 4, 8), "sequence": (16, 64, 256)}
    assert bert.precision.names == ("fp32",)


@pytest.mark.parametrize(
    ("model", "name", "config"),
    [
        pytest.param("transformers:ViTModel", "vit_model", "transformers:ViTConfig", id="vit"),
        pytest.param(
            "transformers:ResNetForImageClassification", "res_net_for_image_classification",
            "transformers:ResNetConfig", id="resnet",
        ),
    ],
)  # fmt: skip
def test_an_image_model_of_transformers_gets_an_image(model: str, name: str, config: str) -> None:
    found = drafted(model, 0)
    assert found.name == name
    assert found.model.kwargs == {"config": {"import": config}}
    assert {n: s.shape for n, s in found.inputs.items()} == {"pixel_values": ("batch", 3, 224, 224)}
    assert list(found.dynamic_axes) == ["batch"]


def test_a_decoder_is_asked_for_tensors_and_not_for_its_cache() -> None:
    t5 = drafted("transformers:T5Model", 0)
    config = {"import": "transformers:T5Config", "kwargs": {"use_cache": False}}
    assert t5.model.kwargs == {"config": config}
    assert list(t5.inputs) == ["input_ids", "attention_mask", "decoder_input_ids"]
    assert list(t5.dynamic_axes) == ["batch", "sequence", "decoder_sequence"]


def test_axes_stay_within_the_positions_that_the_model_has() -> None:
    clip = drafted("transformers:CLIPModel", 0)
    assert list(clip.inputs) == ["input_ids", "pixel_values", "attention_mask"]
    assert clip.dynamic_axes["sequence"].max == 77


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        pytest.param("Plain", {"x": ("batch", 1, "height", "width")}, id="channels-of-the-first-convolution"),
        pytest.param("Table", {"rows": ("batch", 12)}, id="width-of-the-first-linear-layer"),
        pytest.param("Tagger", {"tokens": ("batch", "sequence")}, id="optional-inputs-stay-out"),
        pytest.param(
            "Pair", {"left": ("batch", 16), "image": ("image_batch", 3, "height", "width")}, id="numbers-too"
        ),
        pytest.param("Sized", {"image": ("batch", 3, 224, 224)}, id="constructor-needs-values"),
        pytest.param("OddNames", {"null": ("batch", 16)}, id="a-name-that-yaml-reads-as-nothing"),
        pytest.param("Optional", {"image": ("batch", 3, "height", "width")}, id="nothing-required"),
        pytest.param("Open", {"input": ("batch", 3, "height", "width")}, id="any-number-of-tensors"),
        pytest.param("WritesItsShape", {"x": ("batch", 3)}, id="not-made-on-the-meta-device"),
        pytest.param("instance", {"x": ("batch", 1, "height", "width")}, id="an-instance"),
        pytest.param("make", {"rows": ("batch", 12)}, id="a-function"),
        pytest.param("make_sized", {"image": ("batch", 3, 224, 224)}, id="an-annotated-function"),
        pytest.param("make_something", {"input": ("batch", 3, 224, 224)}, id="a-function-with-arguments"),
        pytest.param("Sized.named", {"image": ("batch", 3, 224, 224)}, id="a-class-method"),
    ],
)
def test_every_kind_of_model_gives_a_recipe(model: str, expected: dict[str, tuple[int | str, ...]]) -> None:
    assert shapes(f"some_nets:{model}") == expected


def test_an_embedding_says_how_many_words_there_are() -> None:
    tokens = drafted("some_nets:Tagger").inputs["tokens"]
    assert tokens.dtype == "int64"
    assert tokens.values is not None
    assert tokens.values.high == 77


def test_arguments_that_only_the_user_knows_are_left_open_and_said() -> None:
    text = drafting.draft("some_nets:Sized")
    assert "    classes: null  # check: required (int), and only you know its value\n" in text
    assert "    depth: null  # check: required (int), and only you know its value\n" in text
    assert "dropout" not in text
    assert "# check: the values under `kwargs` must be filled in before it builds\n" in text
    assert "the model was not tried, as what is under `kwargs` must be filled in first" in text


def test_every_guess_says_that_it_is_one() -> None:
    text = drafting.draft("some_nets:Plain", 0)
    assert "  x: {shape: [batch, 1, 224, 224]}  # check: guessed from the first layer\n" in text
    assert "# check: the inputs below are guesses: patience is 0\n" in text
    assert "It was run" not in text


def test_an_optional_input_is_there_to_be_uncommented() -> None:
    text = drafting.draft("some_nets:Tagger", exports=0)
    line = "attention_mask: {shape: [batch, sequence], dtype: int64, values: {low: 1, high: 2}}"
    assert f"  # {line}" in text
    opened = text.replace(f"# {line}", line)
    assert list(parse(opened, "draft.yaml", "draft").inputs) == ["tokens", "attention_mask"]


@pytest.mark.parametrize(
    ("model", "code", "message"),
    [
        pytest.param("resnet", "recipe-invalid", "`resnet` is not an import path", id="no-colon"),
        pytest.param(
            "no_such_nets:Net", "import-failed",
            "there is no module `no_such_nets`, which `no_such_nets:Net` names", id="no-module",
        ),
        pytest.param(
            "some_nets:Plian", "import-failed",
            "module `some_nets` has no attribute `Plian`; did you mean `Plain`?", id="typo",
        ),
        pytest.param(
            "some_nets:number", "import-failed",
            "`some_nets:number` gives a `int`, not a torch.nn.Module", id="no-model",
        ),
        pytest.param(
            "some_nets:NETS", "import-failed", "module `some_nets` has no attribute `NETS`", id="none",
        ),
        pytest.param(
            "some_nets:Nothing", "inputs-mismatch",
            "forward() of `some_nets:Nothing` takes no tensor", id="no-tensor",
        ),
        pytest.param(
            "some_nets:NoForward", "inputs-mismatch", "`some_nets:NoForward` has no forward()",
            id="no-forward",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_drafted_is_said(model: str, code: str, message: str) -> None:
    with pytest.raises(ModelbuildError) as caught:
        drafting.draft(model)
    (found,) = caught.value.diagnostics
    assert (found.code, found.message) == (code, message)
    assert found.hint


@pytest.mark.parametrize(
    ("attribute", "name"),
    [
        ("BertModel", "bert_model"),
        ("ViTModel", "vit_model"),
        ("MyMLP", "my_mlp"),
        ("GPT2LMHeadModel", "gpt2_lm_head_model"),
        ("resnet50", "resnet50"),
        ("Net.from_name", "net_from_name"),
        ("_Private", "private"),
    ],
)
def test_a_recipe_is_named_after_the_attribute(attribute: str, name: str) -> None:
    assert recipe_name(f"package:{attribute}") == name


def test_a_file_that_exists_is_never_overwritten() -> None:
    mine = Path("mine.yaml")
    mine.write_text("name: mine\n")
    with pytest.raises(RecipeError) as caught:
        drafting.save("name: another\n", mine)
    assert caught.value.diagnostics[0].message == "mine.yaml exists already"
    assert mine.read_text() == "name: mine\n"
