"""What an engineer writes without modelbuild: the other side of ``cold_build.py``.

    python by_hand.py resnet50|bert FOLDER

Exports a model, simplifies it, converts it to fp16, pins the batch to 1, and compares each of the
three files with PyTorch at several sizes. It has no cache and no child processes, reports nothing,
and judges fp16 on ONNX Runtime's CPU run; it is meant to be fast and short, not complete.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
import onnxruntime as ort
import onnxsim
import torch
from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_dim_param_fixed
from onnxruntime.transformers.float16 import convert_float_to_float16

which, folder = sys.argv[1], sys.argv[2]
torch.manual_seed(0)
rng = np.random.default_rng(0)

if which == "resnet50":
    from transformers import ResNetConfig, ResNetForImageClassification

    model = ResNetForImageClassification(ResNetConfig()).eval()

    def make(batch):
        return {"pixel_values": rng.normal(size=(batch, 3, 224, 224)).astype("float32")}

    sizes = [{"batch": b} for b in (1, 3, 4, 8)]
    traced = {"batch": 4}
    dims = {"pixel_values": {0: "batch"}}
else:
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig()).eval()

    def make(batch, sequence):
        return {
            "input_ids": rng.integers(0, 30522, (batch, sequence)),
            "attention_mask": np.ones((batch, sequence), "int64"),
        }

    sizes = [{"batch": b, "sequence": s} for b, s in ((1, 16), (3, 65), (4, 64), (8, 128))]
    traced = {"batch": 4, "sequence": 64}
    dims = {name: {0: "batch", 1: "sequence"} for name in ("input_ids", "attention_mask")}

# Export and simplify.
path = f"{folder}/{which}.fp32.onnx"
example = {name: torch.from_numpy(value) for name, value in make(**traced).items()}
with torch.no_grad():
    torch.onnx.export(
        model, (), path, kwargs=example, dynamo=True, opset_version=18, input_names=list(example),
        dynamic_shapes=dims, external_data=False, verbose=False,
    )  # fmt: skip
simple, ok = onnxsim.simplify(onnx.load(path))
assert ok
onnx.checker.check_model(simple, full_check=True)
onnx.save(simple, path)

# fp16, and batch 1.
onnx.save(convert_float_to_float16(simple, keep_io_types=True), f"{folder}/{which}.fp16.onnx")
fixed = onnx.load(path)
make_dim_param_fixed(fixed.graph, "batch", 1)
fix_output_shapes(fixed)
fixed, ok = onnxsim.simplify(fixed)
onnx.save(fixed, f"{folder}/{which}.fp32.batch1.onnx")

# Compare all of them with one run of PyTorch per input.
inputs = [make(**size) for size in sizes for _ in range(2)]
with torch.no_grad():
    wanted = [
        model(**{name: torch.from_numpy(value) for name, value in given.items()})[0].numpy()
        for given in inputs
    ]
ort.set_default_logger_severity(3)
for name, limit in (("fp32", 1e-4), ("fp16", 2e-2), ("fp32.batch1", 1e-4)):
    session = ort.InferenceSession(f"{folder}/{which}.{name}.onnx", providers=["CPUExecutionProvider"])
    for given, want in zip(inputs, wanted, strict=True):
        if name.endswith("batch1") and len(want) != 1:
            continue
        got = session.run(None, given)[0]
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert error < limit, (name, error)
