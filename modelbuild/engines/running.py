"""From an engine to numbers, and to what it says of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base.errors import StepError
from modelbuild.engines.kit import Kit, load
from modelbuild.engines.profiles import ShapeRange, as_json, fitting_profile, invalid

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch


def run_engine(
    path: Path,
    backend: str,
    feeds: Sequence[Mapping[str, npt.NDArray[np.generic]]],
    outputs: Sequence[str],
) -> list[list[npt.NDArray[np.generic]]]:
    """The values of ``outputs``, in this order, for each feed. Needs a GPU.

    Each feed runs in the first optimization profile that admits its shapes. Of an engine with
    bfloat16 at its edges, bfloat16 outputs come back as float32.

    Raises:
        StepError: the engine cannot be loaded or run here, or no profile admits a feed.
        ToolchainError: ``backend-missing``.
    """
    kit = load(backend)
    results = []
    with kit.own_words(f"{kit.name} cannot run {path.name}"):
        engine = kit.polygraphy.engine_from_bytes(path.read_bytes())
        profiles = _profiles_of(kit, engine)
        # Polygraphy takes numpy's arrays or PyTorch's tensors, and of these only PyTorch's can be bfloat16.
        foreign = "BF16" in {engine.get_tensor_dtype(name).name for name in _tensors_of(engine)}
        with kit.polygraphy.TrtRunner(engine) as runner:
            for feed in feeds:
                shapes = {name: array.shape for name, array in feed.items()}
                index = fitting_profile(profiles, shapes)
                if index is None:
                    said = ", ".join(f"{n} {list(s)}" for n, s in shapes.items())
                    raise StepError(invalid(f"no profile of {path.name} admits {said}", None))
                runner.set_profile(index)
                found = runner.infer(feed_dict={n: _tensor(a) if foreign else a for n, a in feed.items()})
                # The runner writes the next outputs into the same memory.
                outs = (found[name] for name in outputs)
                results.append([_array(o) if foreign else o.copy() for o in outs])
    return results


def _tensor(array: npt.NDArray[np.generic]) -> torch.Tensor:
    import numpy as np
    import torch

    if array.dtype.name == "bfloat16":
        return torch.from_numpy(np.array(array.view(np.uint16))).view(torch.bfloat16)
    return torch.from_numpy(np.array(array))


def _array(tensor: torch.Tensor) -> npt.NDArray[np.generic]:
    """The values in memory of their own; bfloat16 as float32, which holds them."""
    import numpy as np
    import torch

    whole = tensor.float() if tensor.dtype == torch.bfloat16 else tensor
    return np.array(whole.numpy())


def describe_engine(path: Path, backend: str) -> dict[str, Any]:
    """Inputs, outputs, profiles and size of an engine, as JSON. Needs a GPU.

    Raises:
        StepError: the engine cannot be loaded here.
        ToolchainError: ``backend-missing``.
    """
    kit = load(backend)
    with kit.own_words(f"{kit.name} cannot load {path.name}"):
        engine = kit.polygraphy.engine_from_bytes(path.read_bytes())
    tensors: dict[str, list[dict[str, Any]]] = {"INPUT": [], "OUTPUT": []}
    for name in _tensors_of(engine):
        tensors[engine.get_tensor_mode(name).name].append(
            {
                "name": name,
                "dtype": _dtype(engine.get_tensor_dtype(name).name),
                "shape": [d if d >= 0 else "?" for d in engine.get_tensor_shape(name)],
            }
        )
    return {
        "inputs": tensors["INPUT"],
        "outputs": tensors["OUTPUT"],
        "layers": engine.num_layers,
        "profiles": [as_json(profile) for profile in _profiles_of(kit, engine)],
    }


def _tensors_of(engine: Any) -> list[str]:
    return [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]


def _profiles_of(kit: Kit, engine: Any) -> list[dict[str, ShapeRange]]:
    wanted = kit.trt.TensorIOMode.INPUT
    inputs = [n for n in _tensors_of(engine) if engine.get_tensor_mode(n) == wanted]
    profiles = []
    for index in range(engine.num_optimization_profiles):
        shapes = {}
        for name in inputs:
            low, opt, high = engine.get_tensor_profile_shape(name, index)
            shapes[name] = (tuple(low), tuple(opt), tuple(high))
        profiles.append(shapes)
    return profiles


def _dtype(name: str) -> str:
    """TensorRT's name of a type as ONNX and numpy write it."""
    return {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}.get(name, name.lower())
