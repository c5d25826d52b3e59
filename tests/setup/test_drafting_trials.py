"""Drafts of models that are tried: what runs is proposed, what does not run is said, nothing hangs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelbuild.base.errors import ModelbuildError
from modelbuild.recipe.loading import parse
from modelbuild.recipe.schema import Recipe
from modelbuild.setup import drafting

NETS = """
import os, sys, time
import torch
from torch import nn

class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 5), nn.Linear(4 * 12 * 12, 10)
    def forward(self, x):
        return self.last(torch.max_pool2d(self.conv(x), 2).flatten(1))

class Free(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1)
    def forward(self, image):
        return self.pool(self.conv(image)).flatten(1)

class PoolsToThree(Free):
    def __init__(self):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(3)

class Down(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = nn.Conv2d(3, 4, 8, stride=8), nn.ConvTranspose2d(4, 3, 8, stride=8)
    def forward(self, image):
        if image.shape[2] % 8 or image.shape[3] % 8:
            raise ValueError("sides must be multiples of 8")
        return image + self.up(self.down(image))

class Positions(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(50, 8), nn.Parameter(torch.randn(40, 8))
    def forward(self, tokens):
        return self.words(tokens) + self.places[: tokens.shape[1]]

class NeedsTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 4)
    def forward(self, x):
        if x.shape[0] < 2:
            raise ValueError("two rows or more")
        return self.last(x) - x.mean(0)

class FourOnly(NeedsTwo):
    def forward(self, x):
        return self.last(x.view(2, 4))

class Outputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(11, 4), nn.Embedding(23, 4)
    def forward(self, user, item):
        parts = (self.user(user), None, self.item(item))
        return {"score": parts[0] * parts[2], "the parts": parts, "user": parts[0] + 1}

class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 8)
    def forward(self, ids, mask):
        return self.words(ids).masked_fill(~mask.unsqueeze(-1), 0.0)

class Cooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 4)
    def forward(self, x, temperature):
        assert temperature.dim() == 0
        return torch.log(temperature) + self.last(x)

class AllWithAll(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(5, 4), nn.Linear(7, 4)
    def forward(self, queries, documents):
        return self.one(queries) @ self.other(documents).T

class Together(AllWithAll):
    def forward(self, left, right):
        return self.one(left) + self.other(right)

class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 4)
    def forward(self, *tensors):
        return self.last(tensors[0]) * tensors[1].sum(-1, keepdim=True)

class Optional(AllWithAll):
    def forward(self, rows=None, more=None):
        return self.one(rows) + self.other(more)

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 4)
    def forward(self, *, rows, flag: bool = False):
        return self.last(rows)

class Noisy(Named):
    def forward(self, rows):
        print("running"); os.system("echo from below")
        return self.last(rows)

class Draws(Named):
    def forward(self, rows):
        return self.last(rows) + torch.rand(4)

class Stops(Named):
    def forward(self, rows):
        time.sleep(600)

class Dies(Named):
    def forward(self, rows):
        print("last words", flush=True)
        os.kill(os.getpid(), 11)

class Leaves(Named):
    def forward(self, rows):
        sys.exit(3)

class Never(nn.Module):
    def forward(self, rows):
        raise RuntimeError("not: today # {}\\n  really not")

