"""LSTM, GRU and RNN in numpy, rounding after every operator: part of ``half_oracle``.

Formulas from ONNX's operator pages, default activations, forward and reverse.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx

Floats = np.ndarray
Rounded = Callable[[Any], Floats]
OPERATORS = ("LSTM", "GRU", "RNN")


def run(node: onnx.NodeProto, given: list[Any], half: np.dtype) -> list[Any]:
    """Y, Y_h (and Y_c), of all directions."""

    def rounded(values: Any) -> Floats:
        return np.asarray(values, np.float32).astype(half).astype(np.float32)

    x, w, r, b, lengths, h, c, _ = [*given, *[None] * 8][:8]
    assert lengths is None
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    hidden = attributes["hidden_size"]
    directions, batch = len(w), x.shape[1]
    states = np.zeros((directions, batch, hidden), np.float32)
    h, c = (states if state is None else state for state in (h, c))
    b = np.zeros((directions, 2 * w.shape[1]), np.float32) if b is None else b
    reverse = {b"reverse": [True], b"bidirectional": [False, True]}
    found = []
    for i, backwards in enumerate(reverse.get(attributes.get("direction", b"forward"), [False])):
        weights = [np.float32(part[i]) for part in (w, r, *np.split(b, 2, axis=1))]
        before = [np.float32(h[i]), np.float32(c[i])]
        rows = []
        for row in np.float32(x[::-1] if backwards else x):
            before = _CELLS[node.op_type](row, *before, *weights, rounded)
            rows.append(before[0])
        found.append((np.stack(rows[::-1] if backwards else rows), *before))
    y, last, cell = (
        np.stack(part, axis=1 if k == 0 else 0) for k, part in enumerate(zip(*found, strict=True))
    )
    return [m.astype(half) for m in (y, last, cell)][: len(node.output)]


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def _lstm(
    x: Floats, h: Floats, c: Floats, w: Floats, r: Floats, wb: Floats, rb: Floats, of: Rounded
) -> list[Floats]:
    gates = of(of(x @ w.T + wb) + of(h @ r.T + rb))
    i, o, f, new = np.split(gates, 4, axis=1)
    i, o, f, new = of(_sigmoid(i)), of(_sigmoid(o)), of(_sigmoid(f)), of(np.tanh(new))
    c = of(of(f * c) + of(i * new))
    return [of(o * of(np.tanh(c))), c]


def _gru(
    x: Floats, h: Floats, c: Floats, w: Floats, r: Floats, wb: Floats, rb: Floats, of: Rounded
) -> list[Floats]:
    """With ``linear_before_reset``."""
    z, reset, new = np.split(of(x @ w.T + wb), 3, axis=1)
    z2, reset2, new2 = np.split(of(h @ r.T + rb), 3, axis=1)
    z, reset = of(_sigmoid(of(z + z2))), of(_sigmoid(of(reset + reset2)))
    new = of(np.tanh(of(new + of(reset * new2))))
    return [of(of(of(1 - z) * new) + of(z * h)), c]


def _rnn(
    x: Floats, h: Floats, c: Floats, w: Floats, r: Floats, wb: Floats, rb: Floats, of: Rounded
) -> list[Floats]:
    return [of(np.tanh(of(of(x @ w.T + wb) + of(h @ r.T + rb)))), c]


_CELLS = dict(zip(OPERATORS, (_lstm, _gru, _rnn), strict=True))
