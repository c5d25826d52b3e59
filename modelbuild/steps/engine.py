"""From an ONNX file to an engine, through Polygraphy, and from an engine to numbers.

Polygraphy calls TensorRT and TensorRT-RTX by one name and learns which of them is meant from an
environment variable when it is imported; so there is one road here, and a process can go only one
of the two ways. What differs is the configuration: one small method per backend.

Networks are strongly typed: an engine computes in the precision that its ONNX file says.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from modelbuild.errors import Diagnostic, StepError, ToolchainError, first_line
from modelbuild.steps.base import Outcome, Step

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Range = tuple[int, int, int]  # min, opt, max of an axis, in elements
AxisRanges = tuple[tuple[str, Range], ...]
Input = tuple[str, tuple[int | str, ...]]  # a name, and a shape whose strings are dynamic axes
Shape = tuple[int, ...]
ShapeRange = tuple[Shape, Shape, Shape]

CURRENT = "current"  # the target that means the GPU in this machine

# The parser reports every node that it cannot take; a model of 300 such nodes has one problem.
_MOST_ERRORS = 5


@dataclass(frozen=True)
class BuildEngine(Step):
    """One engine. Use the subclass of the backend, or ``ENGINES[backend]``.

    ``profiles`` say which sizes each axis takes; an axis that a variant pinned is an int in
    ``inputs`` and in no profile. ``workspace`` is in bytes; None leaves it, and
    ``optimization_level`` (0 to 5), to the builder.
    """

    kind: ClassVar[str] = "engine"
    backend: ClassVar[str]
    module: ClassVar[str]
    title: ClassVar[str]  # as NVIDIA writes it

    filename: str
    inputs: tuple[Input, ...]
    profiles: tuple[AxisRanges, ...] = ()
    targets: tuple[str, ...] = ()
    optimization_level: int | None = None
    workspace: int | None = None
    tf32: bool = True

    def __post_init__(self) -> None:
        # Neither order is visible in the engine, so neither may be visible in its key.
        targets = sorted({t.lower() for t in self.targets}, key=lambda t: (len(t), t))
        object.__setattr__(self, "targets", tuple(targets))
        object.__setattr__(self, "profiles", tuple(tuple(sorted(p)) for p in self.profiles))

    def knobs(self) -> dict[str, Any]:
        return {"backend": self.backend, **super().knobs()}

    @property
    def device_decides(self) -> bool:
        """Whether the engine is for the GPU of this machine, which is then a fact of its key."""
        raise NotImplementedError

    def configure(self, kit: _Kit, profiles: list[Any]) -> Any:
        """A function of a builder and a network that gives the builder's configuration."""
        raise NotImplementedError

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Build the engine of the one ONNX file in ``given["model"]``.

        Profiles are held against the graph first: the builder fills in what they leave out with
        sizes of its own, and no error says so.

        Raises:
            StepError: ``profile-invalid``; or ``engine-failed`` with the parser's node, operator
                and reason, or the builder's own words.
            ToolchainError: ``backend-missing``.
        """
        wrong = profile_errors(self.inputs, self.profiles)
        if wrong:
            raise StepError(wrong)
        kit = _load(self.backend)
        (model,) = given["model"].glob("*.onnx")
        start = time.perf_counter()
        builder, network, parser = _parse(kit, model)
        parsed = time.perf_counter()
        wrong = _graph_errors(self.inputs, _network_inputs(kit, network))
        if wrong:
            raise StepError(wrong)
        shapes = [profile_shapes(self.inputs, profile) for profile in self.profiles or ((),)]
        with kit.own_words(f"{kit.name} cannot build {self.filename}"):
            config = self.configure(kit, [_profile(kit, s) for s in shapes])
            # The parser owns the weights: it has to live until the engine is built.
            engine = kit.polygraphy.engine_bytes_from_network((builder, network, parser), config)
        built = time.perf_counter()
        (out / self.filename).write_bytes(engine)
        return Outcome(
            data={
                "backend": self.backend,
                "version": kit.version,
                "layers": network.num_layers,
                "targets": list(self.targets),
                "profiles": [_as_json(profile) for profile in shapes],
                "parse_seconds": round(parsed - start, 3),
                "build_seconds": round(built - parsed, 3),
            }
        )

    def _common(self, kit: _Kit, profiles: list[Any]) -> dict[str, Any]:
        """The arguments that Polygraphy's two configurations share."""
        workspace = kit.trt.MemoryPoolType.WORKSPACE
        return {
            "profiles": profiles,
            "builder_optimization_level": self.optimization_level,
            "memory_pool_limits": {workspace: self.workspace} if self.workspace else None,
        }