class Shrinks(Free):  # as Swin: after a small picture its window is small for good
    window = 224
    def forward(self, image):
        self.window = min(self.window, image.shape[2])
        return self.conv(image)[..., : self.window // 4]

class Breaks(Shrinks):
    def forward(self, image):
        return super().forward(image) + torch.zeros(56)

class Counts(Named):
    calls = 0
    def forward(self, rows):
        self.calls += 1
        return self.last(rows) * self.calls

class Picky(nn.Module):  # guesses for four inputs are many, and take longer than anybody waits
    def forward(self, rows, a=None, b=None, c=None):
        time.sleep(0.02)
        raise RuntimeError("no")

class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(6, 3).double()
    def forward(self, rows):
        return self.last(rows)

class Counted(Named):
    def forward(self, rows):
        assert not rows.is_floating_point()
        return self.last(rows.float())

class Camera(Free):
    def forward(self, image):
        assert image.dtype == torch.uint8
        return super().forward(image.float() / 255)

class Streamed(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells = nn.LSTM(6, 8, batch_first=True)
    def forward(self, frame, h, c):
        out, state = self.cells(frame, (h, c))
        return out, *state

class Series(Named):
    def __init__(self):
        super().__init__()
        self.config = type("Config", (), {"context_length": 20, "num_input_channels": 5})
    def forward(self, past_values):
        assert past_values.shape[1] == 20
        return self.last(past_values)

def scripted(): return torch.jit.script(nn.Sequential(nn.Linear(4, 4)))
def series(): return Series()
def lazy(): return nn.LazyLinear(4)

class Exits(nn.Module):
    def __init__(self):
        sys.exit("no licence")
    def forward(self, rows):
        return rows

class Quits(nn.Module):
    def __init__(self):
        os._exit(0)
    def forward(self, rows):
        return rows

def broken():
    raise KeyError("weights")
"""


@pytest.fixture(autouse=True)
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "tried_nets.py").write_text(NETS)
    monkeypatch.chdir(tmp_path)
    yield
    assert "tried_nets" not in sys.modules  # it is imported in a child


def draft(model: str, patience: float = 30) -> tuple[str, Recipe]:
    text = drafting.draft(f"tried_nets:{model}", patience, exports=0)
    return text, parse(text, "draft.yaml", "draft")


def axes(recipe: Recipe) -> dict[str, tuple[int, int, int]]:
    return {n: (a.min, a.opt, a.max) for n, a in recipe.dynamic_axes.items()}


def shapes(recipe: Recipe) -> dict[str, tuple[int | str, ...]]:
    return {n: i.shape for n, i in recipe.inputs.items()}


def test_torchscript_is_read_by_its_schema_and_tried() -> None:
    _, recipe = draft("scripted")
    assert shapes(recipe) == {"input": ("batch", 4)}
    assert axes(recipe) == {"batch": (1, 4, 8)}


def test_height_and_width_are_those_that_run_where_only_some_do() -> None:
    text, lenet = draft("LeNet")
    assert shapes(lenet) == {"x": ("batch", 1, 28, 28)}
    assert "# height is fixed at 28: the model does not run at other sizes\n" in text
    assert axes(lenet) == {"batch": (1, 4, 8)}


def test_height_and_width_are_free_where_the_model_runs_at_others() -> None:
    _, free = draft("Free")
    assert shapes(free) == {"image": ("batch", 3, "height", "width")}
    assert axes(free) == {"batch": (1, 4, 8), "height": (112, 224, 336), "width": (112, 224, 336)}


def test_a_pooling_to_a_fixed_size_keeps_height_and_width_fixed() -> None:
    text, pools = draft("PoolsToThree")
    assert shapes(pools) == {"image": ("batch", 3, 224, 224)}
    assert "# height and width are fixed: adaptive_avg_pool2d to 3 cannot be exported with free sizes" in text


def test_sizes_that_must_be_multiples_are_noticed_and_said() -> None:
    text, down = draft("Down")
    assert axes(down)["height"] == (112, 224, 336)
    assert "  height: {min: 112, opt: 224, max: 336}  # only multiples of 8 run\n" in text


def test_ranges_end_where_the_model_stops_to_run() -> None:
    text, places = draft("Positions")
    assert axes(places) == {"batch": (1, 4, 8), "sequence": (16, 40, 40)}
    assert "# more than 40 do not run\n" in text
    text, two = draft("NeedsTwo")
    assert axes(two) == {"batch": (2, 4, 8)}
    assert "# fewer than 2 do not run\n" in text
    text, four = draft("FourOnly")
    assert shapes(four) == {"x": (2, 4)}
    assert axes(four) == {}
    assert "# batch is fixed at 2: the model does not run at other sizes\n" in text


def test_outputs_have_the_names_that_forward_gives_them_flattened_and_each_its_own() -> None:
    _, outputs = draft("Outputs")
    assert outputs.outputs == ("score", "the_parts_0", "the_parts_2", "user_out")
    highs = [i.values.high for i in outputs.inputs.values() if i.values]
    assert highs == [11, 23]
    _, lenet = draft("LeNet")
    assert lenet.outputs == ("out0",)


def test_a_mask_is_of_the_dtype_that_runs() -> None:
    _, masked = draft("Masked")
    assert {n: (i.shape, i.dtype) for n, i in masked.inputs.items()} == {
        "ids": (("batch", "sequence"), "int64"),
        "mask": (("batch", "sequence"), "bool"),
    }


def test_inputs_are_of_the_dtype_that_runs_where_it_is_not_float32() -> None:
    expected = {"Double": "float64", "Counted": "int64", "Camera": "uint8"}
    for model, dtype in expected.items():
        text, recipe = draft(model)
        (given,) = recipe.inputs.values()
        assert (given.dtype, "# runs; " in text) == (dtype, True), model


def test_a_recurrent_layer_is_given_its_state_and_a_series_its_context() -> None:
    streamed = shapes(draft("Streamed")[1])
    assert streamed == {"frame": ("batch", "sequence", 6), "h": (1, "batch", 8), "c": (1, "batch", 8)}
    assert shapes(draft("series")[1]) == {"past_values": ("batch", 20, 5)}


def test_a_number_is_an_input_without_axes_and_with_values_that_run() -> None:
    text, cooled = draft("Cooled")
    assert shapes(cooled) == {"x": ("batch", 4), "temperature": ()}
    assert "temperature: {shape: [], values: {low: 0.5, high: 1.5}}" in text


def test_two_batches_have_an_axis_each_where_they_need_not_be_equal() -> None:
    _, separate = draft("AllWithAll")
    assert shapes(separate) == {"queries": ("batch", 5), "documents": ("documents_batch", 7)}
    _, equal = draft("Together")
    assert shapes(equal) == {"left": ("batch", 5), "right": ("batch", 7)}


def test_any_number_of_tensors_keyword_only_ones_and_ones_that_only_seem_optional() -> None:
    assert shapes(draft("Several")[1]) == {"input_0": ("batch", 5), "input_1": ("batch", 5)}
    assert shapes(draft("Named")[1]) == {"rows": ("batch", 5)}
    assert shapes(draft("Optional")[1]) == {"rows": ("batch", 5), "more": ("batch", 7)}


def test_what_a_model_prints_is_not_in_the_recipe(capfd: pytest.CaptureFixture[str]) -> None:
    text, noisy = draft("Noisy")
    assert shapes(noisy) == {"rows": ("batch", 5)}
    assert "running" not in text
    assert capfd.readouterr().out == ""


def test_random_numbers_in_forward_are_noticed() -> None:
    assert "# check: forward() draws random numbers; a build refuses such a model\n" in draft("Draws")[0]


def test_what_other_sizes_leave_behind_in_a_model_is_noticed() -> None:
    for model in ("Shrinks", "Breaks"):
        text, recipe = draft(model)
        assert shapes(recipe) == {"image": ("batch", 3, 224, 224)}, model
        assert axes(recipe) == {"batch": (1, 4, 8)}, model
        assert "# height and width are fixed: run at others, the model is another one afterwards\n" in text
    text, counts = draft("Counts")
    assert shapes(counts) == {"rows": ("batch", 5)}
    assert "# check: calling the model changes it; a build refuses such a model\n" in text
    assert "random" not in text.partition("name:")[0]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("Picky", "forward() fails with them: RuntimeError: no"),
        ("Stops", "it ran for more than 2 s"),
        ("Dies", "trying it ended the process: killed by SIGSEGV: last words"),
        ("Leaves", "forward() fails with them: SystemExit: 3"),
        ("Never", "forward() fails with them: RuntimeError: not: today # {}"),
    ],
)
def test_where_trying_fails_the_guesses_stand_and_it_is_said_why(model: str, said: str) -> None:
    text, recipe = draft(model, 2)
    assert f"# check: the inputs below are guesses: {said}\n" in text
    assert list(recipe.inputs) == ["rows"]
    assert "# check: guessed" in text or "# check: nothing" in text


def test_a_model_that_cannot_even_be_made_is_an_error_or_a_note() -> None:
    assert (
        "not tried: calling `tried_nets:Exits` failed: SystemExit: no licence (tried_nets.py:"
        in draft("Exits")[0]
    )
    assert "the model was not tried: it has layers without sizes" in draft("lazy")[0]
    with pytest.raises(ModelbuildError) as caught:
        draft("Quits")
    assert (
        caught.value.diagnostics[0].message == "importing `tried_nets:Quits` ended the process: exited with 0"
    )
    with pytest.raises(ModelbuildError) as caught:
        draft("broken")
    said = caught.value.diagnostics[0].message
    assert said.startswith("calling `tried_nets:broken` failed: KeyError: 'weights' (tried_nets.py:")
