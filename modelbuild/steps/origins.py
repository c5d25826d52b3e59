"""Where an error comes from: the links that led to it, and the line of the model's code."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

_OURS = str(Path(__file__).parent.parent)
_MACHINERY = re.compile(r"/site-packages/(torch|onnx\w*|numpy|modelbuild)/")  # what runs or writes a model


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what it was raised from or in the handling of, and so on."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of the user's own code on the way to the error, the last one last."""
    return [
        frame for link in chain(error) for frame in traceback.extract_tb(link.__traceback__) if _is_own(frame)
    ]


def _is_own(frame: traceback.FrameSummary) -> bool:
    return not _is_of_python(frame.filename) and "site-packages" not in frame.filename


DUMP = "Fatal Python error: "
"""With this faulthandler begins what it writes of a process that a signal ends."""

_DUMPED = re.compile(r'^  File "([^"\n]+)", line (\d+) in (\S+)$', re.MULTILINE)  # the innermost first


def of_dump(text: str) -> str:
    """As ``place``, of what faulthandler wrote at the end of a process; empty where none called it."""
    _, dump, after = text.rpartition(DUMP)
    rows = _DUMPED.findall(after.partition("\n\nThread ")[0]) if dump else []
    frames = [traceback.FrameSummary(file, int(line), name) for file, line, name in rows]
    own = (frame for frame in frames if _is_own(frame))
    return next(map(where, own), "")


def place(error: BaseException) -> str:
    """`` (net.py:14 in forward)``: the last line of the user's own code, or else of the model's library."""
    own = frames(error)
    return where(own[-1]) if own else of_library(error)


def where(frame: traceback.FrameSummary) -> str:
    """A frame, as messages end with it."""
    return f" ({Path(frame.filename).name}:{frame.lineno} in {frame.name})"


def of_library(error: BaseException) -> str:
    """The last line of an installed package that is neither PyTorch's nor an exporter's."""
    found = ""
    for link in chain(error):
        for frame in traceback.extract_tb(link.__traceback__):
            if not _is_of_python(frame.filename) and not _MACHINERY.search(frame.filename):
                file = frame.filename.partition("site-packages/")[2]
                found = f" ({file}:{frame.lineno} in {frame.name})"
    return found


def _is_of_python(file: str) -> bool:
    """Whether a file is Python's own, or ours, or none."""
    ours = file.startswith(_OURS)
    return ours or "<" in file or ("/lib/python" in file and "site-packages" not in file)
