"""What a right recipe says: defaults, forms that are the same, and the values made of it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from modelbuild.base.errors import RecipeError
from modelbuild.base.tensors import DTYPES, Axis, TensorSpec, Values
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import parse
from modelbuild.recipe.schema import Recipe
from modelbuild.recipe.schema.inputs import DType
from modelbuild.recipe.schema.proofs import TolerancePart
from modelbuild.steps.verify import Verify

SMALLEST = "model: {import: 'm:Net'}\ninputs: {x: {shape: [3]}}\n"
TWO_AXES = """\
model: {import: 'm:Net'}
inputs:
  b: {shape: [batch, sequence], dtype: int64, values: {low: 0, high: 30522}}
  a: {shape: [], values: {constant: 1}}
dynamic_axes:
  sequence: {min: 16, opt: 128, max: 512}
  batch: {min: 1, opt: 8, max: 32}
"""
CONTRACT = """\
name: bert-base
model:
  import: transformers:BertModel
  args: []
  kwargs:
    config: {import: transformers:BertConfig, kwargs: {num_hidden_layers: 12}}
  weights: weights/bert.safetensors
  files: [vocab.txt]
  seed: 0
inputs:
  input_ids:      {shape: [batch, sequence], dtype: int64, values: {low: 0, high: 30522}}
  attention_mask: {shape: [batch, sequence], dtype: int64, values: {low: 1, high: 2}}
outputs: [last_hidden_state, pooler_output]
dynamic_axes:
  batch:    {min: 1, opt: 8, max: 32}
  sequence: {min: 16, opt: 128, max: 512}
opset: 18
exporter: dynamo
constant_folding: true
keep_initializers_as_inputs: false
simplify: true
precision:
  fp32: {tolerance: {rtol: 1.0e-3, atol: 1.0e-4}}
  fp16:
    method: convert
    keep_io_types: true
    disable_shape_infer: false
    op_block_list: []
    node_block_list: []
    min_positive_val: 1.0e-7
    max_finite_val: 65504
    tolerance: {rtol: 1.0e-2, atol: 1.0e-2, relative_l2: 1.0e-2, cosine: 0.999}
static:
  - {batch: 1}
  - {batch: 8, sequence: 128}
engines:
  - precision: fp16
    backend: tensorrt-rtx
    variant: {}
    profiles: [{batch: {min: 1, opt: 8, max: 32}, sequence: {min: 16, opt: 128, max: 512}}]
    targets: [sm86, sm89]
    builder: {optimization_level: 3, workspace: 4GiB, tf32: true}
