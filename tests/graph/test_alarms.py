"""Alarms: which tensors of a half precision file are infinite, seen by sums beside the outputs."""

from __future__ import annotations

import numpy as np

from modelbuild.graph.alarms import Alarms
from modelbuild.graph.files import Model
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulation
from tests.graph import graph_zoo

TEXT = """
    g (float[n] x) => (float[n] y) <float big = {300.0}>
    { a = Mul(x, big)  b = Relu(a)  c = Mul(b, big)  d = Neg(a)  e = Exp(d)  y = Add(c, e) }"""


def test_what_is_infinite_rings_and_what_is_after_it() -> None:
    alarms = Alarms.of(simulation(convert(Model(graph_zoo.parse(TEXT)), HalfOptions())[0]))
    assert not alarms.blind
    assert "b" not in alarms.tensors  # a Relu makes nothing larger
    running = session(alarms.model, in_order=True)

    def rings(*values: float) -> frozenset[str]:
        outs = running.run(None, {"x": np.array(values, np.float32)})
        assert outs[0].shape == (len(values),)
        return alarms.ringing(outs)

    assert rings(0.5, 0.7) == frozenset()
    assert rings(0.5, 1.0) == {"c", "y_fp16"}
    assert rings(0.5, -0.5) == {"e", "y_fp16"}
    assert rings() == frozenset()  # no element, nothing infinite
