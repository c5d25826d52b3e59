"""After PyTorch was watched: what a dispatch mode leaves behind, taken away.

Higher-order operators (``torch.cond``, ``while_loop``, ``scan``, ``flex_attention``) compile themselves
when they are called. Under a mode that watches operators, they fail, or compile what no plain call can
run: every call after it fails, too, until that is forgotten.
"""

from __future__ import annotations

import sys


def forget() -> None:
    """Make the next call as if nothing had watched the one before."""
    if "torch._dynamo" in sys.modules:  # nothing else compiles
        import torch

        torch._dynamo.reset()
