"""What the recipe reference says beside the types: examples, and what values say of others."""

from __future__ import annotations

NOTES = {
    "Recipe": """\
A `static` variant is pinned from the dynamic file of its precision, as long as there can be one. Where
the model's code fixes an axis ([`baked-axis`](../modelbuild/views/explanations/baked-axis.md)), or
torch.export takes the model at fixed sizes only, the dynamic files are refused and each variant is exported
from PyTorch at its own sizes, simplified, made half and proven there. Where PyTorch itself refuses some
sizes, the variants at which it runs are compared by themselves. `static_by: export` asks for that way in any
case, `pin` forbids it; an ONNX file as the source can only be pinned. `--only '*.batch*'` builds the
variants without the dynamic files.
""",
    "ModelPart": """\
Give `import` or `onnx`. Modules beside the recipe, and in the folder that the command runs in, are
importable. An argument that is itself an object is written as `{import, args, kwargs}` and made the
same way, as deep as it takes. TorchScript is taken like a module, and goes through the torchscript
exporter; a `torch.export.ExportedProgram` is taken with the sizes that it was made for.
`{import: torch.jit:load, args: [net.pt]}` and `{import: torch.export:load, args: [net.pt2]}` read
them from a file beside the recipe. For `onnx`, `args`, `kwargs`, `weights` and `seed` mean nothing and are
refused, as are `exporter`, `constant_folding`, `keep_initializers_as_inputs` and `initializer_names`; a
half precision file is made by `convert`, `mixed` or `auto`.
""",
    "WeightsPart": """\
The state dict has to have every name of the model. Of a file that torch.save() wrote, only tensors and plain
values are taken: nothing in it is run. With `strip_prefix`, names without it count where the model has them,
and are left out where it has not. Without `key` and `strip_prefix`, `weights: net.safetensors` says the same.
""",
    "InputSpec": """\
If every input's name is a parameter of `forward()`, inputs are passed by name, in any order. If
none is, by position: `image` for `forward(self, x)`. If only some are, that is
[`inputs-mismatch`](../modelbuild/views/explanations/inputs-mismatch.md).

Outputs are flattened in order (values of dicts, tuples, lists; `None` dropped) and get the names of
`outputs`.
""",
    "InputValues": """\
One pair, or `constant`. `low` and `high` must suit the dtype, and are whole numbers for integers;
`bool` inputs take only `constant`. Without `values`, floats are drawn from normal(0, 1), integers
from 0 and 1, bools from both.
""",
    "AxisRange": """\
`min <= opt <= max`. The proof runs every artifact at both ends, at the traced size and at one that
shares no factor with it. Each axis must be used by a shape.
""",
    "Precisions": """\
`fp16:` with nothing after it is fp16 with its defaults. Without `precision`, fp32 alone is built.
""",
    "TolerancePart": """\
Those that are named must all hold, for every output, at every size. Where a recipe names none: fp32
`{rtol: 1e-3, atol: 1e-4, relative_l2: 1e-3, mismatch: 1e-3}`, fp16 `{relative_l2: 1e-2, cosine: 0.999,
mismatch: 1e-2}`, bf16 `{relative_l2: 5e-2, cosine: 0.99, mismatch: 5e-2}`, int8 `{relative_l2: 1e-1, cosine:
0.99, mismatch: 5e-2}`. `mismatch` is for integers and
bools, the others for floats; where only the one kind is named, the other keeps its default. Of `rtol` and
`atol`, one that is not named beside the other is 0. `conditioning: 4` allows an fp32
file that misses them four times what PyTorch is off by itself, its float32 against its float64: for models
that magnify rounding. `relative_l2`, `cosine` and `sqnr` (in dB, as people who quantize tell it) hold for
every slice of an output that has a size of its own, as scores beside boxes, not only for the whole. What
an output names under `outputs` holds for it instead of the rest. `{}` bounds nothing: `verify.function`
decides alone.
""",
    "Fp16": """\
`half` and `autocast` export the model itself in half precision, so the block lists mean nothing
there and are refused. See [half precision](precision.md) for which way to take.
""",
    "Int8": """\
Every node of `op_types` that multiplies values with a range is int8: weights, and what stands before them.
What stays out computes in `base`; nodes inside the bodies of If, Loop and Scan do. The proof runs
QuantizeLinear and DequantizeLinear in float, as integer hardware computes. See
[half precision and int8](precision.md).
""",
    "Engine": """\
An engine is made from the ONNX file of its `precision` and `variant`, which must be among
`precision` and `static`. `targets` are for tensorrt-rtx alone: TensorRT builds for the GPU that is
there. Profiles are written by axis, not by input, and lie within `dynamic_axes`; an axis that the
variant pins stands in none.
""",
}