verify:
  samples: 20
  seed: 0
  data: samples/*.npz
  function: my_checks:close_enough
"""


def recipe(text: str) -> Recipe:
    return parse(text, "net.yaml", "net")


def test_the_whole_format_of_the_contract_is_read() -> None:
    found = recipe(CONTRACT)
    assert found.name == "bert-base"
    assert found.model.kwargs["config"]["kwargs"] == {"num_hidden_layers": 12}
    assert found.precision.fp16 is not None
    assert found.precision.fp16.op_block_list == ()
    assert found.precision.fp16.tolerance == TolerancePart(
        rtol=1e-2, atol=1e-2, relative_l2=1e-2, cosine=0.999
    )
    assert found.static == ({"batch": 1}, {"batch": 8, "sequence": 128})
    assert found.engines[0].builder.workspace == 4 << 30
    assert found.engines[0].targets == ("sm86", "sm89")
    assert found.verify.data == ("samples/*.npz",)


def test_a_recipe_of_a_model_and_an_input_has_every_default() -> None:
    found = recipe(SMALLEST)
    assert found.name == "net"
    assert found.outputs is None
    assert found.effective_opset == 18
    assert (found.exporter, found.simplify, found.constant_folding) == ("auto", True, True)
    assert found.precision.names == ("fp32",)
    assert found.precision.fp32 is not None
    assert found.precision.fp32.tolerance.named() == {
        "rtol": 1e-3, "atol": 1e-4, "relative_l2": 1e-3, "mismatch": 1e-3,
    }  # fmt: skip
    assert (found.static, found.engines) == ((), ())
    assert (found.verify.samples, found.verify.seed, found.verify.data) == (20, 0, ())
    assert found.specs() == (TensorSpec("x", "float32", (3,)),)


@pytest.mark.parametrize("bare", ["fp16: {}", "fp16:", "fp16: null", "fp16: {tolerance: {rtol: null}}"])
def test_a_precision_named_with_nothing_after_it_is_built_with_its_defaults(bare: str) -> None:
    found = recipe(SMALLEST + f"precision:\n  {bare}\n").precision
    assert found.names == ("fp16",)
    assert found.fp16 is not None
    assert found.fp16.method == "auto"
    assert found.fp16.op_block_list is None
    assert (found.fp16.min_positive_val, found.fp16.max_finite_val) == (1e-7, 65504)
    assert found.fp16.tolerance.named() == {"relative_l2": 1e-2, "cosine": 0.999, "mismatch": 1e-2}


def test_rtol_and_atol_go_together_and_other_defaults_do_not_join_them() -> None:
    text = SMALLEST + "precision: {fp32: {tolerance: {atol: 1e-3}}, fp16: {tolerance: {rtol: 1}}}\n"
    found = recipe(text).precision
    assert found.fp32 is not None
    assert found.fp32.tolerance.named() == {"rtol": 0, "atol": 1e-3}
    assert found.fp16 is not None
    assert found.fp16.tolerance.named() == {"rtol": 1, "atol": 0}


def test_outputs_of_a_tolerance_have_bounds_of_their_own_and_the_rest_keeps_the_default() -> None:
    text = (
        SMALLEST
        + "precision: {fp32: {tolerance: {outputs: {boxes: {atol: 0.5}, classes: {mismatch: 0.02}}}}}\n"
    )
    found = recipe(text).precision
    assert found.fp32 is not None
    assert found.fp32.tolerance.named()["relative_l2"] == 1e-3
    own = {name: bounds.named() for name, bounds in (found.fp32.tolerance.outputs or {}).items()}
    assert own == {"boxes": {"rtol": 0, "atol": 0.5}, "classes": {"mismatch": 0.02}}


def test_a_tolerance_of_nothing_is_for_recipes_with_a_function() -> None:
    text = SMALLEST + "precision: {fp32: {tolerance: {}}}\n"
    found = recipe(text + 'verify: {function: "checks:close"}\n').precision
    assert found.fp32 is not None
    assert found.fp32.tolerance.named() == {}
    with pytest.raises(RecipeError, match=r"bounds nothing, and there is no `verify\.function` to decide"):
        recipe(text)


def test_conditioning_alone_leaves_the_other_bounds_at_their_defaults() -> None:
    found = recipe(SMALLEST + "precision: {fp32: {tolerance: {conditioning: 4}}}\n")
    (step,) = [a.step for a in plan(found).actions if isinstance(a.step, Verify)]
    assert str(step.tolerance) == "rtol 0.001, atol 0.0001, relative_l2 0.001, mismatch 0.001, conditioning 4"


@pytest.mark.parametrize(
    ("precision", "model", "why"),
    [
        ("fp16: {tolerance: {conditioning: 4}}", "", "fp16 rounds far more than that"),
        ("fp32: {tolerance: {outputs: {y: {conditioning: 4}}}}", "onnx: net.onnx", "there is none"),
    ],
)
def test_conditioning_is_for_fp32_of_a_pytorch_model(precision: str, model: str, why: str) -> None:
    text = SMALLEST + f"precision: {{{precision}}}\n"
    if model:
        text = text.replace(text[text.index("{import") : text.index("}") + 1], f"{{{model}}}")
    with pytest.raises(RecipeError, match=f"`conditioning` measures PyTorch's own error in float32: {why}"):
        recipe(text)


@pytest.mark.parametrize(
    ("written", "size"),
    [
        ("4GiB", 4 << 30),
        ("512 MiB", 512 << 20),
        ("2GB", 2_000_000_000),
        ("64B", 64),
        ("1024", 1024),
    ],
)
def test_a_workspace_is_a_size_or_bytes(written: str, size: int) -> None:
    text = SMALLEST + f"engines: [{{precision: fp32, builder: {{workspace: {written}}}}}]\n"
    assert recipe(text).engines[0].builder.workspace == size


def test_the_order_of_targets_is_nothing() -> None:
    text = SMALLEST + "engines: [{precision: fp32, targets: [sm120, sm86, sm89, sm86]}]\n"
    assert recipe(text).engines[0].targets == ("sm86", "sm89", "sm120")


@pytest.mark.parametrize("data", ["'a.npz'", "[a.npz]"])
def test_data_is_one_pattern_or_a_list(data: str) -> None:
    assert recipe(SMALLEST + f"verify: {{data: {data}}}\n").verify.data == ("a.npz",)


def test_axes_and_inputs_keep_the_order_of_the_file() -> None:
    found = recipe(TWO_AXES)
    assert found.axes() == (Axis("sequence", 16, 128, 512), Axis("batch", 1, 8, 32))
    assert found.specs() == (
        TensorSpec("b", "int64", ("batch", "sequence"), Values(low=0, high=30522)),
        TensorSpec("a", "float32", (), Values(constant=1)),
    )


def test_a_variant_is_called_by_its_axes_in_the_order_of_the_recipe() -> None:
    found = recipe(TWO_AXES)
    assert found.variant_suffix({"batch": 8, "sequence": 128}) == "sequence128-batch8"
    assert found.variant_suffix({"batch": 1}) == "batch1"
    assert found.variant_suffix({}) == ""


@pytest.mark.parametrize(
    ("tail", "opset"),
    [
        pytest.param("model: {import: 'm:Net'}\nopset: 20\n", 20, id="asked"),
        pytest.param("model: {import: 'm:Net'}\n", 18, id="default"),
        pytest.param("model: {onnx: m.onnx}\nopset: 20\n", 20, id="asked-of-an-onnx-file"),
    ],
)
def test_the_opset_that_is_asked_for(tail: str, opset: int) -> None:
    assert recipe("inputs: {x: {shape: [3]}}\n" + tail).effective_opset == opset


def test_names_of_an_onnx_file_may_be_odd() -> None:
    text = "model: {onnx: m.onnx}\ninputs: {/in/x:0: {shape: [3]}}\noutputs: [/out/y:0]\n"
    assert recipe(text).outputs == ("/out/y:0",)


def test_a_word_that_older_yaml_takes_for_true_can_name_an_input() -> None:
    axes = "dynamic_axes: {on: {min: 1, opt: 1, max: 2}}\n"
    text = "model: {import: 'm:Net'}\ninputs: {y: {shape: [on]}}\n" + axes
    assert recipe(text).specs() == (TensorSpec("y", "float32", ("on",)),)


def test_arguments_may_be_any_plain_data() -> None:
    kwargs = recipe(
        "model: {import: 'm:Net', kwargs: {id2label: {'0': cat}, eps: 1e-12, x: [~, on]}}\n"
        "inputs: {x: {shape: [3]}}\n"
    ).model.kwargs
    assert kwargs == {"id2label": {"0": "cat"}, "eps": 1e-12, "x": [None, "on"]}


def test_an_engine_may_leave_axes_out_of_a_profile() -> None:
    text = TWO_AXES + "engines: [{precision: fp32, profiles: [{batch: {min: 1, opt: 1, max: 1}}, {}]}]\n"
    assert [list(p) for p in recipe(text).engines[0].profiles or ()] == [["batch"], []]


def test_engines_of_other_backends_and_variants_have_names_of_their_own() -> None:
    text = """
static: [{batch: 1}]
engines:
  - {precision: fp32}
  - {precision: fp32, backend: tensorrt}
  - {precision: fp32, variant: {batch: 1}}
"""
    assert len(recipe(TWO_AXES + text).engines) == 3


def test_a_recipe_can_be_sent_to_another_process() -> None:
    found = recipe(CONTRACT)
    assert pickle.loads(pickle.dumps(found)) == found


def test_bytes_and_text_are_the_same_recipe() -> None:
    assert recipe(CONTRACT) == parse(CONTRACT.encode(), "net.yaml", "net")


def test_the_dtypes_of_recipes_are_those_of_tensors() -> None:
    assert get_args(DType) == DTYPES


def test_reading_a_recipe_imports_nothing_heavy() -> None:
    code = (
        "import sys; from modelbuild.recipe.json_schema import schema_text;"
        "from modelbuild.recipe.loading import parse; schema_text();"
        f"parse({CONTRACT!r}, 'a.yaml', 'a');"
        "heavy = {'torch', 'onnx', 'numpy', 'onnxruntime', 'transformers', 'modelbuild.graph'};"
        "sys.exit(' '.join(sorted(heavy & set(sys.modules))) or None)"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
