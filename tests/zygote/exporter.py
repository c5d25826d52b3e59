"""PyTorch's exporter, with what it makes anew for every export made once.

That is its table of translations, for which it reads the source of five hundred functions, and the operators
that PyTorch composes of others, which it asks for by name sixty times: two thirds of what exporting a small
model takes. Importing this module keeps both, and exports a small model, so that what is made for the first
export of a process is there, too. Exports of ``cold`` tests and of users make everything themselves.
"""

from __future__ import annotations

import functools
import logging
import sys
import warnings

import torch
from torch._export import utils
from torch.onnx._internal.exporter import _registration

_Registry = _registration.ONNXRegistry
_from_torchlib = _Registry.from_torchlib
_name_composites = utils._materialize_cpp_cia_ops
_named = 0


@functools.cache
def _kept(opset_version: int, torchvision: bool) -> _registration.ONNXRegistry:
    return _from_torchlib(opset_version)


def _of_torchlib(opset_version: int = _registration._constants.TORCHLIB_OPSET) -> _registration.ONNXRegistry:
    """``ONNXRegistry.from_torchlib``: a copy, as its caller adds translations."""
    kept = _kept(opset_version, "torchvision" in sys.modules)  # which brings operators of its own
    made = _Registry()
    made._opset_version = kept._opset_version
    made.functions = {target: list(rows) for target, rows in kept.functions.items()}
    return made


def _new_composites() -> None:
    """``_materialize_cpp_cia_ops`` where a library has registered more since the last time."""
    global _named
    found = len(torch._C._dispatch_get_registrations_for_dispatch_key("CompositeImplicitAutograd"))
    if found != _named:
        _name_composites()
        _named = found


def _warm_up() -> None:
    """Export with a free axis what is too small for a pool of threads: forks will come after."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings(action="ignore"):
        net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()).eval()
        torch.onnx.export(
            net, (torch.zeros(3, 2),), dynamo=True, opset_version=18, input_names=["x"],
            dynamic_shapes=({0: "n"},), optimize=False, verbose=False,
        )  # fmt: skip


_Registry.from_torchlib = staticmethod(_of_torchlib)  # type: ignore[assignment,method-assign]
utils._materialize_cpp_cia_ops = _new_composites
logging.disable()  # it tells of torchvision's operators that are not there
_warm_up()
logging.disable(logging.NOTSET)
