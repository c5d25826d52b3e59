"""The mixed-precision search beside onnxconverter-common's, on the same float32 files.

For each model and tolerance (relative L2) both look for nodes to keep in fp32: modelbuild as
``modelbuild build`` with ``method: mixed``, the float32 file and PyTorch's outputs being cached, so
that its time holds the start of the command, the conversion, the search and the proof;
``auto_convert_mixed_precision`` in a process that loads the file and calls it, with a time limit.
Both results are then judged alike: by the simulation, on inputs that neither has seen, and by the
nodes that compute in fp32 (a Reshape or Transpose computes nothing).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

IDS = "dtype: int64, values: {low: 0, high: %d}"
MODELS = {
    "resnet50": ("resnet50", "{pixel_values: {shape: [1, 3, 224, 224]}}"),
    "bert": (
        "bert",
        f"{{input_ids: {{shape: [1, 32], {IDS % 30522}}},"
        " attention_mask: {shape: [1, 32], dtype: int64, values: {low: 1, high: 2}}}",
    ),
    # Without the pooler, whose use of an output of the model makes the other side's files unloadable.
    "encoder": ("encoder", f"{{input_ids: {{shape: [1, 32], {IDS % 30522}}}}}"),
    "vit": ("vit", "{pixel_values: {shape: [1, 3, 224, 224]}}"),
    "rms": ("rms_transformer", f"{{input_ids: {{shape: [1, 32], {IDS % 4000}}}}}"),
}
# Each above what rounding the weights alone costs and below what the plain conversion gives; for the
# encoder and the ViT also below what the plain file shows on a CPU, so that the other side has to
# search. The ResNet's second is below the cost of rounding the weights, unless some stay as they are. In
# the Llama-like model three channels dwarf the others, which have to hold the tolerance by themselves.
TOLERANCES = {
    "resnet50": (5.7e-4, 4.5e-4),
    "bert": (1.3e-3,),
    "encoder": (1.3e-3,),
    "vit": (8.0e-4,),
    "rms": (1.0e-2, 1.0e-3),
}
LIMIT = 300.0


def trained(model: Any) -> Any:
    """The model with norms and biases that differ from each other, as training leaves them."""
    import torch

    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter += 0.1 * torch.randn(parameter.shape)
    return model


def resnet50() -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    return trained(ResNetForImageClassification(ResNetConfig(num_labels=1000)))


def bert() -> Any:
    from transformers import BertConfig, BertModel

    return trained(BertModel(BertConfig()))


def encoder() -> Any:
    """A BERT-base that takes ids and gives its last hidden state."""
    import torch
    from transformers import BertConfig, BertModel

    class Encoder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bert = BertModel(BertConfig(), add_pooling_layer=False)

        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.bert(input_ids).last_hidden_state

    return trained(Encoder())


def vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    return trained(ViTForImageClassification(ViTConfig(num_labels=1000)))


def rms_transformer() -> Any:
    """A small Llama with three channels of large activations, as trained ones have: squares overflow."""
    import torch
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=4000, hidden_size=512, intermediate_size=1408, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=8, use_cache=False,
    )  # fmt: skip
    model = trained(LlamaModel(config))
    with torch.no_grad():
        model.embed_tokens.weight[:, [7, 100, 300]] *= 20000
    return model


@dataclass(frozen=True)
class Found:
    """One side's answer. ``error`` is over the tolerance, by the simulation: at most 1 holds."""

    seconds: float
    kept: int | None = None  # nodes that compute in fp32; None: no file
    nodes: int = 0  # all that compute with floats
    error: float | None = None
    said: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"of {', '.join(MODELS)}; all by default")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds for the other side")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--theirs", nargs=3, metavar=("FILE", "TOLERANCE", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.theirs:
        return theirs(*options.theirs)
    if unknown := set(options.models) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    rows: list[dict[str, Any]] = []
    for model in options.models or MODELS:
        with tempfile.TemporaryDirectory() as folder:
            for tolerance in TOLERANCES[model]:
                row = compare(model, tolerance, Path(folder), options.limit)
                rows.append(row)
                print(described(row), flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    wrong = [r for r in rows if r["ours"]["kept"] is not None and r["ours"]["error"] > 1]
    print(f"{len(rows)} searches; {len(wrong)} results of modelbuild's break the tolerance")
    return int(bool(wrong))


def compare(model: str, tolerance: float, folder: Path, limit: float) -> dict[str, Any]:
    source, inputs = MODELS[model]
    common = f"model: {{import: 'fp16_search:{source}'}}\ninputs: {inputs}\nverify: {{samples: 10}}\n"
    recipe = folder / f"{model}.yaml"
    recipe.write_text(common + "precision: {fp32: {}}\n")
    build(recipe, folder)
    fp32 = folder / "out" / model / f"{model}.fp32.onnx"
    recipe.write_text(
        common
        + f"precision: {{fp32: {{}}, fp16: {{method: mixed, tolerance: {{relative_l2: {tolerance}}}}}}}\n"
    )
    start = time.perf_counter()
    answer = build(recipe, folder)
    seconds = time.perf_counter() - start
    artifact = next(a for a in answer["recipes"][0]["artifacts"] if a["precision"] == "fp16")
    if artifact["path"]:
        ours = judged(fp32, folder / artifact["path"], tolerance, seconds)
    else:
        told = next(d["message"] for d in artifact["diagnostics"] if d["level"] == "error")
        ours = Found(seconds, said=told)
    return {
        "model": model,
        "tolerance": tolerance,
        "plain": plain(fp32, tolerance),
        "ours": asdict(ours),
        "theirs": asdict(run_theirs(fp32, tolerance, folder / "theirs.onnx", limit)),
    }


def build(recipe: Path, folder: Path) -> dict[str, Any]:
    """``modelbuild build`` in a process of its own; its JSON answer."""
    command = [sys.executable, "-m", "modelbuild", "build", recipe.name, "--format", "json"]
    command += ["--cache-dir", "cache", "--out", "out"]
    environment = {**__import__("os").environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr[-2000:])
    return dict(json.loads(done.stdout))


# ---- the other side ----------------------------------------------------------------------------


def run_theirs(fp32: Path, tolerance: float, out: Path, limit: float) -> Found:
    """``auto_convert_mixed_precision`` in a process of its own."""
    out.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--theirs", str(fp32), str(tolerance), str(out)]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired as stop:
        said = (stop.stdout or b"").decode() if isinstance(stop.stdout, bytes) else (stop.stdout or "")
        attempts = said.count("Running attempt")
        return Found(limit, said=f"no result within {limit:.0f} s, {attempts} attempts")
    seconds = time.perf_counter() - start
    if done.returncode or not out.is_file():
        last = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}"
        return Found(seconds, said=last[:160])
    return judged(fp32, out, tolerance, seconds)


def theirs(file: str, tolerance: str, out: str) -> int:
    import numpy as np
    import onnx
    from onnxconverter_common.auto_mixed_precision import auto_convert_mixed_precision

    limit = float(tolerance)

    def holds(reference: list[Any], candidate: list[Any]) -> bool:
        return all(
            bool(np.isfinite(c).all())
            and np.linalg.norm(r.astype("d") - c) <= limit * np.linalg.norm(r.astype("d"))
            for r, c in zip(reference, candidate, strict=True)
        )

    told = io.StringIO()
    shown = sys.stdout

    class Attempts(io.TextIOBase):
        """The names of the nodes it prints would be megabytes; its attempts are not."""

        def write(self, text: str) -> int:
            if text.startswith("Running attempt"):
                print(text.strip(), file=shown, flush=True)
            return len(text)

    with contextlib.redirect_stdout(Attempts()), contextlib.redirect_stderr(told):
        model = unshared(onnx.load(file))
        made = auto_convert_mixed_precision(model, feeds(Path(file), 0), holds, keep_io_types=True)
    onnx.save(made, out)
    return 0


def unshared(model: Any) -> Any:
    """The model with a copy of each weight for each node that reads it.

    A kindness: the conversion writes files that do not load where a node that stays in fp32 and one
    that does not read the same weight, be it the 0.5 of two GELUs.
    """
    readers: dict[str, int] = {}
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name not in tensors:
                continue
            readers[name] = readers.get(name, 0) + 1
            if readers[name] > 1:
                copy = model.graph.initializer.add()
                copy.CopyFrom(tensors[name])
                copy.name = node.input[index] = f"{name}_copy_{readers[name]}"
    return model


# ---- the judge ---------------------------------------------------------------------------------


def feeds(file: Path, seed: int) -> dict[str, Any]:
    """Random inputs as the recipe makes them."""
    import numpy as np
    import onnx
    import yaml

    rng = np.random.default_rng(seed)
    inputs = yaml.safe_load(MODELS[file.name.partition(".")[0]][1])
    made = {}
    for value in onnx.load(str(file), load_external_data=False).graph.input:
        spec = inputs[value.name]
        if spec.get("dtype") == "int64":
            made[value.name] = rng.integers(spec["values"]["low"], spec["values"]["high"], spec["shape"])
        else:
            made[value.name] = rng.normal(size=spec["shape"]).astype(np.float32)
    return made


def error(fp32: Path, half: Any, tolerance: float) -> float:
    """The largest relative L2 over three unseen inputs and all outputs, over the tolerance."""
    import numpy as np

    from modelbuild.graph import files, runtime, simulate

    reference = runtime.session(files.read(fp32))
    rounded = runtime.session(simulate.simulated(half))
    worst = 0.0
    for seed in (101, 102, 103):
        given = feeds(fp32, seed)
        for want, got in zip(reference.run(None, given), rounded.run(None, given), strict=True):
            exact = want.astype(np.float64)
            off = float(np.linalg.norm(got - exact) / np.linalg.norm(exact))
            worst = max(worst, off if np.isfinite(off) else float("inf"))
    return worst / tolerance


def judged(fp32: Path, file: Path, tolerance: float, seconds: float) -> Found:
    from modelbuild.graph import files
    from modelbuild.inspection import inspect_file

    half = inspect_file(file)
    share = half["half"]
    nodes = share["nodes"]["all"] if share else 0
    kept = nodes - share["nodes"]["half"] if share else nodes
    return Found(seconds, kept, nodes, error(fp32, files.read(file), tolerance))


def plain(fp32: Path, tolerance: float) -> float:
    """What the plain conversion gives, over the tolerance."""
    from modelbuild.graph import files
    from modelbuild.graph.precision import HalfOptions, convert

    half, _ = convert(files.read(fp32), HalfOptions())
    return error(fp32, half, tolerance)


def described(row: dict[str, Any]) -> str:
    ours, other = row["ours"], row["theirs"]
    ratio = other["seconds"] / ours["seconds"]
    return "\n".join([
        f"{row['model']}, relative L2 {row['tolerance']:g} (plain conversion: {row['plain']:.2f} of it)",
        f"  modelbuild            {side(ours)}",
        f"  onnxconverter-common  {side(other)}",
        f"  time x{ratio:.1f}",
    ])  # fmt: skip


def side(found: dict[str, Any]) -> str:
    if found["kept"] is None:
        return f"{found['seconds']:6.1f} s  {found['said']}"
    verdict = "holds" if found["error"] <= 1 else "DOES NOT HOLD"
    return (
        f"{found['seconds']:6.1f} s  {found['kept']} of {found['nodes']} nodes in fp32, "
        f"error {found['error']:.2f} of the tolerance: {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