@dataclass(frozen=True)
class BuildRtxEngine(BuildEngine):
    """An engine of TensorRT-RTX, built without a GPU and compiled for the real one when loaded.

    Without targets it runs on everything from Ampere (sm80) on. Turing (sm75) has to be named.
    """

    backend: ClassVar[str] = "tensorrt-rtx"
    module: ClassVar[str] = "tensorrt_rtx"
    title: ClassVar[str] = "TensorRT-RTX"
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt-rtx", "polygraphy")

    @property
    def device_decides(self) -> bool:
        return CURRENT in self.targets

    def configure(self, kit: _Kit, profiles: list[Any]) -> Any:
        self._check_targets(kit)
        rtx = importlib.import_module("polygraphy.backend.tensorrt_rtx")
        create = rtx.CreateConfigRTX(
            use_gpu=self.device_decides,
            # sm120 is compute capability 12.0
            compute_capabilities=None
            if self.device_decides
            else [divmod(int(t.removeprefix("sm")), 10) for t in self.targets] or None,
            **self._common(kit, profiles),
        )

        def configured(builder: Any, network: Any) -> Any:
            config = create(builder, network)
            if not self.tf32:  # on by default, and CreateConfigRTX has no word for it
                config.clear_flag(kit.trt.BuilderFlag.TF32)
            return config

        return configured

    def _check_targets(self, kit: _Kit) -> None:
        known = [m.lower() for m in kit.trt.ComputeCapability.__members__ if m != "NONE"]
        unknown = [t for t in self.targets if t not in known]
        if unknown:
            raise _failed(
                f"{kit.name} has no target {_list(unknown)}",
                f"its targets are {', '.join(known)}",
            )
        if self.device_decides and len(self.targets) > 1:
            raise _failed(
                f"target `{CURRENT}` goes with no other target, and there is "
                f"{_list(t for t in self.targets if t != CURRENT)}",
                f"name every compute capability instead of `{CURRENT}`",
            )


@dataclass(frozen=True)
class BuildTensorrtEngine(BuildEngine):
    """An engine of TensorRT, built on and for the GPU of this machine."""

    backend: ClassVar[str] = "tensorrt"
    module: ClassVar[str] = "tensorrt"
    title: ClassVar[str] = "TensorRT"
    distributions: ClassVar[tuple[str, ...]] = ("tensorrt", "polygraphy")

    @property
    def device_decides(self) -> bool:
        return True

    def configure(self, kit: _Kit, profiles: list[Any]) -> Any:
        if self.targets:
            raise _failed(
                f"TensorRT builds for the GPU it runs on, and not for {_list(self.targets)}",
                "remove `targets`, or use backend tensorrt-rtx",
            )
        return kit.polygraphy.CreateConfig(tf32=self.tf32, **self._common(kit, profiles))


ENGINES: Mapping[str, type[BuildEngine]] = {
    step.backend: step for step in (BuildRtxEngine, BuildTensorrtEngine)
}


# ---- profiles --------------------------------------------------------------------------------


def profile_shapes(inputs: Iterable[Input], profile: AxisRanges) -> dict[str, ShapeRange]:
    """Min, opt and max shape of every input."""
    ranges = dict(profile)

    def at(shape: tuple[int | str, ...], which: int) -> Shape:
        return tuple(ranges[d][which] if isinstance(d, str) else d for d in shape)

    return {name: (at(shape, 0), at(shape, 1), at(shape, 2)) for name, shape in inputs}


