"""The environment variables that modelbuild sets for its children: no fact of anybody's model."""

from __future__ import annotations

# Set before any library is loaded.
ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",  # a thread that waits for work leaves its core to another action
    "ORT_DISABLE_TELEMETRY": "1",  # it would start a thread in the server, which forks
    "PYTHONHASHSEED": "0",  # sets of strings come in one order, whatever the user's shell says
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # asking for a GPU must not spoil CUDA for the forks
    "TOKENIZERS_PARALLELISM": "false",  # a thread pool that a fork would lose
}
