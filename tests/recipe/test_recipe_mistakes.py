"""Every kind of mistake in a recipe, with the whole of what is said about it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from modelbuild.errors import EXIT_USAGE, RecipeError
from modelbuild.recipe import load, parse

MODEL = "model: {import: 'm:Net'}\n"
INPUTS = "inputs: {x: {shape: [batch, 3]}}\n"
AXES = "dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}\n"
PLAIN = MODEL + INPUTS + AXES
HALF = "precision: {fp32: , fp16: }\n"


def told(text: str | bytes, stem: str = "net") -> list[str]:
    """``line:column: message -> hint`` of everything wrong; a code other than the usual in front."""
    with pytest.raises(RecipeError) as caught:
        parse(text, "net.yaml", stem)
    assert caught.value.exit_code == EXIT_USAGE
    lines = []
    for found in caught.value.diagnostics:
        assert found.level == "error"
        assert found.excerpt, found
        assert found.where, found
        code = "" if found.code == "recipe-invalid" else f"{found.code} "
        place = found.where.removeprefix("net.yaml:")
        lines.append(f"{code}{place}: {found.message} -> {found.hint}")
    return lines


OUTLINE = [
    pytest.param("- a\n", ["1:1: a recipe is a mapping of keys to values, not a list -> it begins with `model:` and `inputs:`"], id="list"),
    pytest.param("{}", ["1:1: missing `model` -> `model: {import: package.module:attribute}`", "1:1: missing `inputs` -> `inputs: {x: {shape: [batch, 3, 224, 224]}}`"], id="nothing-in-it"),
    pytest.param(MODEL + INPUTS + AXES.replace("axes", "axis"), ["3:1: unknown key `dynamic_axis` -> did you mean `dynamic_axes`?"], id="misspelt-key-and-no-echo-of-it"),
    pytest.param(MODEL + AXES + INPUTS.replace("inputs", "input"), ["3:1: unknown key `input` -> did you mean `inputs`?"], id="misspelt-key-that-must-be-there"),
    pytest.param(PLAIN + "zzz: 1\n", ["4:1: unknown key `zzz` -> known here: `name`, `outputs`, `opset`, `exporter`, `constant_folding`, `keep_initializers_as_inputs`, `simplify`, `precision`, `static`, `engines`, `verify`"], id="unknown-key-like-no-other"),
    pytest.param(PLAIN + "3: 1\n", ["4:1: the key `3` must be text -> quote it: `\"3\"`"], id="number-as-key"),
    pytest.param(PLAIN + "opset: 18\nopset: 17\n", ["5:1: duplicate key `opset` -> it is first given in line 4"], id="duplicate-key"),
    pytest.param(PLAIN + "name: a/b\n", ["4:7: `name` must be a file name, not text `a/b` -> letters, digits, `.`, `_` and `-`, beginning with a letter or digit"], id="name-that-leaves-the-folder"),
    pytest.param(PLAIN + f"name: {'n' * 101}\n", ["4:7: `name` is longer than 100 characters -> shorten it"], id="long-name"),
    pytest.param(PLAIN + "simplify: yes\n", ["4:11: `simplify` must be true or false, not text `yes` -> write `true`"], id="yes"),
    pytest.param(PLAIN + "simplify: 1\n", ["4:11: `simplify` must be true or false, not `1` -> run onnxsim on the exported model"], id="one-for-true"),
    pytest.param(PLAIN + "constant_folding: off\n", ["4:19: `constant_folding` must be true or false, not text `off` -> write `false`"], id="off"),
    pytest.param(PLAIN + "opset: abc\n", ["4:8: `opset` must be a whole number, not text `abc` -> 18 by default; an ONNX file keeps its own"], id="text-for-a-number"),
    pytest.param(PLAIN + "opset: '18'\n", ["4:8: `opset` must be a whole number, not text `18` -> remove the quotes"], id="quoted-number"),
    pytest.param(PLAIN + "opset: 18.0\n", ["4:8: `opset` must be a whole number, not `18.0` -> write `18`"], id="float-for-a-whole-number"),
    pytest.param(PLAIN + "opset: true\n", ["4:8: `opset` must be a whole number, not `true` -> 18 by default; an ONNX file keeps its own"], id="bool-for-a-number"),
    pytest.param(PLAIN + "opset: [18]\n", ["4:8: `opset` must be a whole number, not a list -> 18 by default; an ONNX file keeps its own"], id="list-for-a-number"),
    pytest.param(PLAIN + "exporter: dynamoo\n", ["4:11: `exporter` must be `dynamo` or `torchscript`, not text `dynamoo` -> did you mean `dynamo`?"], id="choice-misspelt"),
    pytest.param(PLAIN + "exporter: 3\n", ["4:11: `exporter` must be `dynamo` or `torchscript`, not `3` -> which of torch.onnx's exporters"], id="choice-of-another-type"),
    pytest.param(PLAIN + "static: {batch: 1}\n", ["4:9: `static` must be a list, not a mapping -> variants with these axes pinned; the rest stay dynamic"], id="mapping-for-a-list"),
    pytest.param(PLAIN + "outputs: y\n", ["4:10: `outputs` must be a list, not text `y` -> write `[y]`"], id="text-for-a-list"),
    pytest.param(PLAIN + "verify: 3\n", ["4:9: `verify` must be a mapping, not `3` -> how artifacts are compared with PyTorch"], id="number-for-a-mapping"),
    pytest.param(PLAIN + "engines:\n", ["4:1: `engines` must be a list, not nothing -> engines to build with TensorRT"], id="nothing-for-a-list"),
]  # fmt: skip

MODELS = [
    pytest.param("model: {}\n" + INPUTS + AXES, ["1:8: `model` needs `import` or `onnx` -> `import: package.module:attribute`, or `onnx: model.onnx`"], id="no-source"),
    pytest.param("model: {import: 'm:Net', onnx: m.onnx}\n" + INPUTS + AXES, ["1:26: `model` has both `import` and `onnx` -> keep the one that the model comes from"], id="two-sources"),
    pytest.param("model: {imprt: 'm:Net'}\n" + INPUTS + AXES, ["1:9: unknown key `imprt` in `model` -> did you mean `import`?"], id="misspelt-source"),
    pytest.param("model: {import: m.Net}\n" + INPUTS + AXES, ["1:17: `model.import` must be `package.module:attribute`, not text `m.Net` -> the module, a colon, and the name in it"], id="import-without-a-colon"),
    pytest.param("model: {import: 'm:Net', seed: -1}\n" + INPUTS + AXES, ["1:32: `model.seed` must be at least 0, not `-1` -> torch's seed before the model is made"], id="negative-seed"),
    pytest.param("model: {import: 'm:Net', weights: ''}\n" + INPUTS + AXES, ["1:35: `model.weights` is empty -> a state dict (.safetensors, .pt); relative to the recipe"], id="empty-path"),
    pytest.param("model: {import: 'm:Net', weights: 3}\n" + INPUTS + AXES, ["1:35: `model.weights` must be text, not `3` -> quote it to make it text"], id="number-for-text"),
    pytest.param("model: {import: 'm:Net', kwargs: {import: 'm:Config'}}\n" + INPUTS + AXES, ["1:35: `model.kwargs.import`: no parameter can be called `import` -> name the argument: `kwargs: {config: {import: …}}`"], id="argument-without-a-name"),
    pytest.param("model: {import: 'm:Net', kwargs: {c: {import: m.Config}}}\n" + INPUTS + AXES, ["1:47: `model.kwargs.c.import` must be `package.module:attribute`, not text `m.Config` -> the module, a colon, and the name in it"], id="nested-import-without-a-colon"),
    pytest.param("model: {import: 'm:Net', args: [[{import: 'm:C', kwarg: {a: 1}}]]}\n" + INPUTS + AXES, ["1:50: unknown key `kwarg` beside `model.args[0][0].import` -> did you mean `kwargs`?"], id="nested-import-with-a-misspelt-key"),
    pytest.param("model: {import: 'm:Net', kwargs: {c: {import: 'm:C', layers: 3}}}\n" + INPUTS + AXES, ["1:54: unknown key `layers` beside `model.kwargs.c.import` -> arguments go into `kwargs`"], id="argument-beside-a-nested-import"),
    pytest.param("model: {import: 'm:Net', kwargs: {c: {import: 'm:C', kwargs: {d: {import: 3, args: 4}}}}}\n" + INPUTS + AXES, ["1:75: `model.kwargs.c.kwargs.d.import` must be `package.module:attribute`, not `3` -> the module, a colon, and the name in it", "1:84: `model.kwargs.c.kwargs.d.args` must be a list, not `4` -> an object is `{import, args, kwargs}`"], id="import-nested-twice"),
    pytest.param("model: {onnx: m.onnx, weights: w.pt}\nexporter: dynamo\nkeep_initializers_as_inputs: false\n" + INPUTS + AXES, ["1:23: `model.weights` is for `import` and does nothing to an ONNX file -> remove it", "2:1: `exporter` is for `import` and does nothing to an ONNX file -> remove it", "3:1: `keep_initializers_as_inputs` is for `import` and does nothing to an ONNX file -> remove it"], id="exporters-knobs-for-an-onnx-file"),
    pytest.param("model: {onnx: m.onnx}\nprecision: {fp16: {method: half}}\n" + INPUTS + AXES, ["2:28: `method: half` needs a PyTorch model, and `model.onnx` is none -> use convert"], id="half-of-an-onnx-file"),
    pytest.param("model: {onnx: m.onnx}\nprecision: {fp16: {method: autocast}}\n" + INPUTS + AXES, ["2:28: `method: autocast` needs a PyTorch model, and `model.onnx` is none -> use convert"], id="autocast-of-an-onnx-file"),
    pytest.param(PLAIN + "opset: 26\n", ["opset-mismatch 4:8: the dynamo exporter writes opset 9 to 25, not 26 -> use 25 or lower"], id="opset-beyond-the-exporter"),
    pytest.param(PLAIN + "opset: 8\n", ["opset-mismatch 4:8: the dynamo exporter writes opset 9 to 25, not 8 -> `exporter: torchscript` writes opset 7 to 20"], id="opset-for-the-other-exporter"),
    pytest.param(PLAIN + "opset: 21\nexporter: torchscript\n", ["opset-mismatch 4:8: the torchscript exporter writes opset 7 to 20, not 21 -> `exporter: dynamo` writes opset 9 to 25"], id="opset-for-dynamo"),
    pytest.param(PLAIN + "opset: 5\nexporter: torchscript\n", ["opset-mismatch 4:8: the torchscript exporter writes opset 7 to 20, not 5 -> use 7 or higher"], id="opset-for-none"),
    pytest.param(PLAIN + "opset: 26\nexporter: torch\n", ["5:11: `exporter` must be `dynamo` or `torchscript`, not text `torch` -> did you mean `torchscript`?"], id="opset-cannot-be-judged-without-the-exporter"),
]  # fmt: skip

TENSORS = [
    pytest.param(MODEL + "inputs: {}\n", ["2:9: `inputs` is empty -> the ONNX inputs, in this order"], id="no-inputs"),
    pytest.param(MODEL + "inputs: {x: {}}\n", ["2:13: missing `shape` in `inputs.x` -> `shape: [batch, 3, 224, 224]`; [] is a scalar"], id="no-shape"),
    pytest.param(MODEL + "inputs: {x: {shape: 3}}\n", ["2:21: `inputs.x.shape` must be a list, not `3` -> a number is a fixed axis, a name one of `dynamic_axes`; [] is a scalar"], id="shape-no-list"),
    pytest.param(MODEL + "inputs: {x: {shape: [-1, 3]}}\n", ["2:22: `inputs.x.shape[0]` must be a size or the name of an axis, not `-1` -> a number is a fixed axis, a name one of `dynamic_axes`; [] is a scalar"], id="minus-one-in-a-shape"),
    pytest.param(MODEL + "inputs: {x: {shape: [2.0, true, 'a b', null]}}\n", [f"2:{column}: `inputs.x.shape[{i}]` must be a size or the name of an axis, not {what} -> a number is a fixed axis, a name one of `dynamic_axes`; [] is a scalar" for i, (column, what) in enumerate([(22, "`2.0`"), (27, "`true`"), (33, "text `a b`"), (40, "nothing")])], id="shapes-of-other-things"),
    pytest.param(MODEL + "inputs: {x: {shape: [3], dtype: float}}\n", ["2:33: `inputs.x.dtype` must be `float32`, `float16`, `float64`, `int8`, `int16`, `int32`, `int64`, `uint8` or `bool`, not text `float` -> did you mean `float32`?"], id="unknown-dtype"),
    pytest.param(MODEL + "inputs: {a b: {shape: [3]}}\n", ["2:10: `a b` cannot be the name of a tensor -> letters, digits and signs; no spaces, nothing beyond ASCII"], id="space-in-a-name"),
    pytest.param(MODEL + "inputs: {a/b: {shape: [3]}}\noutputs: [c/d]\n", ["2:10: `a/b` cannot name a tensor: it holds `/` -> write `_` or `.` instead", "3:11: `c/d` cannot name a tensor: it holds `/` -> write `_` or `.` instead"], id="slash-in-a-name"),
    pytest.param(MODEL + "inputs: {7: {shape: [3]}}\n", ["2:10: the key `7` must be text -> quote it: `\"7\"`"], id="number-as-a-name"),
    pytest.param(MODEL + "inputs: {x: {shape: [3]}}\noutputs: [y, x, y]\n", ["3:14: `x` names an input and an output -> give the output another name", "3:17: the output `y` is named twice -> give each its own name"], id="names-given-twice"),
    pytest.param(PLAIN + "outputs: []\n", ["4:10: `outputs` is empty -> names of the outputs, flattened; the exporter's by default"], id="no-outputs"),
    pytest.param(PLAIN + "outputs: ['']\n", ["4:11: `outputs[0]` must be the name of a tensor, not empty text -> letters, digits and signs; no spaces, nothing beyond ASCII"], id="output-without-a-name"),
    pytest.param(MODEL + INPUTS, ["2:22: the axis `batch` is not declared in `dynamic_axes` -> add `batch: {min: 1, opt: 4, max: 8}` to `dynamic_axes`"], id="axis-not-declared"),
    pytest.param(MODEL + INPUTS.replace("batch", "btach") + AXES, ["2:22: the axis `btach` is not declared in `dynamic_axes` -> did you mean `batch`?", "3:16: no input's shape uses the axis `batch` -> use it in a shape, or remove it"], id="axis-misspelt-in-a-shape"),
    pytest.param(MODEL + "inputs: {x: {shape: [3]}}\n" + AXES, ["3:16: no input's shape uses the axis `batch` -> use it in a shape, or remove it"], id="axis-not-used"),
    pytest.param(MODEL + INPUTS + "dynamic_axes: {batch: {min: 1, max: 8}}\n", ["3:23: missing `opt` in `dynamic_axes.batch` -> an axis is written `{min: 1, opt: 4, max: 8}`"], id="axis-without-opt"),
    pytest.param(MODEL + INPUTS + "dynamic_axes:\n  batch:\n    min: 1\n    max: 8\n", ["4:3: missing `opt` in `dynamic_axes.batch` -> an axis is written `{min: 1, opt: 4, max: 8}`"], id="block-is-shown-by-its-key"),
    pytest.param(MODEL + INPUTS + "dynamic_axes: {batch: {min: 0, opt: 4, max: 8}}\n", ["3:29: `dynamic_axes.batch.min` must be at least 1, not `0` -> the smallest size"], id="axis-of-size-0"),
    pytest.param(MODEL + INPUTS + "dynamic_axes: {batch: {min: 1, opt: 4, max: 3000000000}}\n", ["3:45: `dynamic_axes.batch.max` must be at most 2147483647, not `3000000000` -> the largest size"], id="axis-beyond-int32"),
    pytest.param(MODEL + INPUTS + "dynamic_axes: {batch: {min: 4, opt: 1, max: 8}}\n", ["3:37: `dynamic_axes.batch`: min 4 is above opt 1 -> min <= opt <= max"], id="opt-below-min"),
    pytest.param(MODEL + INPUTS + "dynamic_axes: {batch: {min: 1, opt: 9, max: 8}}\n", ["3:37: `dynamic_axes.batch`: opt 9 is above max 8 -> min <= opt <= max"], id="opt-above-max"),
    pytest.param(MODEL + INPUTS + "dynamic_axes: {batch: {min: 9, opt: 1, max: 8}}\n", ["3:29: `dynamic_axes.batch`: min 9 is above max 8 -> min <= opt <= max"], id="min-above-max"),
    pytest.param(MODEL + INPUTS + "dynamic_axes: {batch: {min: 1, opt: 4, max: 8}, b-c: {min: 1, opt: 1, max: 1}}\n", ["3:49: `b-c` cannot be the name of an axis -> letters, digits and `_`, beginning with a letter"], id="odd-name-of-an-axis"),
]  # fmt: skip


def _values(dtype: str, values: str) -> str:
    return MODEL + f"inputs: {{x: {{shape: [3], dtype: {dtype}, values: {values}}}}}\n"


VALUES = [
    pytest.param(_values("float32", "{}"), ["2:50: `inputs.x.values` is empty -> one of {low, high}, {mean, std} and {constant}"], id="empty"),
    pytest.param(_values("float32", "{low: 1}"), ["2:50: `inputs.x.values` has `low` and no `high` -> add `high`"], id="low-without-high"),
    pytest.param(_values("float32", "{std: 1}"), ["2:50: `inputs.x.values` has `std` and no `mean` -> add `mean`"], id="std-without-mean"),
    pytest.param(_values("float32", "{low: 0, std: 1}"), ["2:50: `inputs.x.values` mixes `low`, `std` -> one of {low, high}, {mean, std} and {constant}"], id="mixed"),
    pytest.param(_values("float32", "{mean: 0, std: 0}"), ["2:65: `inputs.x.values.std` must be more than 0, not `0` -> normal values: the standard deviation"], id="no-deviation"),
    pytest.param(_values("float32", "{low: 1, high: 1}"), ["2:65: `inputs.x.values`: low must be below high, which is not reached -> `{constant: v}` is one value everywhere"], id="empty-range"),
    pytest.param(_values("float32", "{constant: .inf}"), ["2:61: `inputs.x.values.constant` must be a finite number, not `inf` -> one value everywhere"], id="infinite"),
    pytest.param(_values("float32", "{constant: abc}"), ["2:61: `inputs.x.values.constant` must be a number, not text `abc` -> one value everywhere"], id="text"),
    pytest.param(_values("float32", "{constant: '1e-3'}"), ["2:61: `inputs.x.values.constant` must be a number, not text `1e-3` -> remove the quotes"], id="quoted"),
    pytest.param(_values("float16", "{constant: 1e6}"), ["2:61: `inputs.x.values.constant` must be from -65504 to 65504 for dtype float16 -> choose another dtype, or values in range"], id="beyond-float16"),
    pytest.param(_values("int64", "{low: 0, high: 2.5}"), ["2:63: `inputs.x.values.high` must be a whole number for dtype int64, not `2.5` -> write `2`"], id="fraction-for-integers"),
    pytest.param(_values("int64", "{mean: 0, std: 1}"), ["2:49: `inputs.x.values.mean` does not suit dtype int64 -> use `{low, high}`", "2:58: `inputs.x.values.std` does not suit dtype int64 -> use `{low, high}`"], id="normal-integers"),
    pytest.param(_values("uint8", "{low: -1, high: 256}"), ["2:54: `inputs.x.values.low` must be from 0 to 255 for dtype uint8 -> choose another dtype, or values in range"], id="negative-bytes"),
    pytest.param(_values("uint8", "{low: 0, high: 257}"), ["2:63: `inputs.x.values.high` must be from 0 to 256 for dtype uint8 -> choose another dtype, or values in range"], id="beyond-a-byte"),
    pytest.param(_values("bool", "{low: 0, high: 2}"), ["2:48: `inputs.x.values.low` does not suit dtype bool -> bools are drawn from false and true; `{constant: 1}` is true everywhere", "2:56: `inputs.x.values.high` does not suit dtype bool -> bools are drawn from false and true; `{constant: 1}` is true everywhere"], id="range-of-bools"),
    pytest.param(_values("bool", "{constant: 2}"), ["2:58: `inputs.x.values.constant` must be 0 or 1 for dtype bool -> 1 is true"], id="bool-2"),
    pytest.param(_values("int", "{low: 0.5, high: 2}"), ["2:33: `inputs.x.dtype` must be `float32`, `float16`, `float64`, `int8`, `int16`, `int32`, `int64`, `uint8` or `bool`, not text `int` -> did you mean `int8`?"], id="values-cannot-be-judged-without-the-dtype"),
]  # fmt: skip

PRECISIONS = [
    pytest.param(PLAIN + "precision: {}\n", ["4:12: `precision` names no precision -> add `fp32:`"], id="none"),
    pytest.param(PLAIN + "precision: {int8: {}}\n", ["4:13: unknown key `int8` in `precision` -> known here: `fp32`, `fp16`, `bf16`"], id="unknown"),
    pytest.param(PLAIN + "precision: {fp61: {}}\n", ["4:13: unknown key `fp61` in `precision` -> did you mean `fp16`?"], id="misspelt"),
    pytest.param(PLAIN + "precision: {fp32: {method: half}}\n", ["4:20: unknown key `method` in `precision.fp32` -> known here: `tolerance`"], id="knob-of-another-precision"),
    pytest.param(PLAIN + "precision: {bf16: }\n", ["4:13: `precision.bf16` is not available yet -> use fp32 or fp16"], id="bf16"),
    pytest.param(PLAIN + "precision: {fp16: {method: mixed}}\n", ["4:28: `precision.fp16.method: mixed` is not available yet -> use convert, half or autocast"], id="mixed"),
    pytest.param(PLAIN + "precision: {fp16: {method: auto}}\n", ["4:28: `precision.fp16.method: auto` is not available yet -> use convert, half or autocast"], id="auto"),
    pytest.param(PLAIN + "precision: {fp16: {method: halve}}\n", ["4:28: `precision.fp16.method` must be `convert`, `half`, `autocast`, `mixed` or `auto`, not text `halve` -> did you mean `half`?"], id="method-misspelt"),
    pytest.param(PLAIN + "precision: {fp16: {method: half, op_block_list: [Resize]}}\n", ["4:34: `precision.fp16.op_block_list` does nothing with `method: half` -> it is for `convert`"], id="block-list-for-half"),
    pytest.param(PLAIN + "precision: {fp16: {op_block_list: Resize}}\n", ["4:35: `precision.fp16.op_block_list` must be a list, not text `Resize` -> write `[Resize]`"], id="block-list-no-list"),
    pytest.param(PLAIN + "precision: {fp16: {max_finite_val: 1e5}}\n", ["4:36: `precision.fp16.max_finite_val` must be at most 65504, not `100000.0` -> constants farther from 0 are moved to this"], id="beyond-fp16"),
    pytest.param(PLAIN + "precision: {fp16: {max_finite_val: 1e-8}}\n", ["4:19: `precision.fp16.min_positive_val` is not below `max_finite_val` -> their defaults are 1e-7 and 65504"], id="limits-crossed"),
    pytest.param(PLAIN + "precision: {fp32: {tolerance: 1e-3}}\n", ["4:31: `precision.fp32.tolerance` must be a mapping, not `0.001` -> by default {rtol: 1e-3, atol: 1e-4}"], id="tolerance-no-mapping"),
    pytest.param(PLAIN + "precision: {fp32: {tolerance: {rtoll: 1}}}\n", ["4:32: unknown key `rtoll` in `precision.fp32.tolerance` -> did you mean `rtol`?"], id="bound-misspelt"),
    pytest.param(PLAIN + "precision: {fp32: {tolerance: {rtol: -1, cosine: 1.5}}}\n", ["4:38: `precision.fp32.tolerance.rtol` must be at least 0, not `-1` -> |error| <= atol + rtol * |reference|, for every element", "4:50: `precision.fp32.tolerance.cosine` must be at most 1, not `1.5` -> cosine of the angle between the two, at least"], id="bounds-that-nothing-meets"),
]  # fmt: skip

ENGINES = [
    pytest.param(PLAIN + "static: [{batch: 1}, {batch: 1}]\n", ["4:22: `static[1]` is the same variant as `static[0]` -> remove it"], id="variant-twice"),
    pytest.param(PLAIN + "static: [{}]\n", ["4:10: `static[0]` pins no axis -> remove it: the dynamic model is always built"], id="variant-of-nothing"),
    pytest.param(PLAIN + "static: [{btach: 1}]\n", ["4:11: `btach` is none of the `dynamic_axes` -> did you mean `batch`?"], id="variant-of-an-unknown-axis"),
    pytest.param(MODEL + "inputs: {x: {shape: [3]}}\nstatic: [{batch: 1}]\n", ["3:11: `batch` is none of the `dynamic_axes` -> the recipe declares no dynamic axes"], id="variant-where-nothing-is-dynamic"),
    pytest.param(PLAIN + "static: [{batch: 9}]\n", ["4:18: `static[0].batch` is 9, outside 1 to 8 of `dynamic_axes.batch` -> change the size, or the axis's range"], id="variant-out-of-range"),
    pytest.param(MODEL + "inputs: {x: {shape: [a, a1]}}\ndynamic_axes: {a: {min: 1, opt: 1, max: 20}, a1: {min: 1, opt: 1, max: 20}}\nstatic: [{a: 11}, {a1: 1}]\n", ["4:19: `static[1]` and `static[0]` would both be called `a11` -> rename an axis"], id="two-variants-under-one-name"),
    pytest.param(MODEL + f"inputs: {{x: {{shape: [{'a' * 60}, {'b' * 60}, {'c' * 60}]}}}}\ndynamic_axes: {{{', '.join(f'{c * 60}: {{min: 1, opt: 1, max: 2}}' for c in 'abc')}}}\nstatic: [{{{', '.join(f'{c * 60}: 1' for c in 'abc')}}}]\n", ["4:10: the file name of `static[0]` is longer than 200 characters -> shorten `name`, or pin fewer axes"], id="name-that-no-disk-takes"),
    pytest.param(PLAIN + "engines: [{}]\n", ["4:11: missing `precision` in `engines[0]` -> one of the precisions of the recipe"], id="engine-without-precision"),
    pytest.param(PLAIN + "engines: [{precision: fp16}]\n", ["4:23: `fp16` is none of the recipe's precisions -> add `fp16:` to `precision`"], id="engine-of-a-precision-that-is-not-built"),
    pytest.param(PLAIN + "engines: [{precision: int8}]\n", ["4:23: `engines[0].precision` must be `fp32`, `fp16` or `bf16`, not text `int8` -> one of the precisions of the recipe"], id="engine-of-an-unknown-precision"),
    pytest.param(PLAIN + "engines: [{precision: fp32, backend: trt}]\n", ["4:38: `engines[0].backend` must be `tensorrt` or `tensorrt-rtx`, not text `trt` -> the builder"], id="unknown-backend"),
    pytest.param(PLAIN + "engines: [{precision: fp32, variant: {batch: 2}}]\n", ["4:38: `engines[0].variant` is none of `static` -> add `{batch: 2}` to `static`"], id="engine-of-a-variant-that-is-not-built"),
    pytest.param(PLAIN + "engines: [{precision: fp32, backend: tensorrt, targets: [sm86]}]\n", ["4:48: `targets` is for tensorrt-rtx; tensorrt builds for the GPU that is there -> remove it"], id="targets-of-tensorrt"),
    pytest.param(PLAIN + "engines: [{precision: fp32, targets: [sm89, '8.6']}]\n", ["4:45: `engines[0].targets[1]` must be a compute capability, not text `8.6` -> write it like `sm86`"], id="odd-target"),
    pytest.param(PLAIN + "engines: [{precision: fp32, builder: {workspace: 4Gib, optimization_level: 6, tf32: 0}}]\n", ["4:50: `engines[0].builder.workspace` must be a size like `4GiB` or a number of bytes, not text `4Gib` -> memory for the builder: `4GiB` or bytes", "4:76: `engines[0].builder.optimization_level` must be at most 5, not `6` -> 0 builds fastest, 5 runs fastest", "4:85: `engines[0].builder.tf32` must be true or false, not `0` -> allow TF32 in float32 matrix products"], id="builder-knobs"),
    pytest.param(PLAIN + "engines: [{precision: fp32}, {precision: fp32}]\n", ["4:30: `engines[1]` is the same engine as `engines[0]` -> remove it"], id="engine-twice"),
    pytest.param(PLAIN + "engines: [{precision: fp32}, {precision: fp32, builder: {tf32: false}}]\n", ["4:30: `engines[1]` and `engines[0]` would both be called `net.fp32.tensorrt-rtx.engine` -> give one engine several `profiles`, or name another precision or variant"], id="two-engines-under-one-name"),
    pytest.param(PLAIN + "engines: [{precision: fp32, profiles: []}]\n", ["4:39: `engines[0].profiles` is empty -> optimization profiles by axis; axes left out are as in `dynamic_axes`"], id="no-profiles"),
    pytest.param(PLAIN + "engines: [{precision: fp32, profiles: {batch: {min: 1, opt: 1, max: 1}}}]\n", ["4:39: `engines[0].profiles` must be a list, not a mapping -> optimization profiles by axis; axes left out are as in `dynamic_axes`"], id="profile-no-list"),
    pytest.param(PLAIN + "engines: [{precision: fp32, profiles: [{btach: {min: 1, opt: 3, max: 8}}]}]\n", ["profile-invalid 4:41: the profile's axis `btach` is none of the `dynamic_axes` -> did you mean `batch`?"], id="profile-of-an-unknown-axis"),
    pytest.param(PLAIN + "engines: [{precision: fp32, profiles: [{x: {min: 1, opt: 3, max: 8}}]}]\n", ["profile-invalid 4:41: the profile's axis `x` is none of the `dynamic_axes` -> a profile is written by axis, not by input"], id="profile-by-input"),
    pytest.param(PLAIN + "engines: [{precision: fp32, profiles: [{batch: {min: 4, opt: 3, max: 8}}]}]\n", ["profile-invalid 4:62: `engines[0].profiles[0].batch`: min 4 is above opt 3 -> min <= opt <= max"], id="profile-out-of-order"),
    pytest.param(PLAIN + "engines: [{precision: fp32, profiles: [{batch: {min: 1, opt: 3, max: 9}}]}]\n", ["profile-invalid 4:70: `engines[0].profiles[0].batch` is 1 to 9, outside 1 to 8 of `dynamic_axes.batch` -> narrow the profile, or widen the axis"], id="profile-beyond-the-axis"),
    pytest.param(PLAIN + "static: [{batch: 2}]\nengines: [{precision: fp32, variant: {batch: 2}, profiles: [{batch: {min: 1, opt: 3, max: 8}}]}]\n", ["profile-invalid 5:62: the axis `batch` is pinned by the engine's variant -> remove it from the profile"], id="profile-of-a-pinned-axis"),
    pytest.param(PLAIN + "engines: [{precision: fp32, profiles: [{}, {}]}]\n", ["profile-invalid 4:44: `engines[0].profiles[1]` is the same profile as `profiles[0]` -> remove it"], id="profile-twice"),
    pytest.param(PLAIN + "verify: {samples: 0, data: 3, function: check}\n", ["4:19: `verify.samples` must be at least 1, not `0` -> random inputs per sampled shape, at most", "4:28: `verify.data` must be a list, not `3` -> real inputs: .npz files with arrays named as the inputs; globs", "4:41: `verify.function` must be `package.module:attribute`, not text `check` -> the module, a colon, and the name in it"], id="verify"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"), OUTLINE + MODELS + TENSORS + VALUES + PRECISIONS + ENGINES
)
def test_a_mistake_is_told_with_its_place_and_a_hint(text: str, expected: list[str]) -> None:
    assert told(text) == expected


def test_mistakes_of_form_type_and_meaning_are_told_at_once_in_the_order_of_the_text() -> None:
    text = """\