def profile_errors(inputs: Sequence[Input], profiles: Sequence[AxisRanges]) -> list[Diagnostic]:
    """What is wrong with the profiles, before any graph is known."""
    users: dict[str, str] = {}
    for name, shape in inputs:
        for axis in shape:
            if isinstance(axis, str):
                users.setdefault(axis, name)
    wrong = []
    if users and not profiles:
        axis, name = next(iter(users.items()))
        message = f"axis `{axis}` of input `{name}` is dynamic, and there is no profile"
        wrong.append(_invalid(message, "add a profile with min, opt and max of each dynamic axis"))
    for index, profile in enumerate(profiles):
        given = dict(profile)
        for axis, (low, opt, high) in profile:
            here = f"profiles[{index}]: axis `{axis}`"
            if axis not in users:
                wrong.append(_invalid(f"{here} is in no input's shape", _did_you_mean(axis, list(users))))
            elif not 1 <= low <= opt <= high:
                wrong.append(
                    _invalid(
                        f"{here} has min {low}, opt {opt}, max {high}",
                        "1 <= min <= opt <= max must hold",
                    )
                )
        wrong += [
            _invalid(
                f"profiles[{index}]: axis `{axis}` of input `{name}` has no range",
                f"add `{axis}: {{min: …, opt: …, max: …}}`",
            )
            for axis, name in users.items()
            if axis not in given
        ]
    return wrong


def _graph_errors(inputs: Sequence[Input], graph: Mapping[str, Shape]) -> list[Diagnostic]:
    """Where the recipe's inputs are not the graph's; -1 in ``graph`` is a dynamic axis.

    An axis that is dynamic in the graph only is no error: the profile fixes it, and the engine is
    what the recipe says.
    """
    wrong = []
    recipe = dict(inputs)
    for name in recipe:
        if name not in graph:
            message = f"the recipe has input `{name}`, and the graph has not"
            wrong.append(_invalid(message, _did_you_mean(name, list(graph))))
    for name, theirs in graph.items():
        ours = recipe.get(name)
        if ours is None:
            message = f"the graph has input `{name}`, and the recipe has not"
            wrong.append(_invalid(message, "add it to `inputs`"))
            continue
        if len(ours) != len(theirs):
            message = (
                f"input `{name}` has {len(ours)} axes in the recipe, [{_dims(ours)}], "
                f"and {len(theirs)} in the graph, [{_dims(theirs)}]"
            )
            wrong.append(_invalid(message, "write the graph's shape into `inputs`"))
            continue
        for at, (mine, dim) in enumerate(zip(ours, theirs, strict=True)):
            if dim >= 0 and mine != dim:
                said = f"dynamic (`{mine}`)" if isinstance(mine, str) else str(mine)
                message = f"input `{name}`, axis {at}: {said} in the recipe, {dim} in the graph"
                wrong.append(_invalid(message, "write the graph's size into the recipe"))
    return wrong


def fitting_profile(profiles: Sequence[Mapping[str, ShapeRange]], shapes: Mapping[str, Shape]) -> int | None:
    """The index of the first profile that admits these shapes."""
    for index, profile in enumerate(profiles):
        if all(
            len(shape) == len(profile[name][0])
            and all(
                low <= n <= high
                for low, n, high in zip(profile[name][0], shape, profile[name][2], strict=True)
            )
            for name, shape in shapes.items()
        ):
            return index
    return None


def _as_json(profile: Mapping[str, ShapeRange]) -> dict[str, dict[str, list[int]]]:
    return {
        name: {"min": list(low), "opt": list(opt), "max": list(high)}
        for name, (low, opt, high) in profile.items()
    }


def _profile(kit: _Kit, shapes: Mapping[str, ShapeRange]) -> Any:
    profile = kit.polygraphy.Profile()
    for name, (low, opt, high) in shapes.items():
        # Polygraphy takes names for patterns: `x[0]` would not match itself and be given sizes
        # of Polygraphy's own.
        profile.add(escape(name), low, opt, high)
    return profile


