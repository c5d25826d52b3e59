"""TorchScript as the model: scripted and traced modules, functions, and archives of them.

Their Python code is gone. What forward() takes is in the schema; which way it goes is in the graph
itself, loops and branches included, where they were scripted.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from modelbuild.base.catalogue import Code
from modelbuild.base.errors import Diagnostic, StepError

if TYPE_CHECKING:
    import torch

OPSETS = (7, 20)
"""What the torchscript exporter writes, which alone takes TorchScript."""

_PLAIN = re.compile(r"Tensor|Tuple\[Tensor(, Tensor)*\]")


def is_script(value: Any) -> bool:
    """Whether torch.jit.script or trace has made this module."""
    import torch

    return isinstance(value, torch.jit.ScriptModule)


def signature(module: torch.nn.Module) -> inspect.Signature:
    """What forward() takes; of TorchScript, by its schema."""
    if not is_script(module):
        return inspect.signature(module.forward)
    return inspect.Signature([_parameter(a) for a in _schema(module).arguments[1:]])


def of_function(function: Any) -> torch.nn.Module:
    """A scripted function as a module that calls it."""
    parameters = [_parameter(a) for a in function.schema.arguments]
    taken = ", ".join(["self", *map(str, parameters)])
    given = ", ".join(p.name for p in parameters)
    return _defined(f"def forward({taken}):\n  return called({given})\n", called=function)


def places(result: Any, at: str = "result") -> list[str]:
    """Where the tensors of a result are, as TorchScript writes it, in the order of ``model.flatten``."""
    import torch

    if result is None:
        return []
    if isinstance(result, torch.Tensor):
        return [at]
    parts = result.items() if isinstance(result, Mapping) else enumerate(result)
    return [place for key, part in parts for place in places(part, f"{at}[{key!r}]")]


def flat(
    module: torch.nn.Module, args: Sequence[Any], names: Sequence[str], at: Sequence[str]
) -> torch.nn.Module:
    """A module that takes these tensors alone, by position, and returns those ``at`` these places.

    The exporter wants every argument of the schema, has no dicts, and makes one sequence of a list.
    ``names`` are those of the parameters, if the tensors are passed by name.
    """
    takes = signature(module).parameters
    whole = list(takes)[: len(args)] if not names else list(names)
    if whole == list(takes) and _PLAIN.fullmatch(_schema(module).returns[0].type.annotation_str):
        return module
    own = [f"given_{i}" for i in range(len(args))]
    given = [f"{n}={v}" for n, v in zip(names, own, strict=True)] if names else own
    returned = ", ".join(f"torch.jit._unwrap_optional({place})" for place in at)
    return _defined(
        f"def forward(self, {', '.join(own)}):\n"
        f"  result = self.model({', '.join(given)})\n"
        f"  return {returned}\n",
        model=module,
    )


def alone(write: Callable[[torch.nn.Module], None], module: torch.nn.Module) -> None:
    """Export it, in a fork: the exporter rewrites the script in place."""
    import torch

    torch.set_num_threads(1)  # a pool of threads that the parent had is not here
    write(module)


def attributes(module: torch.nn.Module) -> dict[str, Any]:
    """What a scripted module keeps beside parameters and buffers: ``self.calls``, an int."""
    inner: Any = module.__dict__.get("_actual_script_module", module)
    kind = inner.__dict__.get("_concrete_type")
    return {n: inner._c.getattr(n) for n in (kind.get_attributes() if kind else ()) if inner._c.hasattr(n)}


def same(before: Any, now: Any) -> bool:
    """Whether two values of ``attributes`` are one: each time, they are new lists of the same tensors."""
    import torch

    if isinstance(before, torch.Tensor) or isinstance(now, torch.Tensor):
        return before is now
    if type(before) is not type(now):
        return False
    if isinstance(before, dict):
        return before.keys() == now.keys() and all(same(before[k], now[k]) for k in before)
    if isinstance(before, list | tuple):
        return len(before) == len(now) and all(map(same, before, now))
    return bool(before == now) if isinstance(before, bool | int | float | str) else True


def must_be_exportable(exporter: str, opset: int, precision: str) -> None:
    """Raise what stands between TorchScript and its file.

    Raises:
        StepError: ``export-failed`` for the dynamo exporter or autocast; ``opset-mismatch``.
    """
    if exporter == "dynamo":
        raise _refused(
            "export-failed",
            "the model is TorchScript, which the dynamo exporter does not take",
            "leave `exporter` out: auto takes torchscript for it",
        )
    if precision == "autocast":
        raise _refused(
            "export-failed",
            "`method: autocast` does nothing to TorchScript: its types are in the graph already",
            "use auto, mixed or convert",
        )
    low, high = OPSETS
    if not low <= opset <= high:
        takes = f"the torchscript exporter writes opset {low} to {high}, not {opset}"
        raise _refused(
            "opset-mismatch",
            f"the model is TorchScript, and {takes}",
            f"set `opset: {high}` or lower, or name the nn.Module that it was made from",
        )


def hint(said: str) -> str:
    """What to do where the exporter ``said`` that it cannot write a script."""
    if "prim::DictConstruct" in said:
        return "ONNX has no dicts: return a tuple where the script branches or loops"
    return "name the nn.Module that it was made from: the dynamo exporter may manage"


def _schema(module: torch.nn.Module) -> Any:
    forward: Any = module.forward
    return forward.schema


def _parameter(argument: Any) -> inspect.Parameter:
    kinds = inspect.Parameter
    name = re.sub(r"\W", "_", argument.name)
    default = argument.default_value if argument.has_default_value() else kinds.empty
    kind = kinds.KEYWORD_ONLY if argument.kwarg_only else kinds.POSITIONAL_OR_KEYWORD
    return kinds(name, kind, default=default, annotation=_Written(argument.type.annotation_str))


class _Written(str):
    """An annotation that prints as it stands, without quotes."""

    def __repr__(self) -> str:
        return str(self)


def _defined(source: str, **known: Any) -> torch.nn.Module:
    """A script module with this forward(), in which these names are known; modules are its own."""
    import torch

    class Scripted(torch.jit.ScriptModule):
        def __init__(self, model: Any = None, called: Any = None, torch: Any = torch) -> None:
            super().__init__()
            if model is not None:
                self.model = model
            self.define(source)  # which looks for names among the arguments

    made = Scripted(**known)
    made.train(known["model"].training if "model" in known else False)
    return made


def _refused(code: Code, message: str, hint: str) -> StepError:
    return StepError(Diagnostic(code, message, hint))
