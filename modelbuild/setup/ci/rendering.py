"""A template with a repository's values in the places of ``@NAME@``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files


def rendered(template: str, values: Mapping[str, str]) -> str:
    """A template with these values in it."""
    text = files("modelbuild.setup.ci").joinpath("templates", template).read_text(encoding="utf-8")
    return re.sub(r"@([A-Z]+)@", lambda match: values[match[1]], text)
