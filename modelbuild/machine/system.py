"""The one system that modelbuild runs on, and what is said elsewhere.

Steps are forks, a lock is the kernel's, and reads are noted as Linux has them.
"""

from __future__ import annotations

import sys

from modelbuild.base.errors import Diagnostic, ModelbuildError


def required() -> None:
    """Asked before anything is imported that only Linux has, as ``fcntl``.

    Raises:
        ModelbuildError: ``system-error``: this is another system.
    """
    if sys.platform != "linux":
        raise ModelbuildError(
            Diagnostic(
                "system-error",
                f"modelbuild runs on Linux alone, and this is {sys.platform}",
                "on Windows work in WSL 2, on macOS in a container; what it builds is for any system",
            )
        )
