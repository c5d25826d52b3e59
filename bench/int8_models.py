"""The models that ``bench/int8.py`` quantizes, as float32 files, and inputs for them.

Weights are random and norms as training leaves them; but for the net of ``examples/digits``, which was
trained.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fp16_search import trained

EXAMPLE = Path(__file__).parents[1] / "examples" / "digits"
UNSEEN = 8
WORDS = 30522

Arrays = dict[str, np.ndarray[Any, Any]]

# ---- the models ----------------------------------------------------------------------------------


def resnet50() -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    return with_statistics(trained(ResNetForImageClassification(ResNetConfig(num_labels=1000))), 224)


def mobilenet_v2() -> Any:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(num_labels=1000)
    return with_statistics(trained(MobileNetV2ForImageClassification(config)), 224)


def vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    return trained(ViTForImageClassification(ViTConfig(num_labels=1000)))


def bert() -> Any:
    from transformers import BertConfig, BertModel

    return trained(BertModel(BertConfig()))


def small_resnet() -> Any:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        embedding_size=16, hidden_sizes=[32, 64], depths=[2, 2], num_labels=10, layer_type="bottleneck"
    )
    return with_statistics(trained(ResNetForImageClassification(config)), 64)


def small_mobilenet() -> Any:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(num_labels=10, depth_multiplier=0.35, image_size=64)
    return with_statistics(trained(MobileNetV2ForImageClassification(config)), 64)


def small_vit() -> Any:
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        image_size=64, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        num_labels=10,
    )  # fmt: skip
    return trained(ViTForImageClassification(config))


def small_bert() -> Any:
    from transformers import BertConfig, BertModel

    config = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128)
    return trained(BertModel(config))


def with_statistics(model: Any, size: int) -> Any:
    """The model with the means and variances that its norms find in some images, so that values stay of
    order one as in a trained net."""
    import torch

    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of what it sees
    rng = np.random.default_rng(0)
    model.train()
    with torch.no_grad():
        for _ in range(2):
            model(torch.from_numpy(np.concatenate([image(rng, size) for _ in range(4)])))
    return model.eval()


# ---- their inputs --------------------------------------------------------------------------------


def image(rng: np.random.Generator, size: int) -> np.ndarray[Any, Any]:
    """One of normal values in which neighbours are alike, as pixels are."""
    coarse = rng.normal(size=(1, 3, size // 16, size // 16)).repeat(16, -1).repeat(16, -2)
    return (coarse + 0.3 * rng.normal(size=(1, 3, size, size))).astype(np.float32)


def pixels(size: int) -> Callable[[np.random.Generator], Arrays]:
    return lambda rng: {"pixel_values": image(rng, size)}


def tokens(length: int) -> Callable[[np.random.Generator], Arrays]:
    def made(rng: np.random.Generator) -> Arrays:
        mask = (np.arange(length) < rng.integers(length // 2, length + 1)).astype(np.int64)
        return {"input_ids": rng.integers(0, WORDS, (1, length)), "attention_mask": mask[None]}

    return made


def pixels_of(size: int) -> str:
    return f"inputs: {{pixel_values: {{shape: [1, 3, {size}, {size}]}}}}\n"


def tokens_of(length: int) -> str:
    ids = f"{{shape: [1, {length}], dtype: int64, values: {{low: 0, high: {WORDS}}}}}"
    mask = f"{{shape: [1, {length}], dtype: int64, values: {{low: 1, high: 2}}}}"
    return f"inputs: {{input_ids: {ids}, attention_mask: {mask}}}\n"


@dataclass(frozen=True)
class Subject:
    """``inputs`` are lines of a recipe; without a ``sample`` it is the trained net of ``examples/digits``."""

    inputs: str
    sample: Callable[[np.random.Generator], Arrays] | None = None


DIGITS = "digits"
MODELS = {
    "resnet50": Subject(pixels_of(224), pixels(224)),
    "mobilenet_v2": Subject(pixels_of(224), pixels(224)),
    "vit": Subject(pixels_of(224), pixels(224)),
    "bert": Subject(tokens_of(128), tokens(128)),
    DIGITS: Subject(
        "inputs: {image: {shape: [batch, 1, 8, 8], values: {low: 0, high: 1}}}\n"
        "dynamic_axes: {batch: {min: 1, opt: 32, max: 512}}\n"
    ),
}
SMALL = {
    "small_resnet": Subject(pixels_of(64), pixels(64)),
    "small_mobilenet": Subject(pixels_of(64), pixels(64)),
    "small_vit": Subject(pixels_of(64), pixels(64)),
    "small_bert": Subject(tokens_of(32), tokens(32)),
}


# ---- laid out ------------------------------------------------------------------------------------


def lay_out(name: str, folder: Path, samples: int, subject: Subject | None = None) -> Path:
    """A model's float32 file, built and simplified; beside its folder ``calibration/`` and ``unseen/``, and
    ``labels.npy`` of the latter where there are some. ``subject`` are other inputs than its own."""
    subject = subject or (MODELS | SMALL)[name]
    if subject.sample is None:
        model = _trained_digits(folder)
    else:
        model = f"{{import: 'int8_models:{name}', seed: 0}}"
        for kind, count, seed in (("calibration", samples, 1), ("unseen", UNSEEN, 2)):
            (folder / kind).mkdir()
            rng = np.random.default_rng(seed)
            for number in range(count):
                np.savez(folder / kind / f"{number:04d}.npz", **subject.sample(rng))
    (folder / f"{name}.yaml").write_text(
        f"model: {model}\n{subject.inputs}precision: {{fp32: {{}}}}\nverify: {{samples: 2}}\n"
    )
    run(["-m", "modelbuild", "build", f"{name}.yaml", "--cache-dir", "cache", "--out", "out"], folder)
    (folder / "fp32").mkdir()
    for file in (folder / "out" / name).glob(f"{name}.fp32.onnx*"):
        os.link(file, folder / "fp32" / file.name)
    return folder / "fp32" / f"{name}.fp32.onnx"


def _trained_digits(folder: Path) -> str:
    """What a recipe names as the model, trained by the example's own script."""
    for file in EXAMPLE.glob("*.py"):
        shutil.copy(file, folder)
    run(["digits_train.py"], folder)
    (folder / "data/calibration").rename(folder / "calibration")
    (folder / "unseen").mkdir()
    (folder / "data/held_out.npz").rename(folder / "unseen/held_out.npz")
    (folder / "data/held_out_labels.npy").rename(folder / "labels.npy")
    return "{import: 'digits_net:DigitsNet', weights: data/weights.pt}"


def peak() -> float:
    """This process's peak of memory in MiB."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024


def run(arguments: list[str], folder: Path) -> str:
    """What Python printed, called with these arguments where modules of this folder are found.

    Raises:
        ChildError: it failed.
    """
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise ChildError(last_line(done.stderr))
    return done.stdout


class ChildError(Exception):
    """A process failed; its last line."""


def last_line(text: str) -> str:
    return text.strip().splitlines()[-1][:160] if text.strip() else "no word"
