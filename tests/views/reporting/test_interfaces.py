"""The interface of a model in a report, and what changed since the last one: of real builds."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

import modelbuild
from modelbuild.views.reporting.page import render
from modelbuild.views.reporting.values import ShownModel
from tests.conftest import RECIPE
from tests.views.reporting.places import MORE, Place


def ports(model: ShownModel) -> list[tuple[str, str, Any]]:
    assert model.interface is not None
    return [(p.name, p.dtype, p.shape) for p in (*model.interface.inputs, *model.interface.outputs)]


def test_the_interface_is_that_of_the_published_file_and_its_axes_those_of_the_recipe(built: Place) -> None:
    model = built.model(built.recipe)
    assert model.interface is not None
    assert ports(model) == [("x", "float32", ["batch", 6]), ("y", "float32", ["batch", 3])]
    assert model.interface.of == "net.fp32.onnx"
    assert model.interface.opsets == {"fp32": 18, "fp16": 18}
    assert [(a.name, a.min, a.opt, a.max) for a in model.interface.axes] == [("batch", 1, 4, 8)]
    page = render([model])
    for told in ("Opset 18,", "<code>[batch, 6]</code>", "1 to 8"):
        assert told in page


def test_a_recipe_without_files_shows_the_interface_that_it_asks_for(place: Place) -> None:
    shutil.rmtree(place.out)
    model = place.model(place.recipe)
    assert model.interface is not None
    assert ports(model) == [("x", "float32", ("batch", 6)), ("y", "", None)]
    assert (model.interface.of, model.interface.opsets) == (None, {"asked": 18})
    assert "as the recipe has it: nothing is built yet." in render([model])


@pytest.mark.parametrize("content", [None, b"", b"no model"], ids=["absent", "empty", "another"])
def test_a_file_that_is_no_model_gives_no_interface(place: Place, content: bytes | None) -> None:
    place.recipe.unlink()
    for file in (place.out / "net").glob("*.onnx"):
        file.unlink()
        if content is not None:
            file.write_bytes(content)
    model = place.model()
    assert model.interface is None
    assert "<h3>Interface</h3>" not in render([model])


def test_a_manifest_cannot_have_another_file_looked_at(place: Place) -> None:
    place.recipe.unlink()
    shutil.copy(place.out / "net/net.fp32.onnx", place.folder / "secret.onnx")
    data = json.loads(place.manifest.read_text())
    for artifact in data["artifacts"]:
        artifact["name"] = "../../secret.onnx"
    place.manifest.write_text(json.dumps(data))
    assert place.model().interface is None


def test_a_report_says_what_changed_since_the_one_that_it_replaces(place: Place) -> None:
    path = place.folder / "changes.html"
    where = (place.recipe, place.out, place.folder / "cache")
    modelbuild.report(path, *where)
    first = path.read_bytes()
    modelbuild.report(path, *where)
    assert path.read_bytes() == first
    place.recipe.write_text(RECIPE + MORE.replace("fp16: ", "fp16: {tolerance: {relative_l2: 0.5}}"))
    modelbuild.report(path, *where)
    text = path.read_text()
    assert "Changed since the last report" in text
    assert "built -&gt; stale" in text
