"""``modelbuild report``: what is known of recipes, as one HTML file that needs nothing else.

``gathering`` brings it together (manifests, the judgement of today, ranges), ``plots`` and
``pipeline`` draw, ``sections`` and ``page`` write. What stands in recipes, models and manifests may
be anybody's: ``html`` and ``scripts`` see to it that it stays text.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from modelbuild.base.errors import Diagnostic, ModelbuildError
from modelbuild.wording.phrases import plural, size

if TYPE_CHECKING:
    from modelbuild.building.request import Request
    from modelbuild.building.scheduling.runs import Reporter


@dataclass(frozen=True)
class Written:
    """A report: how many models it tells of, how many of them failed, and how large it is, in bytes."""

    path: Path
    models: int
    failed: int
    bytes: int

    def told(self) -> str:
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{plural(self.models, 'model')}{failed}, {size(self.bytes)}"


def write(request: Request, path: Path, reporter: Reporter) -> Written:
    """Write the report on the request's recipes, or on all that are in its ``out``.

    Raises:
        RecipeError: a path names nothing, two recipes have one name, or nothing was built.
        ToolchainError: ``extra-missing``: what draws the plots is not installed; it is asked first.
        ModelbuildError: ``report-unwritable``.
    """
    from modelbuild.store import write_atomically
    from modelbuild.views.reporting import previous, scripts
    from modelbuild.views.reporting.gathering import gather
    from modelbuild.views.reporting.page import render

    scripts.need()
    models = gather(request, reporter)
    text = render(models, previous.read(path))
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text)
    except OSError as error:
        raise ModelbuildError(
            Diagnostic(
                "report-unwritable",
                f"{path} cannot be written: {error.strerror}",
                "check the folder and the disk; `-o` names another file",
            )
        ) from error
    failed = sum(model.status == "failed" for model in models)
    return Written(path, len(models), failed, len(text.encode()))
