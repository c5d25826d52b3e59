"""The PyTorch model that a recipe names: made, loaded, put to sleep, and called the right way.

Everything here runs in the model's host process and its forks. torch is imported on first use.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base import archives, passing
from modelbuild.base.errors import Diagnostic, StepError, about, first_line
from modelbuild.steps import binding, checkpoints, forms, plain_paths, weights
from modelbuild.steps.checkpoints import Weights
from modelbuild.steps.origins import place
from modelbuild.steps.patterns import matching
from modelbuild.steps.remedies import missing_package, remedy
from modelbuild.steps.words import import_failed, kind
from modelbuild.wording.phrases import listed, meant, nearest

if TYPE_CHECKING:
    import torch

    from modelbuild.trace.recording import Trace


@dataclass(frozen=True)
class ModelSource:
    """How to make the model: the recipe's ``model`` block as plain data."""

    import_: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    weights: str | Weights | None = None  # a file, or where in it
    files: tuple[str, ...] = ()
    seed: int = 0

    def declared(self, base: Path) -> tuple[Path, ...]:
        """Weights and other files; safetensors and torch read theirs where no hook sees it.

        Raises:
            StepError: a pattern matches nothing.
        """
        weights = (base / found.file,) if (found := self.state) else ()
        loaded = [base / file for _, file in archives.files(self.spec)]
        return (*weights, *loaded, *matching(base, self.files, "model.files", "import-failed"))

    @property
    def state(self) -> Weights | None:
        """Where the weights are."""
        return Weights(self.weights) if isinstance(self.weights, str) else self.weights

    @property
    def spec(self) -> dict[str, Any]:
        """What is made, as ``resolve`` takes it."""
        return {"import": self.import_, "args": list(self.args), "kwargs": dict(self.kwargs)}


