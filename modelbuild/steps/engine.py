"""From an ONNX file to an engine, by one road for both backends.

What differs is the configuration: one small method per backend. Networks are strongly typed: an
engine computes in the precision that its ONNX file says.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from modelbuild.base.errors import StepError
from modelbuild.engines.kit import Kit, load
from modelbuild.engines.parsing import network_inputs, parse
from modelbuild.engines.profiles import (
    AxisRanges,
    Input,
    as_json,
    graph_errors,
    profile_errors,
    profile_shapes,
)
from modelbuild.engines.words import failed
from modelbuild.machine import toolchain
from modelbuild.steps.base import Outcome, Step
from modelbuild.wording.phrases import listed

# What TensorRT-RTX 1.7 builds for when no target is named.
RTX_TARGETS = ("sm80", "sm86", "sm89", "sm120", "sm121")
CURRENT = "current"  # the target that means the GPU in this machine
RTX_KNOWN = ("sm75", *RTX_TARGETS)
"""Every target that a recipe may name for TensorRT-RTX, in its releases up to ``RTX_KNOWN_TO``."""
RTX_KNOWN_TO = (1, 7)


@dataclass(frozen=True, kw_only=True)
class BuildEngine(Step):
    """One engine. Use the subclass of the backend, or ``ENGINES[backend]``.

    ``profiles`` say which sizes each axis takes; an axis that a variant pinned is an int in
    ``inputs`` and in no profile. ``workspace`` is in bytes; None leaves it, and
    ``optimization_level`` (0 to 5), to the builder.
    """

    kind: ClassVar[str] = "engine"
    packages: ClassVar[tuple[str, ...]] = ("polygraphy",)
    backend: ClassVar[str]

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

    @property
    def on_gpu(self) -> bool:
        return self.device_decides

    def missing(self) -> str | None:
        return toolchain.missing_backend(self.backend)

    def device(self) -> dict[str, Any]:
        if not self.device_decides:
            return {}
        gpu = toolchain.gpu()
        return {"gpu": f"{gpu.name} {gpu.target}" if gpu else None}

    def knobs(self) -> dict[str, Any]:
        return {"backend": self.backend, **super().knobs()}

    @property
    def device_decides(self) -> bool:
        """Whether the engine is for the GPU of this machine, which is then a fact of its key."""
        raise NotImplementedError

    def runs_on(self, target: str) -> bool:
        """Whether the engine is for GPUs of this target (``sm89``)."""
        raise NotImplementedError

    def configure(self, kit: Kit, profiles: list[Any]) -> Any:
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
        kit = load(self.backend)
        (model,) = given["model"].glob("*.onnx")
        start = time.perf_counter()
        builder, network, parser = parse(kit, model)
        parsed = time.perf_counter()
        wrong = graph_errors(self.inputs, network_inputs(network))
        if wrong:
            raise StepError(wrong)
        shapes = [profile_shapes(self.inputs, profile) for profile in self.profiles or ((),)]
        with kit.own_words(f"{kit.name} cannot build {self.filename}"):
            config = self.configure(kit, [kit.profile(s) for s in shapes])
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
                "profiles": [as_json(profile) for profile in shapes],
                "parse_seconds": round(parsed - start, 3),
                "build_seconds": round(built - parsed, 3),
            }
        )

    def _common(self, kit: Kit, profiles: list[Any]) -> dict[str, Any]:
        """The arguments that Polygraphy's two configurations share."""
        workspace = kit.trt.MemoryPoolType.WORKSPACE
        return {
            "profiles": profiles,
            "builder_optimization_level": self.optimization_level,
            "memory_pool_limits": {workspace: self.workspace} if self.workspace else None,
        }


@dataclass(frozen=True, kw_only=True)
class BuildRtxEngine(BuildEngine):
    """An engine of TensorRT-RTX, built without a GPU and compiled for the real one when loaded.

    Without targets it is for ``RTX_TARGETS``; Turing (sm75) has to be named.
    """

    backend: ClassVar[str] = "tensorrt-rtx"
    packages: ClassVar[tuple[str, ...]] = ("tensorrt_rtx", "tensorrt_rtx_libs", *BuildEngine.packages)

    @property
    def device_decides(self) -> bool:
        return CURRENT in self.targets

    def runs_on(self, target: str) -> bool:
        return self.device_decides or target in (self.targets or RTX_TARGETS)

    def configure(self, kit: Kit, profiles: list[Any]) -> Any:
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

    def _check_targets(self, kit: Kit) -> None:
        known = [m.lower() for m in kit.trt.ComputeCapability.__members__ if m != "NONE"]
        unknown = [t for t in self.targets if t not in known]
        if unknown:
            raise failed(
                f"{kit.name} has no target {listed(unknown)}",
                f"its targets are {', '.join(known)}",
            )
        if self.device_decides and len(self.targets) > 1:
            raise failed(
                f"target `{CURRENT}` goes with no other target, and there is "
                f"{listed(t for t in self.targets if t != CURRENT)}",
                f"name every compute capability instead of `{CURRENT}`",
            )


@dataclass(frozen=True, kw_only=True)
class BuildTensorrtEngine(BuildEngine):
    """An engine of TensorRT, built on and for the GPU of this machine."""

    backend: ClassVar[str] = "tensorrt"
    packages: ClassVar[tuple[str, ...]] = ("tensorrt", "tensorrt_libs", *BuildEngine.packages)

    @property
    def device_decides(self) -> bool:
        return True

    def runs_on(self, target: str) -> bool:
        return True  # it is built for the GPU of the machine that builds it

    def configure(self, kit: Kit, profiles: list[Any]) -> Any:
        if self.targets:
            raise failed(
                f"TensorRT builds for the GPU it runs on, and not for {listed(self.targets)}",
                "remove `targets`, or use backend tensorrt-rtx",
            )
        return kit.polygraphy.CreateConfig(tf32=self.tf32, **self._common(kit, profiles))


ENGINES: Mapping[str, type[BuildEngine]] = {
    step.backend: step for step in (BuildRtxEngine, BuildTensorrtEngine)
}