# ---- the backend -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Kit:
    """One backend, imported: its module, Polygraphy's side of it, and what it complained of."""

    title: str
    trt: Any
    polygraphy: Any  # polygraphy.backend.trt
    errors: list[str]

    @property
    def version(self) -> str:
        return str(self.trt.__version__)

    @property
    def name(self) -> str:
        return f"{self.title} {self.version}"

    @contextlib.contextmanager
    def own_words(self, what: str) -> Iterator[None]:
        """Turn a failure inside into ``engine-failed``, with the library's words as its reason."""
        failure = importlib.import_module("polygraphy.exception").PolygraphyException
        self.errors.clear()
        try:
            yield
        # A builder or runtime that cannot be made is a TypeError of the bindings, without a word.
        except (failure, TypeError, RuntimeError) as error:
            said = [w for w in map(_plain, self.errors) if w] or [first_line(error)]
            hint = None
            if any("cudaError" in word for word in said):
                hint = "this needs an NVIDIA GPU and a driver that fits this version"
            raise _failed(f"{what}: {'; '.join(dict.fromkeys(said))}", hint) from error


@functools.cache
def _load(backend: str) -> _Kit:
    """Import the backend; once per process, because its logger cannot be changed later."""
    step = ENGINES[backend]
    rtx = backend == "tensorrt-rtx"
    os.environ["POLYGRAPHY_USE_TENSORRT_RTX"] = "1" if rtx else "0"
    try:
        trt = importlib.import_module(step.module)
        config = importlib.import_module("polygraphy.config")
        polygraphy = importlib.import_module("polygraphy.backend.trt")
        log: Any = importlib.import_module("polygraphy.backend.trt.util")
    except (ImportError, OSError) as error:
        message = f"{backend} cannot be imported: {first_line(error)}"
        raise ToolchainError(Diagnostic("backend-missing", message)) from error
    if bool(config.USE_TENSORRT_RTX) is not rtx:
        raise RuntimeError("Polygraphy was imported for the other TensorRT in this process")
    errors: list[str] = []
    log.TRT_LOGGER = _logger(trt, errors)
    return _Kit(step.title, trt, polygraphy, errors)


def _logger(trt: Any, errors: list[str]) -> Any:
    """A TensorRT logger that prints what is INFO or worse, and keeps errors.

    Not Polygraphy's: that one hides INFO, and nothing can be asked of it afterwards. That every
    VERBOSE line calls Python too does not show (BERT-base: 14,000 lines, 3.3 s with and without).
    """

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity != trt.ILogger.VERBOSE:
                print(f"[{severity.name[0]}] {message}", file=sys.stderr)
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                errors.append(message)

    return Logger()


def _parse(kit: _Kit, model: Path) -> tuple[Any, Any, Any]:
    """Builder, network and parser of an ONNX file.

    Not ``NetworkFromOnnxPath``: it parses in the same way and then keeps the parser, which alone
    knows which node was refused, to itself.
    """
    trt = kit.trt
    with kit.own_words(f"{kit.name} cannot start"):
        builder, network = kit.polygraphy.create_network(strongly_typed=True)
        logger = kit.polygraphy.get_trt_logger()
        trt.init_libnvinfer_plugins(logger, "")
        parser = trt.OnnxParser(network, logger)
    taken = parser.parse_from_file(str(model))
    found = [parser.get_error(i) for i in range(parser.num_errors)]
    if found:
        raise StepError(_parser_errors(kit, found))
    # A file of noise parses, as it happens, into a network of nothing.
    if not taken or network.num_outputs == 0:
        raise _failed(f"{kit.name} finds no model in {model.name}", "is it a valid ONNX file?")
    return builder, network, parser


def _parser_errors(kit: _Kit, errors: Sequence[Any]) -> list[Diagnostic]:
    said = []
    for error in errors[:_MOST_ERRORS]:
        code = error.code().name
        operator = error.node_operator()
        if operator:
            name = error.node_name()
            node = f"node `{name}`" if name else f"node {error.node()} (it has no name)"
            subject = f"{node}, operator {operator}"
        else:
            subject = "the model"
        reason = _plain(error.desc()) or "no reason given"
        hint = None
        if operator and ("UNSUPPORTED" in code or "Plugin not found" in reason):
            hint = (
                f"{kit.title} has no {operator} like this one: "
                "try another opset, or write that part of the model with other operators"
            )
        message = f"{kit.name} refuses {subject}: {reason} ({code})"
        said.append(Diagnostic("engine-failed", message, hint))
    more = len(errors) - len(said)
    if more:
        said.append(Diagnostic("engine-failed", f"{kit.name} refuses {more} more nodes"))
    return said


