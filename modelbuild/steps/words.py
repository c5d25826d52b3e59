"""How steps that make the model name things, in what they say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modelbuild.base.errors import Diagnostic, StepError


def kind(value: Any) -> str:
    """``a `Tensor```."""
    return f"a `{type(value).__name__}`"


def listed(names: Sequence[Any], limit: int = 12) -> str:
    """Names in backticks; past ``limit``, how many more."""
    shown = ", ".join(f"`{n}`" for n in list(names)[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def import_failed(message: str, hint: str) -> StepError:
    """The model could not be made."""
    return StepError(Diagnostic("import-failed", message, hint))
