"""What every kind of file shares."""

from __future__ import annotations

from typing import Any

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.escaping import line

Info = dict[str, Any]
"""What is told of a file, as JSON."""

REBUILD = "build or download it again; .onnx, .engine and .plan files can be inspected"


def no_model(message: str, hint: str = REBUILD) -> RecipeError:
    return RecipeError(Diagnostic("recipe-invalid", line(message), hint))