@dataclass
class LiveModel:
    """A model in memory, in eval mode.

    It runs without gradients, until its forward() turns out to need them (``autograd.grad`` in it).
    ``weights`` is the digest of what it was made with; it is the same for all that runs beside it.
    """

    module: torch.nn.Module
    source: ModelSource
    base: Path
    trace: Trace | None
    gradients: bool = False
    weights: str | None = None

    @classmethod
    def make(cls, source: ModelSource, base: Path, trace: Trace) -> LiveModel:
        """Import, call, load weights.

        One thread only: a thread pool that is open when the process forks does not exist in the
        child, and libgomp then waits for it for ever.

        Raises:
            StepError: ``import-failed``, with the reason.
        """
        import torch

        torch.set_num_threads(1)
        live = cls.untraced(source, base)
        live.weights = weights.digest(live.module)
        trace.take_in_forks()
        live.trace = trace
        return live

    @classmethod
    def untraced(cls, source: ModelSource, base: Path) -> LiveModel:
        """As ``make``, in a process that forks no more.

        Raises:
            StepError: as ``make``.
        """
        import torch

        torch.manual_seed(source.seed)
        made = resolve(source.spec, base, "model")
        module = forms.as_module(made)
        if module is None:
            raise import_failed(
                f"`{source.import_}` gives {kind(made)}, not a torch.nn.Module",
                "name a Module class, a function that returns one, or an instance",
            )
        if source.state:
            with about("model", "weights"):
                checkpoints.load(module, base, source.state)
        forms.asleep(module)
        plain_paths.take()
        return cls(module, source, base, None)

    def call(self, names: Sequence[str], tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Run forward() on one value per input and flatten what comes out."""
        import torch

        with torch.autocast("cpu", enabled=False):
            return [t.detach() for _, t in flatten(self.forward(names, tensors))]

    def forward(self, names: Sequence[str], tensors: Sequence[torch.Tensor]) -> Any:
        """What forward() returns for one value per input."""
        import torch

        args, kwargs = binding.bind(self.module, names, tensors)
        with torch.set_grad_enabled(self.gradients):
            try:
                return self.module(*args, **kwargs)
            except Exception as error:
                if self.gradients or "grad" not in str(error):
                    raise
                passing.met(error)
        with torch.enable_grad():
            self._require_gradients()
            result = self.module(*args, **kwargs)
        self.gradients = True
        return result

    def finish(self, names: Sequence[str], tensors: Sequence[torch.Tensor]) -> None:
        """Settle what only the inputs say: lazy layers' sizes, by a plain call, and ``**kwargs``' names.

        Each process has to, and gets the same weights.
        """
        import torch

        binding.spell_out(self.module, names)
        if not forms.is_unfinished(self.module):
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # this process is going to fork
        torch.manual_seed(self.source.seed)
        try:
            with passing.gone_on_after():  # the next call meets it again, and says so
                self.forward(names, tensors)
        finally:
            torch.set_num_threads(threads)
        forms.asleep(self.module)

    def need_gradients(self) -> None:
        """From now on, run with them: a call in a fork has found that forward() needs them."""
        self._require_gradients()
        self.gradients = True

    def _require_gradients(self) -> None:
        for parameter in self.module.parameters():
            parameter.requires_grad_(parameter.is_floating_point())


def resolve(spec: Any, base: Path | None = None, *route: str | int) -> Any:
    """The object that a recipe's value stands for: ``{import, args, kwargs}`` is called, also nested.

    ``base`` is the recipe's folder, where the files that torch loads models from are; ``route`` the value's
    place in the recipe.
    """
    if isinstance(spec, list):
        return [resolve(s, base, *route, i) for i, s in enumerate(spec)]
    if not isinstance(spec, dict):
        return spec
    if "import" not in spec:
        return {k: resolve(v, base, *route, k) for k, v in spec.items()}
    with about(*route, "import"):
        return _made(spec, base, route)


def _made(spec: Mapping[str, Any], base: Path | None, route: tuple[str | int, ...]) -> Any:
    """What ``import`` names, called with what ``args`` and ``kwargs`` stand for."""
    path = str(spec["import"])
    attribute = import_attribute(path, base)
    if not callable(attribute) or forms.as_module(attribute) is not None:
        given = [key for key in ("args", "kwargs") if spec.get(key)]
        if given:
            raise import_failed(
                f"`{path}` is an object already ({kind(attribute)}), and {listed(given)} would do nothing",
                f"remove {listed(given)}, or name what makes the object",
            )
        return attribute
    args = resolve(spec.get("args", []), base, *route, "args")
    kwargs = {k: resolve(v, base, *route, "kwargs", k) for k, v in spec.get("kwargs", {}).items()}
    args, kwargs = forms.placed(path, args, kwargs, base)
    try:
        return attribute(*args, **kwargs)
    except (Exception, SystemExit) as error:
        hint = forms.not_such_a_file(path) or remedy(error, base) or "check `args` and `kwargs`"
        raise import_failed(f"calling `{path}` failed: {first_line(error)}{place(error)}", hint) from error


def import_attribute(path: str, base: Path | None = None) -> Any:
    """``package.module:attribute`` -> the object.

    Raises:
        StepError: ``import-failed``: no such module or attribute, or importing it raised.
    """
    module_name, _, attribute = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            if not hasattr(found, part):
                raise import_failed(
                    f"module `{module_name}` has no attribute `{attribute}`{_near(found, part)}",
                    "check the spelling after the colon",
                )
            found = getattr(found, part)
    except StepError:
        raise
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if not f"{module_name}.".startswith(f"{missing}."):
            said = f"importing `{path}` failed: there is no module `{missing}`{place(error)}"
            raise import_failed(said, missing_package(missing)) from error
        raise import_failed(
            f"there is no module `{missing}`, which `{path}` names",
            "modules beside the recipe and in the current folder are found; others must be installed",
        ) from error
    except (Exception, SystemExit) as error:
        hint = remedy(error, base) or "import it in a Python shell to see where it fails"
        if "torchvision::nms" in str(error):
            hint = "torch and torchvision come from different builds: install a matching pair"
        raise import_failed(f"importing `{path}` failed: {first_line(error)}{place(error)}", hint) from error
    return found


def _near(owner: Any, name: str) -> str:
    hint = meant(nearest(name, dir(owner), most=10_000))
    return f"; {hint}" if hint else ""


def flatten(value: Any, path: str = "") -> list[tuple[str, torch.Tensor]]:
    """The tensors of a forward()'s result, in order, each with where it was; None is dropped.

    Raises:
        StepError: ``outputs-mismatch``: something that is not a tensor.
    """
    import torch

    if value is None:
        return []
    if isinstance(value, torch.Tensor):
        if value.is_complex():
            raise StepError(
                Diagnostic(
                    "outputs-mismatch",
                    f"forward() returns a complex tensor at {path or 'the top'}; ONNX outputs hold none",
                    "return torch.view_as_real(y), or its real and its imaginary part",
                )
            )
        return [(path or "output", value)]
    if hasattr(value, "to_tuple") and isinstance(value, Mapping):
        value = dict(value.items())
    if isinstance(value, Mapping):
        parts = [(f"{path}.{k}" if path else str(k), v) for k, v in value.items()]
    elif isinstance(value, list | tuple):
        fields = getattr(value, "_fields", None)
        labels = list(fields) if fields else [f"[{i}]" for i in range(len(value))]
        parts = [
            (f"{path}{label}" if label.startswith("[") else f"{path}.{label}".lstrip("."), v)
            for label, v in zip(labels, value, strict=True)
        ]
    else:
        hint = "return tensors, or tuples, lists and dicts of tensors"
        if type(value).__name__.endswith("Cache"):  # transformers' keys and values
            hint = "for transformers, set `use_cache: false` in the config"
        raise StepError(
            Diagnostic(
                "outputs-mismatch",
                f"forward() returns {kind(value)} at {path or 'the top'}, which no ONNX output can hold",
                hint,
            )
        )
    return [row for label, part in parts for row in flatten(part, label)]
