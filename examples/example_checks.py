"""What a recipe's `verify.function` can be: two lists of arrays in, True or False out."""

from __future__ import annotations

from typing import Any

import numpy as np


def close_and_same_class(reference: list[Any], candidate: list[Any]) -> bool:
    """Every value within 1 % and the likeliest word the same, unless two are nearly as likely.

    ``reference`` is what PyTorch computed, ``candidate`` what the file did: the outputs, in order.
    """
    for want, got in zip(reference, candidate, strict=True):
        if not np.allclose(got, want, rtol=0.01, atol=0.01):
            return False
        best = np.take_along_axis(want, got.argmax(-1)[..., None], -1)[..., 0]
        if np.any(want.max(-1) - best > 0.02):
            return False
    return True