model: {import: 'm:Net', sed: 3}
inputs:
  x: {shape: [batch, 3], dtype: int64, values: {mean: 0, std: 1}}
  y: {shape: [seqence]}
  y: {shape: [sequence]}
dynamic_axes:
  batch: {min: 4, opt: 1, max: 8}
  sequence: {min: 1, opt: 2, max: 3}
opset: 18.5
static: [{batch: no}, {batch: 99}, {sequence: 2}]
engines:
  - {precision: int8}
  - {precision: fp16, variant: {sequence: 3}}
verify: !custom {samples: 1}
"""
    assert told(text) == [
        "1:26: unknown key `sed` in `model` -> did you mean `seed`?",
        "3:49: `inputs.x.values.mean` does not suit dtype int64 -> use `{low, high}`",
        "3:58: `inputs.x.values.std` does not suit dtype int64 -> use `{low, high}`",
        "5:3: duplicate key `y` -> it is first given in line 4",
        "7:24: `dynamic_axes.batch`: min 4 is above opt 1 -> min <= opt <= max",
        "9:8: `opset` must be a whole number, not `18.5` -> 18 by default; an ONNX file keeps its own",
        "10:18: `static[0].batch` must be a whole number, not text `no` -> variants with these axes pinned; the rest stay dynamic",
        "10:31: `static[1].batch` is 99, outside 4 to 8 of `dynamic_axes.batch` -> change the size, or the axis's range",
        "12:17: `engines[0].precision` must be `fp32`, `fp16` or `bf16`, not text `int8` -> one of the precisions of the recipe",
        "13:17: `fp16` is none of the recipe's precisions -> add `fp16:` to `precision`",
        "14:9: YAML tags are not supported: `!custom` -> remove it; quotes make text of a value",
    ]  # fmt: skip


def test_places_are_those_of_the_file_although_items_before_them_were_cut_out() -> None:
    text = PLAIN + "static: [1, {batch: 2}, {batch: x}, {batch: 3}, {batch: 3}]\n"
    assert told(text) == [
        "4:10: `static[0]` must be a mapping, not `1` -> variants with these axes pinned; the rest stay dynamic",
        "4:33: `static[2].batch` must be a whole number, not text `x` -> variants with these axes pinned; the rest stay dynamic",
        "4:49: `static[3]` is the same variant as `static[2]` -> remove it",
    ]  # fmt: skip


def test_an_error_is_read_as_a_person_expects_it() -> None:
    with pytest.raises(RecipeError) as caught:
        parse(MODEL + INPUTS + AXES.replace("axes", "axis"), "configs/yolo.yaml", "yolo")
    assert caught.value.diagnostics[0].render() == (
        "error[recipe-invalid]: configs/yolo.yaml:3:1: unknown key `dynamic_axis`\n"
        "    3 | dynamic_axis: {batch: {min: 1, opt: 4, max: 8}}\n"
        "      | ^^^^^^^^^^^^\n"
        "hint: did you mean `dynamic_axes`?"
    )


def test_a_long_line_is_clipped_around_the_caret() -> None:
    text = (
        PLAIN + "outputs: [" + ", ".join(f"y{i}" for i in range(100)) + ", 3, " + "z" * 80 + "]\n"
    )
    with pytest.raises(RecipeError) as caught:
        parse(text, "net.yaml", "net")
    line, carets = (caught.value.diagnostics[0].excerpt or "").splitlines()
    assert line == f"    4 | …{', '.join(f'y{i}' for i in range(94, 100))}, 3, {'z' * 67}…"
    assert carets == "      | " + " " * line[8:].index("3, z") + "^"


def test_a_file_name_that_names_no_artifact_is_told() -> None:
    assert told(PLAIN, "my model") == [
        "1:1: the file's name `my model` cannot begin the names of artifacts -> add `name:`, of "
        "letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
    ]
    assert parse(PLAIN + "name: mine\n", "my model.yaml", "my model").name == "mine"


def test_a_mistake_under_an_anchor_is_told_once() -> None:
    text = (
        PLAIN
        + "static: [&v {batch: 99}]\nengines: [{precision: fp32, variant: *v, builder: &b {tf32: 3}}, {precision: fp32, builder: *b}]\n"
    )  # noqa: E501
    assert [line.partition(" ")[0] for line in told(text)] == ["4:21:", "5:61:", "5:61:"]


def test_a_recipe_of_nothing_but_mistakes_ends_soon_and_in_few_words() -> None:
    began = time.perf_counter()
    text = (
        PLAIN + "outputs: [" + "1," * 20_000 + "]\nengines: [" + "{precision: x}," * 20_000 + "]\n"
    )
    assert len(told_briefly(text)) == 51
    names = "".join(f"  axis_{i}: {{min: 1, opt: 1, max: 1}}\n" for i in range(5_000))
    text = MODEL + INPUTS + "dynamic_axes:\n" + names + "static: [" + "{axsi: 1}," * 5_000 + "]\n"
    assert len(told_briefly(text)) == 51
    assert time.perf_counter() - began < 20


def told_briefly(text: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        parse(text, "net.yaml", "net")
    last = caught.value.diagnostics[-1]
    assert (last.message, last.hint) == (
        "there are more mistakes than these 50",
        "mend these first",
    )
    return [found.message for found in caught.value.diagnostics]


def test_files_that_are_not_there_are_told_with_where_they_were_looked_for(tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    (tmp_path / "wieghts.pt").touch()
    (tmp_path / "there.txt").touch()
    recipe.write_text(
        "model: {import: 'm:Net', weights: weights.pt, files: [there.txt, '*.vocab', gone.txt]}\n"
        "inputs: {x: {shape: [3]}}\nverify: {data: some.npz}\n"
    )
    with pytest.raises(RecipeError) as caught:
        load(recipe)
    assert [(d.message, d.hint) for d in caught.value.diagnostics] == [
        (
            f"`model.weights`: there is no file `{tmp_path}/weights.pt`",
            "did you mean `wieghts.pt`?",
        ),
        (
            f"`model.files`: there is no file `{tmp_path}/gone.txt`",
            "paths are relative to the recipe",
        ),
        (
            f"`verify.data`: there is no file `{tmp_path}/some.npz`",
            "paths are relative to the recipe",
        ),
    ]


@pytest.mark.parametrize("name", ["m.onnx", "../elsewhere/m.onnx", "/absolute/m.onnx", "n" * 5000])
def test_an_onnx_file_that_is_not_there_is_told(name: str, tmp_path: Path) -> None:
    recipe = tmp_path / "net.yaml"
    recipe.write_text(f"model: {{onnx: {name}}}\ninputs: {{x: {{shape: [3]}}}}\n")
    with pytest.raises(RecipeError, match="^`model.onnx`: there is no file `") as caught:
        load(recipe)
    assert (caught.value.diagnostics[0].where or "").startswith(f"{recipe}:1:15")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(lambda p: None, "cannot read the recipe: there is no such file", id="absent"),
        pytest.param(lambda p: p.mkdir(), "cannot read the recipe: it is not a file", id="folder"),
    ],
)
def test_a_file_that_cannot_be_read_is_told(make, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "net.yaml"
    make(path)
    with pytest.raises(RecipeError) as caught:
        load(path)
    (found,) = caught.value.diagnostics
    assert (found.message, found.where) == (message, str(path))