_HEAD = """\
model: {import: net:Net}
inputs: {x: {shape: [batch, 6]}}
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
"""

EXAMPLES = {
    "Recipe": """\
name: net
model: {import: net:Net}
inputs:
  x: {shape: [batch, 6]}
outputs: [y]
dynamic_axes:
  batch: {min: 1, opt: 4, max: 8}
opset: 18
precision:
  fp32:
  fp16:
static:
  - {batch: 1}
engines:
  - {precision: fp16}
verify: {samples: 4}
""",
    "ModelPart": """\
model:
  import: transformers:BertModel
  kwargs:
    config: {import: transformers:BertConfig, kwargs: {num_hidden_layers: 2}}
  weights: weights/bert.safetensors
  files: ["tables/*.bin"]
  seed: 1
inputs:
  input_ids: {shape: [1, 128], dtype: int64, values: {low: 0, high: 30522}}
""",
    "WeightsPart": """\
model:
  import: net:Net
  weights: {file: runs/best.ckpt, key: state_dict, strip_prefix: "model."}
inputs:
  x: {shape: [1, 6]}
""",
    "InputSpec": """\
model: {import: net:Tagger}
inputs:
  tokens: {shape: [batch, length], dtype: int64, values: {low: 0, high: 30522}}
  scale: {shape: []}
dynamic_axes:
  batch: {min: 1, opt: 4, max: 8}
  length: {min: 16, opt: 64, max: 128}
""",
    "InputValues": """\
model: {import: net:Net}
inputs:
  image: {shape: [1, 3, 224, 224], values: {mean: 0.45, std: 0.22}}
  mask: {shape: [1, 224], dtype: int64, values: {constant: 1}}
  boxes: {shape: [1, 10, 4], values: {low: 0, high: 224}}
""",
    "AxisRange": """\
model: {import: net:Net}
inputs:
  image: {shape: [batch, 3, height, width]}
dynamic_axes:
  batch: {min: 1, opt: 4, max: 8}
  height: {min: 64, opt: 224, max: 512}
  width: {min: 64, opt: 224, max: 512}
static:
  - {batch: 1}
  - {height: 224, width: 224}
""",
    "Precisions": _HEAD
    + """\
precision:
  fp32:
  fp16: {method: auto}
  bf16:
""",
    "Fp32": _HEAD
    + """\
precision:
  fp32: {tolerance: {rtol: 1.0e-5, atol: 1.0e-5}}
""",
    "TolerancePart": _HEAD
    + """\
precision:
  fp16: {tolerance: {rtol: 1.0e-2, atol: 1.0e-2, relative_l2: 5.0e-3, cosine: 0.9999, mismatch: 0}}
""",
    "Bounds": _HEAD
    + """\
outputs: [boxes, classes]
precision:
  fp32: {tolerance: {outputs: {boxes: {atol: 0.5}, classes: {mismatch: 0.02}}}}
""",
    "Fp16": _HEAD
    + """\
precision:
  fp16:
    method: convert
    keep_io_types: false
    op_block_list: [Softmax, LayerNormalization]
    node_block_list: [node_mul_5]
    min_positive_val: 1.0e-7
    max_finite_val: 65504
""",
    "Bf16": _HEAD
    + """\
precision:
  bf16: {method: mixed, tolerance: {relative_l2: 2.0e-2, cosine: 0.999}}
""",
    "Int8": _HEAD
    + """\
precision:
  int8:
    base: fp16
    calibration: {data: "calibration/*.npz"}
    tolerance: {sqnr: 20}
verify: {data: "held_out/*.npz"}
""",
    "Calibration": _HEAD
    + """\
precision:
  int8: {calibration: {data: "calibration/*.npz", samples: 200, method: mse}}
""",
    "Engine": _HEAD
    + """\
precision: {fp16: }
static: [{batch: 1}]
engines:
  - precision: fp16
    backend: tensorrt-rtx
    profiles:
      - {batch: {min: 1, opt: 1, max: 1}}
      - {batch: {min: 1, opt: 4, max: 8}}
    targets: [sm86, sm89]
  - {precision: fp16, variant: {batch: 1}}
""",
    "Builder": _HEAD
    + """\
engines:
  - precision: fp32
    builder: {optimization_level: 5, workspace: 4GiB, tf32: false}
""",
    "VerifyPart": _HEAD
    + """\
verify:
  samples: 20
  seed: 7
  data: ["samples/*.npz"]
  function: checks:close_enough
""",
}
"""By the name of a type: a whole recipe that shows its keys."""
