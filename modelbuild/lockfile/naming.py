"""Names as every machine has them, and as the file can hold them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from modelbuild.base.escaping import line
from modelbuild.base.keys import digest
from modelbuild.lockfile.values import CONTENT, OUTLINE

FAR = ".../"
"""What a name begins with of a file outside the project, or at another place on each machine."""

_ENOUGH = len(CONTENT) + 16
_DIGEST = re.compile(f"{CONTENT}[0-9a-f]{{64}}")

_LONGEST = 500  # a key of YAML has 1024 characters at most, and a quote in it takes two


def shortened(text: str) -> str:
    """Text in which each digest is cut to what tells it from another: nobody reads more of it."""
    return _DIGEST.sub(lambda found: found[0][:_ENOUGH], text)


def outlined(definitions: Mapping[str, str]) -> str:
    """What stands for the definitions of a Python file."""
    return OUTLINE + digest(dict(definitions)).removeprefix(CONTENT)[: _ENOUGH - len(CONTENT)]


def portable(path: str) -> str:
    """The path as another machine has it: a folder outside the project may be anywhere."""
    return named(FAR + path.rpartition("/")[2] if path.startswith("/") else path)


def normal(distribution: str) -> str:
    """PEP 503: ``onnx_ir`` is ``onnx-ir``."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def named(text: str) -> str:
    """A key of the file: what YAML can hold as it is; a long one ends in a digest of itself."""
    name = visible(text)
    if len(name) <= _LONGEST:
        return name
    mark = digest(name).rpartition(":")[2][:16]
    return f"{name[: _LONGEST - 20]}... {mark}"


def visible(text: str) -> str:
    """What YAML can hold as it is; a name on a disk may be any bytes."""
    return line(text)
