"""The PyTorch model behind a draft: made, and called as a recipe calls it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.machine import memory
from modelbuild.setup.drafting.asked import Asked
from modelbuild.setup.drafting.signature import Subject, spec
from modelbuild.steps.binding import bind
from modelbuild.steps.model import LiveModel, ModelSource, flatten
from modelbuild.wording import phrases

if TYPE_CHECKING:
    import torch

    from modelbuild.setup.drafting.trying import Run

_SPARE = 3  # times the weights: they are made, moved, and read while activations come and go


@dataclass
class LoadedModel:
    """A model in memory. ``pools`` are adaptive poolings to a fixed size that its runs came through,
    ``calls`` how many of PyTorch's functions its last run called."""

    live: LiveModel
    make: Callable[[], LiveModel]
    pools: set[str] = field(default_factory=set)
    calls: int = 0

    @property
    def module(self) -> torch.nn.Module:
        return self.live.module

    def renew(self) -> None:
        """A new model, for what was run has changed the old one."""
        self.live = self.make()

    def runner(self, names: Sequence[str]) -> Run:
        """forward() with inputs of these names, as the reference of a build runs it."""

        def run(arrays: Mapping[str, Any]) -> list[tuple[str, Any]]:
            import torch

            from modelbuild.steps.samples import as_tensors

            torch.manual_seed(0)
            self.calls = 0
            with torch.no_grad(), torch.autocast("cpu", enabled=False), _watching(self):
                args, kwargs = bind(self.module, names, as_tensors({n: arrays[n] for n in names}))
                found = flatten(self.module(*args, **kwargs))
            return [(label, _array(tensor)) for label, tensor in found]

        return run

    def draws(self, names: Sequence[str], arrays: Mapping[str, Any]) -> bool:
        """Whether forward() gives another result with another seed."""
        import numpy as np
        import torch

        from modelbuild.steps.samples import as_tensors

        found = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            with torch.no_grad():
                args, kwargs = bind(self.module, names, as_tensors(dict(arrays)))
                found.append([_array(t) for _, t in flatten(self.module(*args, **kwargs))])
        return not all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*found, strict=True))


def make(model: str, subject: Subject, asked: Asked) -> LoadedModel:
    """The model with its weights, as a build makes it.

    Raises:
        StepError: ``import-failed``, or its weights leave no room to run it.
    """
    import torch

    torch.set_num_threads(1)  # this is a fork: a pool of threads that its parent had is not here
    _room(subject.module)
    kwargs = spec(model, subject.call, asked)["kwargs"]
    source = ModelSource(model, asked.args, kwargs, asked.weights, asked.files, asked.seed)

    def made() -> LiveModel:
        return LiveModel.untraced(source, asked.base)

    return LoadedModel(made(), made)


def _room(module: torch.nn.Module | None) -> None:
    from torch.nn.parameter import is_lazy

    if module is not None and any(map(is_lazy, module.parameters())):
        message = "it has layers without sizes (torch's Lazy...), which its first input would decide"
        raise StepError(Diagnostic("import-failed", message))
    size = sum(p.numel() * p.element_size() for p in module.parameters()) if module is not None else 0
    free = memory.available()
    if free is not None and size * _SPARE > free:
        message = f"its weights are {phrases.size(size)}, and {phrases.size(free)} of memory are free"
        raise StepError(Diagnostic("import-failed", message))


def _array(tensor: torch.Tensor) -> Any:
    import torch

    reduced = tensor.dtype in (torch.bfloat16, torch.float16)
    return (tensor.float() if reduced else tensor).detach().cpu().numpy()


def _watching(made: LoadedModel) -> Any:
    """Count calls, and note adaptive poolings to a fixed size of more than 1: exported with free sizes, they
    would compute something else, or nothing."""
    from torch.overrides import TorchFunctionMode

    class CountedCalls(TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
        ) -> Any:
            name = getattr(func, "__name__", "")
            if name.startswith("adaptive_") and "_pool" in name:
                size = args[1] if len(args) > 1 else (kwargs or {}).get("output_size")
                if any(n not in (1, None) for n in (size if isinstance(size, list | tuple) else (size,))):
                    made.pools.add(f"{name.removesuffix('_with_indices')} to {size}")
            made.calls += 1
            return func(*args, **(kwargs or {}))

    return CountedCalls()
