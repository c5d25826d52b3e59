"""Every operator of ONNX, by ONNX's own examples: in half it is valid, loads and rounds as numpy does."""

from __future__ import annotations

import functools
import warnings
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from modelbuild.graph.files import Model
from modelbuild.graph.opset import NEWEST
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated
from tests.graph import half_oracle

if TYPE_CHECKING:
    from onnx.backend.test.case.test_case import TestCase as Example

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
EACH = 3  # examples of an operator, evenly out of all of its own
OPERATORS = sorted({
    schema.name
    for schema in onnx.defs.get_all_schemas()
    if any("tensor(float)" in constraint.allowed_type_strs for constraint in schema.type_constraints)
})  # fmt: skip

RANDOM = {"Bernoulli", "Dropout", "Multinomial", "RandomNormalLike", "RandomUniformLike"}
# No oracle: formulas that half_cells has not, a node that ONNX's reference cannot run alone, and
# what is infinite in half made an integer.
UNKNOWN = {"GRU", "LSTM", "GroupNormalization", "QuantizeLinear"}
# Here ONNX's reference and ONNX Runtime differ in float32 already.
DISAGREE = {"test_maxunpool_export_with_output_shape"} | {
    f"test_resize_downsample_scales_{mode}_align_corners" for mode in ("cubic", "linear")
}


def is_fit(example: Example) -> bool:
    """One node, arrays in and out, float32 among them."""
    graph = example.model.graph
    values = (*graph.input, *graph.output)
    arrays = example.data_sets and all(
        isinstance(a, np.ndarray | np.generic) for a in example.data_sets[0][0]
    )
    return (
        bool(arrays)
        and example.model.opset_import[0].version >= 13
        and len(graph.node) == 1
        and FLOAT in {v.type.tensor_type.elem_type for v in values}
        and all(v.type.WhichOneof("value") == "tensor_type" for v in values)
        and example.name not in DISAGREE
    )


@functools.cache
def examples() -> dict[str, list[Example]]:
    """By operator. To import them is to compute them, for seconds: no test is named by them."""
    from onnx.backend.test.case.node import collect_testcases

    found: defaultdict[str, list[Example]] = defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = collect_testcases(None)
    for example in filter(is_fit, every):
        found[example.model.graph.node[0].op_type].append(example)
    return {
        op: [rows[i] for i in sorted({round(n * (len(rows) - 1) / (EACH - 1)) for n in range(EACH)})]
        for op, rows in sorted(found.items())
    }


def feeds(proto: onnx.ModelProto, example: Example) -> dict[str, np.ndarray]:
    given = zip(proto.graph.input, example.data_sets[0][0], strict=True)
    return {
        v.name: np.asarray(a, np.float16 if v.type.tensor_type.elem_type == HALF else None) for v, a in given
    }


def at_a_known_opset(example: Example) -> onnx.ModelProto | None:
    """The example at an opset that ONNX Runtime takes, if it runs there."""
    proto = onnx.ModelProto()
    proto.CopyFrom(example.model)
    proto.ir_version = min(proto.ir_version, 10)
    for opset in proto.opset_import:
        opset.version = min(opset.version, NEWEST)
    try:
        onnx.checker.check_model(proto, full_check=True)
        session(Model(proto)).run(None, feeds(proto, example))
    except Exception:
        return None
    return proto


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("keep", [True, False], ids=["keep-io", "half-io"])
@pytest.mark.parametrize("op", OPERATORS)
def test_an_operator_in_half_is_valid_and_computes_what_numpy_says(op, keep):
    if op not in examples():
        pytest.skip("ONNX has no example that is one node on float32")
    tried = 0
    for example in examples()[op]:
        proto = at_a_known_opset(example)
        if proto is None:
            continue
        tried += 1
        model, _ = convert(Model(proto), HalfOptions(keep_io_types=keep, op_block_list=()))
        onnx.checker.check_model(model.proto, full_check=True)
        session(model)
        half = simulated(model)
        onnx.checker.check_model(half.proto, full_check=True)
        given = feeds(model.proto, example)
        found = session(half).run(None, given)
        if op in RANDOM | UNKNOWN:
            continue
        for array, wanted in zip(found, half_oracle.run(model.proto, given), strict=True):
            if array.size:
                half_oracle.assert_agree(array, np.asarray(wanted))
    if not tried:
        pytest.skip("ONNX Runtime does not run it")
