"""How steps that make the model name things, in what they say."""

from __future__ import annotations

from typing import Any

from modelbuild.base.errors import Diagnostic, StepError


def kind(value: Any) -> str:
    """``a `Tensor```."""
    return f"a `{type(value).__name__}`"


def import_failed(message: str, hint: str) -> StepError:
    """The model could not be made."""
    return StepError(Diagnostic("import-failed", message, hint))
