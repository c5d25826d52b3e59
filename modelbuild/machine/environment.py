"""The surroundings of modelbuild's children: environment variables, no fact of anybody's model, and paths."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# Set before any library is loaded.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # a thread that waits for work leaves its core to another action
    "ORT_DISABLE_TELEMETRY": "1",  # it would start a thread in the server, which forks
    "PYTHONHASHSEED": "0",  # sets of strings come in one order, whatever the user's shell says
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking for a GPU must not spoil CUDA for the forks
    "TOKENIZERS_PARALLELISM": "false",  # a thread pool that a fork would lose
}

SIGNING_KEY = "MODELBUILD_SIGNING_KEY"
SECRETS = (SIGNING_KEY,)
"""What no child is given, as it runs the code of models."""


def make_importable(*folders: Path) -> None:
    """Let modules in these folders be imported, those of the first before those of the others."""
    for folder in map(str, reversed(folders)):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
