"""What tests of edited recipes share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.recipe.reading import read
from modelbuild.recipe.writing import with_node_block_list

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
AB = ("/a/MatMul", "b")
LONG = tuple(f"/encoder/layer.{i}/attention/MatMul" for i in range(4))


def data(text: str) -> Any:
    document = read(text.encode())
    assert document.root is not None, document.problems
    assert document.problems == ()
    return document.root.data


def listed(text: str, precision: str = "fp16") -> Any:
    return data(text)["precision"][precision]["node_block_list"]


def refused(text: str, nodes: tuple[str, ...] = AB) -> tuple[str, str]:
    with pytest.raises(RecipeError) as stopped:
        with_node_block_list(text, "fp16", nodes)
    (told,) = stopped.value.diagnostics
    assert (told.code, told.level) == ("recipe-invalid", "error")
    return told.message.removeprefix("the recipe cannot be edited by itself: "), told.hint or ""
