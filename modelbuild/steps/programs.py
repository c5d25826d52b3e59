"""Programs of torch.export in words that its ONNX exporter knows.

Some operators have no translation for the types that they come with, while others that compute the
same have one. They are exchanged in the program, before it is decomposed and translated.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

# These move the elements of a tensor and compute nothing. The exporter translates the second line for
# complex tensors itself; where all of a model's are of those, nothing is exchanged.
_MOVES = frozenset({
    "alias", "broadcast_to", "contiguous", "detach", "expand", "flatten", "gather", "index", "index_select",
    "movedim", "narrow", "repeat", "reshape", "select", "squeeze", "swapaxes", "tile", "unflatten",
    "unsqueeze",
})  # fmt: skip
_KNOWN_MOVES = frozenset({"clone", "permute", "slice", "transpose", "view"})
# These are a product of two tensors, linear in each.
_PRODUCTS = frozenset({"bmm", "einsum", "mm", "outer"})
_KNOWN_PRODUCTS = frozenset({"mul", "matmul"})
_PADS = frozenset({"pad", "constant_pad_nd"})
# These take a spectrum that is cut off or filled up with zeros where another size is asked for.
_INVERSE = frozenset({"fft_irfft"})
_WRITES = frozenset({"copy_"})


@contextmanager
def reworded() -> Iterator[None]:
    """Every program that torch.export makes inside is reworded."""
    import torch

    real = torch.export.export

    def export(*args: Any, **kwargs: Any) -> Any:
        program = real(*args, **kwargs)
        reword(program.graph_module)
        return program

    torch.export.export = export
    try:
        yield
    finally:
        torch.export.export = real


def reword(module: torch.fx.GraphModule) -> None:
    """Exchange what is named above, in place."""
    places = [_Place(module, n) for n in module.graph.nodes if n.op == "call_function"]
    changed = _reworded(places, [_scalar_minus_integers, _convolution_per_sample])
    known = _MOVES | _PRODUCTS | _PADS | _INVERSE | _WRITES
    if any(p.name in known and p.takes_complex() for p in places):
        changed += _reworded(places, [_written_complex])  # first: what is written to must not be moved
        places = [_Place(module, n) for n in module.graph.nodes if n.op == "call_function"]
        if not any(p.writes() and p.takes_complex() for p in places):
            rules = [_moved_complex, _complex_product, _complex_sum, _pairs, _whole_spectrum]
            changed += _reworded(places, rules)
    if changed:
        module.graph.eliminate_dead_code()
        module.graph.lint()
        module.recompile()


def _reworded(places: Sequence[_Place], rules: Sequence[Callable[[_Place], bool]]) -> int:
    """How many of these places a rule exchanged; the first that fits does."""
    return sum(any(rule(place) for rule in rules) for place in places)


class _Place:
    """A node that may be replaced, and how to write others before it."""

    def __init__(self, module: torch.fx.GraphModule, node: torch.fx.Node) -> None:
        self.module = module
        self.node: Any = node  # whose arguments are typed as anything that a graph may hold

    @property
    def name(self) -> str:
        """``unsqueeze`` for ``aten.unsqueeze.default``; empty for what is not of PyTorch's core."""
        schema = getattr(self.node.target, "_schema", None)
        space, _, name = (schema.name if schema else "").partition("::")
        return name if space == "aten" else ""

    def writes(self) -> bool:
        """Whether it changes what it is given."""
        schema = getattr(self.node.target, "_schema", None)
        return schema is not None and schema.is_mutable

    def value(self, node: Any) -> Any:
        """What the node gives, without its numbers."""
        return node.meta.get("val") if hasattr(node, "meta") else node

    def size(self, node: Any, axis: int) -> Any:
        """The size of an axis: a number, or a node that asks for it."""
        import torch

        known = self.value(node).shape[axis]
        return known if isinstance(known, int) else self.call(torch.ops.aten.sym_size.int, node, axis)

    def is_complex(self, node: Any) -> bool:
        import torch

        value = self.value(node)
        return isinstance(value, torch.Tensor) and value.is_complex()

    def takes_complex(self) -> bool:
        return any(self.is_complex(n) for n in self.node.all_input_nodes)

    def call(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> torch.fx.Node:
        """A new node before this one."""
        import torch
        from torch.utils._pytree import tree_map

        with self.module.graph.inserting_before(self.node):
            made = self.module.graph.call_function(target, args, kwargs)
        values = tree_map(self.value, (args, kwargs))
        fake = self.value(self.node).fake_mode
        # What is asked of sizes here must not become an assumption of the program.
        with torch.no_grad(), fake, fake.shape_env.suppress_guards():
            made.meta["val"] = target(*values[0], **values[1])
        for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn"):
            if key in self.node.meta:
                made.meta[key] = self.node.meta[key]
        return made

    def replace(self, made: torch.fx.Node) -> bool:
        self.node.replace_all_uses_with(made)
        self.module.graph.erase_node(self.node)
        return True

    def parts(self, node: Any) -> tuple[torch.fx.Node, torch.fx.Node]:
        """The real and the imaginary part, as real tensors."""
        import torch

        aten = torch.ops.aten
        if node.target is aten.complex.default:
            real, imaginary = node.args
            return real, imaginary
        if node.target is aten.polar.default:
            size, angle = node.args
            cosine, sine = self.call(aten.cos.default, angle), self.call(aten.sin.default, angle)
            return self.call(aten.mul.Tensor, size, cosine), self.call(aten.mul.Tensor, size, sine)
        if node.target is aten.view_as_complex.default:
            (pairs,) = node.args
            return self.call(aten.select.int, pairs, -1, 0), self.call(aten.select.int, pairs, -1, 1)
        if node.target is aten.zeros.default:
            zeros = self.call(
                node.target, *node.args, **{**node.kwargs, "dtype": self.value(node).real.dtype}
            )
            return zeros, zeros
        if node.target is aten.zeros_like.default and self.is_complex(node.args[0]):
            zeros = self.call(node.target, self.parts(node.args[0])[0])
            return zeros, zeros
        pairs = self.call(aten.view_as_real.default, node)
        return self.call(aten.select.int, pairs, -1, 0), self.call(aten.select.int, pairs, -1, 1)


def _scalar_minus_integers(at: _Place) -> bool:
    """``1.0 - mask``: the exporter's own promotion of types puts the number first, where none may be."""
    import torch

    if at.node.target is not torch.ops.aten.rsub.Scalar:
        return False
    tensor, number, *rest = at.node.args
    given, gives = at.value(tensor), at.value(at.node)
    if given.dtype == gives.dtype:
        return False
    raised = at.call(torch.ops.aten.to.dtype, tensor, gives.dtype)
    return at.replace(at.call(torch.ops.aten.rsub.Scalar, raised, number, *rest))


def _moved_complex(at: _Place) -> bool:
    """A complex tensor is moved as its real and its imaginary part."""
    import torch

    given = [a for a in at.node.args if isinstance(a, torch.fx.Node) and at.is_complex(a)]
    moved = at.name in _MOVES | _KNOWN_MOVES or (at.name in _PADS and not _filling(at.node))
    if not moved or given != [at.node.args[0]] or not at.is_complex(at.node):
        return False
    real, imaginary = (
        at.call(at.node.target, part, *at.node.args[1:], **at.node.kwargs) for part in at.parts(given[0])
    )
    return at.replace(at.call(torch.ops.aten.complex.default, real, imaginary))


def _filling(node: torch.fx.Node) -> bool:
    """Whether a padding writes anything but zeros."""
    rest = [*node.args[2:], *node.kwargs.values()]
    return any(value not in ("constant", None, 0) for value in rest)


def _complex_product(at: _Place) -> bool:
    """(a + bi)(c + di) is four real products; a real factor has no imaginary part."""
    import torch

    aten = torch.ops.aten
    einsum = at.name == "einsum"
    if at.name not in _PRODUCTS | _KNOWN_PRODUCTS or not at.is_complex(at.node) or at.node.kwargs.get("path"):
        return False
    factors: Sequence[Any] = at.node.args[1] if einsum else at.node.args
    if len(factors) != 2 or any(isinstance(f, complex) for f in factors):
        return False

    def product(one: Any, other: Any) -> torch.fx.Node:
        args = (at.node.args[0], [one, other]) if einsum else (one, other)
        return at.call(at.node.target, *args)

    (a, b), (c, d) = (at.parts(f) if at.is_complex(f) else (f, None) for f in factors)
    real = product(a, c)
    if b is not None and d is not None:
        real = at.call(aten.sub.Tensor, real, product(b, d))
        imaginary = at.call(aten.add.Tensor, product(a, d), product(b, c))
    else:
        imaginary = product(a, d) if d is not None else product(b, c)
    return at.replace(at.call(aten.complex.default, real, imaginary))


def _complex_sum(at: _Place) -> bool:
    import torch

    if at.name not in ("add", "sub") or len(at.node.args) != 2 or at.node.kwargs:
        return False
    if not all(isinstance(a, torch.fx.Node) and at.is_complex(a) for a in at.node.args):
        return False
    one, other = (at.parts(a) for a in at.node.args)
    parts = (at.call(at.node.target, a, b) for a, b in zip(one, other, strict=True))
    return at.replace(at.call(torch.ops.aten.complex.default, *parts))


def _pairs(at: _Place) -> bool:
    """``view_as_real`` of what is known as two parts."""
    import torch

    aten = torch.ops.aten
    if at.node.target is not aten.view_as_real.default or at.node.args[0].target is not aten.complex.default:
        return False
    return at.replace(at.call(aten.stack.default, list(at.parts(at.node.args[0])), -1))


def _whole_spectrum(at: _Place) -> bool:
    """``irfft(x, n)`` of a spectrum that is too short or too long: its parts are filled up or cut before."""
    import torch
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    if at.name not in _INVERSE or len(at.node.args) < 2 or at.node.args[1] is None:
        return False
    spectrum, n, *rest = at.node.args
    values = at.value(spectrum)
    axis = (rest[0] if rest else at.node.kwargs.get("dim", -1)) % values.dim()
    if statically_known_true(at.value(n) // 2 + 1 == values.shape[axis]):
        return False
    aten = torch.ops.aten
    if isinstance(n, int):
        half: Any = n // 2 + 1
    else:
        half = at.call(operator.add, at.call(operator.floordiv, n, 2), 1)
    if statically_known_true(at.value(n) // 2 + 1 < values.shape[axis]):
        parts = [at.call(aten.slice.Tensor, part, axis, 0, half) for part in at.parts(spectrum)]
    else:
        size = at.size(spectrum, axis)
        fixed = isinstance(half, int) and isinstance(size, int)
        missing = half - size if fixed else at.call(operator.sub, half, size)
        ends = [*[0, 0] * (values.dim() - 1 - axis), 0, missing]
        parts = [at.call(aten.constant_pad_nd.default, part, ends) for part in at.parts(spectrum)]
    whole = at.call(aten.complex.default, *parts)
    return at.replace(at.call(at.node.target, whole, n, *rest, **at.node.kwargs))


def _written_complex(at: _Place) -> bool:
    """``spectrum[..., :modes] = mixed``: its parts with a slice exchanged, for all who read it afterwards."""
    import torch

    aten = torch.ops.aten
    if at.name not in _WRITES or not (at.is_complex(at.node.args[0]) and at.is_complex(at.node.args[1])):
        return False
    if at.node.users or at.value(at.node.args[0]).shape != at.value(at.node.args[1]).shape:
        return False
    whole = at.node.args[0]
    cuts: list[Any] = []
    while whole.target is aten.slice.Tensor:
        cuts.insert(0, whole)
        whole = whole.args[0]
    earlier = set(itertools.takewhile(lambda n: n is not at.node, at.module.graph.nodes))
    views = {whole, *cuts}
    if not cuts or whole.op != "call_function" or any(
        user not in views and user is not at.node and (user in earlier or node is not whole)
        for node in views for user in node.users
    ):  # fmt: skip
        return False

    def written(part: Any, value: Any, left: list[Any]) -> Any:
        if not left:
            return value
        inner = written(at.call(aten.slice.Tensor, part, *left[0].args[1:]), value, left[1:])
        return at.call(aten.slice_scatter.default, part, inner, *left[0].args[1:])

    parts = zip(at.parts(whole), at.parts(at.node.args[1]), strict=True)
    # Not aten.complex, which forgets here that the batch is free.
    pairs = at.call(aten.stack.default, [written(part, value, cuts) for part, value in parts], -1)
    made = at.call(aten.view_as_complex.default, pairs)
    whole.replace_all_uses_with(made, lambda user: user not in earlier and user is not at.node)
    at.module.graph.erase_node(at.node)
    return True


def _convolution_per_sample(at: _Place) -> bool:
    """A 2D convolution with a group for each sample, as where a style makes the kernels.

    An ONNX convolution has a fixed number of groups. Its windows as columns, times the kernels of
    their sample, are the same sums.
    """
    import torch

    if at.name != "conv2d":
        return False
    aten = torch.ops.aten
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given: dict[str, Any] = {
        "bias": None,
        "stride": [1, 1],
        "padding": [0, 0],
        "dilation": [1, 1],
        "groups": 1,
    }
    given |= dict(zip(names, at.node.args, strict=False)) | dict(at.node.kwargs)
    groups = given["groups"]
    if not isinstance(groups, torch.fx.Node) or isinstance(given["padding"], str):
        return False
    x, weight = at.value(given["input"]), at.value(given["weight"])
    if x.shape[0] != 1 or not isinstance(at.value(groups), torch.SymInt):
        return False
    channels, kernel = weight.shape[1], list(weight.shape[2:])
    if not all(isinstance(n, int) for n in (channels, *kernel)):
        return False

    source, kernels = given["input"], given["weight"]
    samples = at.call(
        aten.reshape.default, source, [groups, channels, at.size(source, 2), at.size(source, 3)]
    )
    columns = at.call(
        aten.im2col.default, samples, kernel, given["dilation"], given["padding"], given["stride"]
    )
    rows = at.call(aten.reshape.default, kernels, [groups, -1, channels * kernel[0] * kernel[1]])
    sums = at.call(aten.bmm.default, rows, columns)
    shape = [1, at.size(kernels, 0), *_windows(at, given, kernel)]
    made = at.call(aten.reshape.default, sums, shape)
    if given["bias"] is not None:
        made = at.call(aten.add.Tensor, made, at.call(aten.reshape.default, given["bias"], [1, -1, 1, 1]))
    return at.replace(made)


def _windows(at: _Place, given: dict[str, Any], kernel: list[int]) -> list[Any]:
    """The height and the width of a convolution's result."""
    found = []
    for i in (0, 1):
        n = at.size(given["input"], 2 + i)
        lost = given["dilation"][i] * (kernel[i] - 1) - 2 * given["padding"][i]
        stride = given["stride"][i]
        if isinstance(n, int):
            found.append((n - lost - 1) // stride + 1)
            continue
        n = at.call(operator.sub, n, lost + 1)
        n = at.call(operator.floordiv, n, stride) if stride != 1 else n
        found.append(at.call(operator.add, n, 1))
    return found