# What surrounds the reason in the words of the library: its C++ conditions, functions and lines.
_WRAPPED = re.compile(r"^\S+: Error Code \d+: [^(]*\((.*)\)$")
_PLACE = re.compile(r"\.?\s*In \S+ at \S+:\d+")
_NODE = re.compile(r"In node -?\d+ with name: .*? and operator: .*? \(\w+\): \w+: ")
_ASSERTION = re.compile(r"Assertion failed: .*?: ")
_CONDITION = re.compile(r'^.* && "(.*)"$')
_ALONE = re.compile(r"^\((.*)\)$")
# Said after any other error where there is no GPU; and what only repeats the node's name.
_NOISE = re.compile(r"catchCudaError|^Invalid Node - |^false$")


def _plain(text: str) -> str:
    """An error of the library as one line, without its C++."""
    parts = []
    for line in text.splitlines():
        if not _NOISE.search(line):
            said = _WRAPPED.sub(r"\1", line.strip())
            for dropped in (_PLACE, _NODE, _ASSERTION):
                said = dropped.sub("", said)
            said = _CONDITION.sub(r"\1", said.strip())
            parts.append(_ALONE.sub(r"\1", said))
    return " ".join(part for part in parts if part)


def _network_inputs(kit: _Kit, network: Any) -> dict[str, Shape]:
    """Name and shape of the network's inputs."""
    shapes = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.is_shape_tensor:
            raise _failed(
                f"the values of input `{tensor.name}` decide shapes inside the model, "
                f"and a profile has ranges for axes only",
                "make these values constants of the model, or axes of another input",
            )
        shapes[tensor.name] = tuple(tensor.shape)
    return shapes


# ---- running ---------------------------------------------------------------------------------


def run_engine(
    path: Path,
    backend: str,
    feeds: Sequence[Mapping[str, npt.NDArray[np.generic]]],
    outputs: Sequence[str],
) -> list[list[npt.NDArray[np.generic]]]:
    """The values of ``outputs``, in this order, for each feed. Needs a GPU.

    Each feed runs in the first optimization profile that admits its shapes.

    Raises:
        StepError: the engine cannot be loaded or run here, or no profile admits a feed.
        ToolchainError: ``backend-missing``.
    """
    kit = _load(backend)
    results = []
    with kit.own_words(f"{kit.name} cannot run {path.name}"):
        engine = kit.polygraphy.engine_from_bytes(path.read_bytes())
        profiles = _profiles_of(kit, engine)
        with kit.polygraphy.TrtRunner(engine) as runner:
            for feed in feeds:
                shapes = {name: array.shape for name, array in feed.items()}
                index = fitting_profile(profiles, shapes)
                if index is None:
                    said = ", ".join(f"{n} {list(s)}" for n, s in shapes.items())
                    raise StepError(_invalid(f"no profile of {path.name} admits {said}", None))
                runner.set_profile(index)
                found = runner.infer(feed_dict=dict(feed))
                # The runner writes the next outputs into the same memory.
                results.append([found[name].copy() for name in outputs])
    return results


def describe_engine(path: Path, backend: str) -> dict[str, Any]:
    """Inputs, outputs, profiles and size of an engine, as JSON. Needs a GPU.

    Raises:
        StepError: the engine cannot be loaded here.
        ToolchainError: ``backend-missing``.
    """
    kit = _load(backend)
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
        "profiles": [_as_json(profile) for profile in _profiles_of(kit, engine)],
    }


def _tensors_of(engine: Any) -> list[str]:
    return [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]


def _profiles_of(kit: _Kit, engine: Any) -> list[dict[str, ShapeRange]]:
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


# ---- words -----------------------------------------------------------------------------------


def _failed(message: str, hint: str | None = None) -> StepError:
    return StepError(Diagnostic("engine-failed", message, hint))


def _invalid(message: str, hint: str | None) -> Diagnostic:
    return Diagnostic("profile-invalid", message, hint)


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"there is {_list(known)}" if known else "there is none"


def _list(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _dims(shape: Iterable[int | str]) -> str:
    return ", ".join("?" if d == -1 else str(d) for d in shape)
