"""Every kind of mistake in a recipe, with the whole of what is said about it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.catalogue import EXIT_USAGE
from modelbuild.base.errors import RecipeError
from modelbuild.recipe.loading import load, parse

MODEL = "model: {import: 'm:Net'}\n"
INPUTS = "inputs: {x: {shape: [batch, 3]}}\n"
AXES = "dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}\n"
PLAIN = MODEL + INPUTS + AXES
CATALOGUE = Path(__file__).with_name("mistakes.txt")


def catalogue() -> list[Any]:
    """``mistakes.txt``: after ``=== name`` a recipe, after ``---`` what is said about it."""
    _, *entries = CATALOGUE.read_text().split("\n=== ")
    cases = []
    for entry in entries:
        name, _, rest = entry.partition("\n")
        text, _, expected = rest.partition("\n---\n")
        cases.append(pytest.param(text + "\n", expected.rstrip("\n"), id=name.replace(" ", "-")))
    return cases


@pytest.mark.parametrize(("text", "expected"), catalogue())
def test_a_mistake_is_told_with_its_place_and_a_hint(text: str, expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse(text, "net.yaml", "net")
    assert "\n".join(found.render() for found in caught.value.diagnostics) == expected
    assert caught.value.exit_code == EXIT_USAGE
    assert all(found.hint and found.level == "error" for found in caught.value.diagnostics)


def test_an_error_is_read_as_a_person_expects_it() -> None:
    with pytest.raises(RecipeError) as caught:
        parse(MODEL + INPUTS + AXES.replace("axes", "axis"), "configs/yolo.yaml", "yolo")
    assert caught.value.diagnostics[0].render() == (
        "error[recipe-invalid]: configs/yolo.yaml:3:1: unknown key `dynamic_axis`\n"
        "    3 | dynamic_axis: {batch: {min: 1, opt: 4, max: 8}}\n"
        "      | ^^^^^^^^^^^^\n"
        "hint: did you mean `dynamic_axes`?"
    )


def test_a_long_line_is_clipped_around_the_caret() -> None:
    text = PLAIN + "outputs: [" + ", ".join(f"y{i}" for i in range(100)) + ", 3, " + "z" * 80 + "]\n"
    with pytest.raises(RecipeError) as caught:
        parse(text, "net.yaml", "net")
    line, carets = (caught.value.diagnostics[0].excerpt or "").splitlines()
    assert line == f"    4 | …{', '.join(f'y{i}' for i in range(94, 100))}, 3, {'z' * 67}…"
    assert carets == "      | " + " " * line[8:].index("3, z") + "^"


def test_a_file_name_that_names_no_artifact_is_told() -> None:
    with pytest.raises(RecipeError) as caught:
        parse(PLAIN, "my model.yaml", "my model")
    (found,) = caught.value.diagnostics
    assert found.message == "the file's name `my model` cannot begin the names of artifacts"
    assert found.hint == (
        "add `name:`, of letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
    )
    assert parse(PLAIN + "name: mine\n", "my model.yaml", "my model").name == "mine"


def test_a_recipe_of_nothing_but_mistakes_ends_soon_and_in_few_words() -> None:
    began = time.process_time()
    text = PLAIN + "outputs: [" + "1," * 20_000 + "]\nengines: [" + "{precision: x}," * 20_000 + "]\n"
    assert len(told_briefly(text)) == 51
    names = "".join(f"  axis_{i}: {{min: 1, opt: 1, max: 1}}\n" for i in range(5_000))
    text = MODEL + INPUTS + "dynamic_axes:\n" + names + "static: [" + "{axsi: 1}," * 5_000 + "]\n"
    assert len(told_briefly(text)) == 51
    text = MODEL + INPUTS + "dynamic_axes: 3\nstatic: [" + "{a: !x 1}," * 50_000 + "]\n"
    assert len(told_briefly(text)) == 51
    assert time.process_time() - began < 20


def told_briefly(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, "net.yaml", "net")
    last = caught.value.diagnostics[-1]
    assert (last.message, last.hint) == (
        "there are more mistakes than these 50",
        "mend these first",
    )
    return [found.message for found in caught.value.diagnostics]


def test_files_that_are_not_there_are_told_with_where_they_were_looked_for(tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    (tmp_path / "wieghts.pt").touch()
    (tmp_path / "there.txt").touch()
    recipe.write_text(
        "model: {import: 'm:Net', weights: weights.pt, files: [there.txt, '*.vocab', gone.txt]}\n"
        "inputs: {x: {shape: [3]}}\nverify: {data: some.npz}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load(recipe)
    assert [(d.message, d.hint) for d in caught.value.diagnostics] == [
        (
            f"`model.weights`: there is no file `{tmp_path}/weights.pt`",
            "did you mean `wieghts.pt`?",
        ),
        (
            f"`model.files`: there is no file `{tmp_path}/gone.txt`",
            "paths are relative to the recipe",
        ),
        (
            f"`verify.data`: there is no file `{tmp_path}/some.npz`",
            "paths are relative to the recipe",
        ),
    ]


@pytest.mark.parametrize(
    ("given", "where"), [("args: [net.pt]", "args"), ("kwargs: {f: net.pt, map_location: cpu}", "kwargs")]
)
def test_a_torchscript_file_that_is_not_there_is_told(given: str, where: str, tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    (tmp_path / "nets.pt").touch()
    recipe.write_text(f"model: {{import: 'torch.jit:load', {given}}}\ninputs: {{x: {{shape: [3]}}}}\n")
    with pytest.raises(RecipeError) as caught:
        load(recipe)
    (said,) = caught.value.diagnostics
    assert said.message == f"`model.{where}`: there is no file `{tmp_path}/net.pt`"
    assert said.hint == "did you mean `nets.pt`?"


@pytest.mark.parametrize("name", ["m.onnx", "../elsewhere/m.onnx", "/absolute/m.onnx", "n" * 5000])
def test_an_onnx_file_that_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    recipe.write_text(f"model: {{onnx: {name}}}\ninputs: {{x: {{shape: [3]}}}}\n")
    with pytest.raises(RecipeError, match=r"^`model.onnx`: there is no file `") as caught:
        load(recipe)
    assert (caught.value.diagnostics[0].where or "").startswith(f"{recipe}:1:15")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda p: None, "cannot read the recipe: there is no such file", id="absent"),
        pytest.param(lambda p: p.mkdir(), "cannot read the recipe: it is not a file", id="folder"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(make, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "net.yaml"
    make(path)
    with pytest.raises(RecipeError) as caught:
        load(path)
    (found,) = caught.value.diagnostics
    assert (found.message, found.where) == (message, str(path))
