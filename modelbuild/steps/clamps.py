"""Constants that half precision does not hold, and whether that makes a difference."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic
from modelbuild.steps import reference

if TYPE_CHECKING:
    from modelbuild.graph.files import Model
    from modelbuild.steps.samples import Array

CODE: Final = "value-clamped"


def that_matter(
    diagnostics: Sequence[Diagnostic], model: Model, largest: float, recorded: Path
) -> tuple[Diagnostic, ...]:
    """What a conversion of ``model`` said, without its warning of clamped values where these matter nowhere.

    On no input of the proof, that is: the float32 graph gives bit for bit the same with its constants
    clamped at ``largest``, as a mask's fill value lets it.
    """
    if not any(_is_warning(d) for d in diagnostics):
        return tuple(diagnostics)
    try:
        matter = not _same(model, largest, recorded)
    except Exception as error:
        passing.met(error)
        traceback.print_exc()  # a warning too many does no harm
        matter = True
    return tuple(d for d in diagnostics if matter or not _is_warning(d))


def _is_warning(diagnostic: Diagnostic) -> bool:
    return diagnostic.code == CODE and diagnostic.level == "warning"


def _same(model: Model, largest: float, recorded: Path) -> bool:
    import numpy as np

    from modelbuild.graph import clips, files, interface, runtime
    from modelbuild.graph.edges import with_numpy_edges

    whole = with_numpy_edges(model)
    dtypes = {p.name: files.numpy_dtype(p.dtype) for p in interface.inputs(whole)}
    sessions = [runtime.session(m) for m in (whole, clips.clipped(whole, largest))]

    def feeds() -> Iterator[dict[str, Array]]:
        for _, arrays, _ in reference.load(recorded):
            yield {name: np.asarray(arrays[name], dtype) for name, dtype in dtypes.items()}

    def equal(feed: dict[str, Array]) -> bool:
        one, two = (s.run(None, feed) for s in sessions)
        return all(a.tobytes() == b.tobytes() for a, b in zip(one, two, strict=True))

    return all(map(equal, feeds()))
