"""Layers of PyTorch in each kind, small, with inputs: what simulated errors are held against.

PyTorch's half modules on a CPU store half between their own operators, which are not always those
of the file; where the errors differ by more than ``NEAR``, the layer says why.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modelbuild.graph import interface, opset
from modelbuild.graph.edges import with_numpy_edges
from modelbuild.graph.files import Model, numpy_dtype
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.graph.runtime import session
from modelbuild.graph.simulate import simulated
from modelbuild.graph.types import ELEM_TYPES

NEAR = 1.5


@dataclass(frozen=True)
class Layer:
    """``make`` gives a module and its inputs, out of PyTorch's seeded generator."""

    make: Callable[[], tuple[nn.Module, tuple[Tensor, ...]]]
    opset: int = 17
    dynamo: bool = False
    # What the simulated error may be as a multiple of PyTorch's, and why it is not nearly one.
    ratio: tuple[float, float] = (1 / NEAR, NEAR)
    why: str = ""


class Of(nn.Module):
    """A function of tensors and of the modules it uses."""

    def __init__(self, function: Callable[..., Tensor], *inner: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.inner = nn.ModuleList(inner)

    def forward(self, *x: Tensor) -> Tensor:
        return self.function(*x, *self.inner)


class RootMeanSquare(nn.Module):
    """RMSNorm as language models write it down."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(size) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


def _of(make: Callable[[], nn.Module], *shapes: tuple[int, ...], **more: object) -> Layer:
    return Layer(lambda: (make(), tuple(torch.randn(shape) for shape in shapes)), **more)  # type: ignore[arg-type]


def _function(function: Callable[..., Tensor], *shapes: tuple[int, ...], **more: object) -> Layer:
    return _of(lambda: Of(function), *(shapes or ((8, 64),)), **more)


def _attention(mask: Callable[[], Tensor] | None, **options: object) -> Layer:
    """Scaled dot product attention; opset 23 has a node for it."""

    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        def function(q: Tensor, k: Tensor, v: Tensor, m: Tensor | None = None) -> Tensor:
            return F.scaled_dot_product_attention(q, k, v, m, is_causal=bool(options.get("causal")))

        inputs = [torch.randn(2, 4, 10, 16) for _ in range(3)]
        return Of(function), (*inputs, *([mask()] if mask else []))

    if options.get("dynamo"):
        return Layer(make, 23, dynamo=True)
    return Layer(make)


def _multihead(masks: Callable[[], dict[str, Tensor]] = dict, **options: bool) -> Layer:
    def make() -> tuple[nn.Module, tuple[Tensor, ...]]:
        given = masks()

        def function(x: Tensor, *rest: object) -> Tensor:
            *tensors, module = rest
            return module(x, x, x, **dict(zip(given, tensors, strict=True)), **options)[0]  # type: ignore[operator]

        return Of(function, nn.MultiheadAttention(32, 4, batch_first=True)), (
            torch.randn(2, 10, 32),
            *given.values(),
        )

    return Layer(make)


def _recurrent(kind: type[nn.RNNBase], times: int, **options: object) -> Layer:
    def make() -> nn.Module:
        return Of(lambda x, m: m(x)[0], kind(32, 48, batch_first=True, **options))  # type: ignore[arg-type]

    return _of(make, (2, times, 32))


def _resized(**options: object) -> Callable[[Tensor], Tensor]:
    return lambda x: F.interpolate(x, **options)  # type: ignore[arg-type]


def _mask() -> Tensor:
    return torch.rand(10, 10) > 0.3


def _padding() -> Tensor:
    padding = torch.zeros(2, 10, dtype=torch.bool)
    padding[1, 6:] = True
    return padding


def _indices(count: int, *shape: int) -> Tensor:
    return torch.randint(0, count, shape)


IMAGE = (2, 8, 12, 12)
OVERLAPPING = "PyTorch adds overlapping windows up in half"
DECOMPOSED = "a decomposition in the file, which stores what PyTorch's kernel keeps in float32"

LAYERS: dict[str, Layer] = {
    # convolutions
    "conv-1d": _of(lambda: nn.Conv1d(8, 16, 3), (2, 8, 40)),
    "conv": _of(lambda: nn.Conv2d(8, 16, 3, padding=1), IMAGE),
    "conv-3d": _of(lambda: nn.Conv3d(3, 8, 3), (1, 3, 8, 8, 8)),
    "conv-depthwise": _of(lambda: nn.Conv2d(8, 8, 3, groups=8), IMAGE),
    "conv-norm-relu": _of(lambda: nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8), nn.ReLU()), IMAGE),
    "conv-transpose-1d": _of(
        lambda: nn.ConvTranspose1d(8, 4, 4, stride=2), (2, 8, 20), ratio=(0.5, 1.1), why=OVERLAPPING
    ),
    "conv-transpose": _of(
        lambda: nn.ConvTranspose2d(8, 4, 3, stride=2), IMAGE, ratio=(0.5, 1.1), why=OVERLAPPING
    ),
    # products
    "linear": _of(lambda: nn.Linear(256, 128), (8, 256)),
    "linear-of-sequences": _of(lambda: nn.Linear(256, 128), (2, 8, 256)),
    "matmul": _function(lambda a, b: a @ b, (4, 16, 64), (4, 64, 16)),
    "einsum": _function(lambda a, b: torch.einsum("bij,bkj->bik", a, b), (4, 16, 64), (4, 16, 64)),
    "baddbmm": _function(torch.baddbmm, (4, 16, 16), (4, 16, 64), (4, 64, 16)),
    # normalisations
    "batch-norm-1d": _of(lambda: nn.BatchNorm1d(16), (8, 16)),
    "batch-norm": _of(lambda: nn.BatchNorm2d(8), IMAGE),
    "layer-norm": _of(lambda: nn.LayerNorm(64), (16, 64)),
    "layer-norm-of-images": _of(lambda: nn.LayerNorm((12, 12)), IMAGE),
    "group-norm": _of(lambda: nn.GroupNorm(4, 8), IMAGE),
    "instance-norm": _of(lambda: nn.InstanceNorm2d(8, affine=True), IMAGE),
    "rms-norm": _of(lambda: nn.RMSNorm(64), (16, 64), opset=23, dynamo=True),
    "rms-norm-in-pieces": _of(lambda: RootMeanSquare(64), (16, 64)),
    "l2-norm": _function(lambda x: F.normalize(x, dim=-1)),
    # attention
    "attention-in-pieces": _of(
        lambda: Of(
            lambda x, q, k, v: (q(x) @ k(x).transpose(-1, -2) / 4.0).softmax(-1) @ v(x),
            *(nn.Linear(16, 16) for _ in range(3)),
        ),
        (2, 10, 16),
    ),
    "sdpa": _attention(None),
    "sdpa-causal": _attention(None, causal=True),
    "sdpa-boolean-mask": _attention(_mask),
    "sdpa-float-mask": _attention(lambda: torch.randn(10, 10)),
    "sdpa-as-one-node": _attention(_mask, dynamo=True),
    "multihead": _multihead(),
    "multihead-without-weights": _multihead(need_weights=False),
    "multihead-causal-mask": _multihead(lambda: {"attn_mask": ~torch.ones(10, 10, dtype=torch.bool).tril()}),
    "multihead-padding-mask": _multihead(lambda: {"key_padding_mask": _padding()}),
    "encoder-layer": _of(
        lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (2, 10, 32), opset=18, dynamo=True
    ),
    # recurrent
    "lstm": _recurrent(nn.LSTM, 12),
    "lstm-long": _recurrent(nn.LSTM, 200),
    "lstm-in-both-directions": _recurrent(nn.LSTM, 30, bidirectional=True, num_layers=2),
    "gru": _recurrent(nn.GRU, 12),
    "gru-long": _recurrent(nn.GRU, 200),
    "gru-in-both-directions": _recurrent(nn.GRU, 30, bidirectional=True),
    "rnn": _recurrent(nn.RNN, 30),
    # interpolation
    "nearest": _function(_resized(scale_factor=2), (1, 4, 7, 7)),
    "linear-interpolation": _function(_resized(scale_factor=2, mode="linear"), (1, 4, 17)),
    "bilinear": _function(_resized(scale_factor=2, mode="bilinear"), (1, 4, 7, 7)),
    "bilinear-to-a-size": _function(_resized(size=(17, 13), mode="bilinear"), (1, 4, 7, 7)),
    "bilinear-corners": _function(
        _resized(size=(17, 13), mode="bilinear", align_corners=True), (1, 4, 7, 7)
    ),
    "bicubic": _function(_resized(scale_factor=2, mode="bicubic"), (1, 4, 7, 7)),
    "grid-sample": Layer(
        lambda: (
            Of(lambda x, g: F.grid_sample(x, g, align_corners=False)),
            (torch.randn(1, 4, 7, 7), torch.rand(1, 9, 9, 2) * 2 - 1),
        ),
        ratio=(0.2, 1.0),
        why="PyTorch computes the places to look at in half, too; they are no tensors of the file",
    ),
    # pooling
    "max-pool": _of(lambda: nn.MaxPool2d(2), IMAGE),
    "average-pool": _of(lambda: nn.AvgPool2d(3, 2), IMAGE),
    "adaptive-average-pool": _of(lambda: nn.AdaptiveAvgPool2d(1), IMAGE),
    "adaptive-average-pool-to-3": _of(lambda: nn.AdaptiveAvgPool2d(3), IMAGE),
    "adaptive-max-pool": _of(lambda: nn.AdaptiveMaxPool2d(1), IMAGE),
    "lp-pool": _of(lambda: nn.LPPool2d(2, 3), IMAGE),
    # reductions
    "sum": _function(lambda x: x.sum(-1), (16, 300)),
    "mean": _function(lambda x: x.mean(-1), (16, 300)),
    "mean-of-images": _function(lambda x: x.mean((2, 3)), IMAGE),
    "variance": _function(lambda x: x.var(-1), (64, 300), ratio=(0.9, 3.0), why=DECOMPOSED),
    "standard-deviation": _function(
        lambda x: x.std(-1), (64, 300), ratio=(0.9, 3.0), why=DECOMPOSED
    ),
    "logsumexp": _function(
        lambda x: x.logsumexp(-1), (64, 300), ratio=(0.5, 1.1), why="one node; PyTorch takes four operators"
    ),
    "softmax": _function(lambda x: x.softmax(-1), (8, 300)),
    "log-softmax": _function(lambda x: x.log_softmax(-1), (8, 300)),
    "l1": _function(lambda x: x.norm(p=1, dim=-1), (16, 300)),
    "l2": _function(lambda x: x.norm(dim=-1), (16, 300)),
    "largest": _function(lambda x: x.amax(-1), (16, 300)),
    "product": _function(lambda x: (x * 0.1 + 1).prod(-1), (64, 6)),
    "cumulative-sum": _function(lambda x: x.cumsum(-1), (8, 300)),
    # embedding
    "embedding": Layer(lambda: (nn.Embedding(50, 64), (_indices(50, 4, 9),))),
    "embedding-and-norm": Layer(
        lambda: (nn.Sequential(nn.Embedding(50, 64), nn.LayerNorm(64)), (_indices(50, 4, 9),))
    ),
    "embedding-bag": Layer(lambda: (nn.EmbeddingBag(50, 64, mode="mean"), (_indices(50, 4, 9),))),
    # elementwise
    "add": _function(lambda a, b: a + b, (8, 64), (8, 64)),
    "multiply": _function(lambda a, b: a * b, (8, 64), (8, 64)),
    "divide": _function(lambda a, b: a / (b.abs() + 1), (8, 64), (8, 64)),
    "scale-and-shift": _function(lambda x: x * 0.1 + 0.3),
    "exp": _function(torch.exp),
    "log": _function(lambda x: torch.log(x.abs() + 1)),
    "square-root": _function(lambda x: x.abs().sqrt()),
    "inverse-root": _function(
        lambda x: torch.rsqrt(x.abs() + 1), ratio=(1.0, 1.8), why=DECOMPOSED
    ),
    "power": _function(lambda x: x.abs() ** 1.7),
    "sine-and-cosine": _function(lambda x: x.sin() * x.cos()),
    "error-function": _function(torch.erf),
    "sigmoid": _of(nn.Sigmoid, (8, 64)),
    "tanh": _of(nn.Tanh, (8, 64)),
    "gelu": _of(nn.GELU, (8, 64)),
    "gelu-tanh": _of(lambda: nn.GELU("tanh"), (8, 64)),
    "silu": _of(nn.SiLU, (8, 64)),
    "mish": _of(nn.Mish, (8, 64)),
    "hardswish": _of(nn.Hardswish, (8, 64)),
    "hardsigmoid": _of(nn.Hardsigmoid, (8, 64)),
    "elu": _of(nn.ELU, (8, 64)),
    "selu": _of(nn.SELU, (8, 64)),
    "softplus": _of(nn.Softplus, (8, 64)),
    "softsign": _of(nn.Softsign, (8, 64)),
    "leaky-relu": _of(lambda: nn.LeakyReLU(0.1), (8, 64)),
    "prelu": _of(lambda: nn.PReLU(8), (4, 8, 50)),
    "relu": _of(nn.ReLU, (8, 64)),
    "gated": _of(nn.GLU, (8, 64)),
    "clamp": _function(lambda x: x.clamp(-0.333, 0.777)),
    "where": _function(lambda a, b: torch.where(a > b, a, b), (8, 64), (8, 64)),
    "masked-fill": Layer(
        lambda: (Of(lambda x, m: x.masked_fill(m, 0.3)), (torch.randn(8, 64), torch.rand(8, 64) > 0.5))
    ),
    # what only moves values
    "pixel-shuffle": _of(lambda: nn.PixelShuffle(2), IMAGE),
    "unfold": _of(lambda: nn.Unfold(3), IMAGE),
    "reflection-pad": _of(lambda: nn.ReflectionPad2d(2), IMAGE),
    "top-k": _function(lambda x: x.topk(5)[0]),
    "gather": Layer(lambda: (Of(lambda x, i: x.gather(1, i)), (torch.randn(8, 64), _indices(64, 8, 5)))),
    "scatter-add": Layer(
        lambda: (
            Of(lambda x, i, s: x.scatter_add(1, i, s)),
            (torch.randn(8, 64), _indices(64, 8, 25), torch.randn(8, 25)),
        )
    ),
    # several
    "feed-forward": _of(
        lambda: nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64), nn.LayerNorm(64)), (8, 64)
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A layer's graph in half, with inputs for it, and what PyTorch computes in float32 and in half."""

    model: Model
    feeds: dict[str, np.ndarray]
    exact: np.ndarray
    true: np.ndarray

    def error(self, found: np.ndarray, reference: np.ndarray | None = None) -> float:
        """Relative L2, against PyTorch in float32."""
        wanted = self.exact if reference is None else reference.astype(np.float32)
        difference = found.astype(np.float32) - wanted
        return float(np.linalg.norm(difference) / np.linalg.norm(self.exact))

    def simulated(self) -> np.ndarray:
        (found,) = session(simulated(self.model)).run(None, self.feeds)
        return np.asarray(found, np.float32)


def case(layer: Layer, precision: str = "fp16") -> Case:
    """The layer in half, all of it: no operator is kept in float32."""
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    module, inputs = made(layer)
    model = Model(exported(layer, module, inputs))
    exact = computed(module, inputs)
    halves = tuple(x.to(half) if x.is_floating_point() else x for x in inputs)
    true = computed(module.to(half), halves)
    options = HalfOptions(keep_io_types=False, op_block_list=(), dtype=ELEM_TYPES[precision])
    if precision == "bf16":
        model, _ = opset.raised(model, options.dtype, options.blocks())
    model = with_numpy_edges(convert(model, options)[0])
    ports = interface.inputs(model)
    feeds = {p.name: x.numpy().astype(numpy_dtype(p.dtype)) for p, x in zip(ports, inputs, strict=True)}
    return Case(model, feeds, exact, true)


def made(layer: Layer) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The layer and its inputs, the same ones every time."""
    torch.manual_seed(0)
    module, inputs = layer.make()
    return module.eval(), inputs


def exported(layer: Layer, module: nn.Module, inputs: tuple[Tensor, ...]) -> onnx.ModelProto:
    """The layer's float32 graph."""
    with torch.no_grad(), _one_operator_at_a_time(), _quiet():
        if layer.dynamo:
            program = torch.onnx.export(module, inputs, dynamo=True, opset_version=layer.opset)
            return program.model_proto  # type: ignore[union-attr, no-any-return]
        buffer = io.BytesIO()
        torch.onnx.export(module, inputs, buffer, dynamo=False, opset_version=layer.opset)  # type: ignore[arg-type]
        return onnx.load_from_string(buffer.getvalue())


def computed(module: nn.Module, inputs: tuple[Tensor, ...]) -> np.ndarray:
    """What PyTorch computes, in the type of the module's weights."""
    with torch.no_grad(), _one_operator_at_a_time():
        return module(*inputs).float().numpy()  # type: ignore[no-any-return]


@contextlib.contextmanager
def _one_operator_at_a_time() -> Iterator[None]:
    """Without PyTorch's fused kernels, which store less than the file does or have no exporter."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a GPU that is not there
            with torch.backends.mkldnn.flags(enabled=False):
                yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
