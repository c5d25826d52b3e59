"""Whether a graph is right where forward() takes another path than the one that was traced.

It often is: models branch on sizes that make no difference. Where the values agree although other
operators ran, that path is traced in its turn, for the questions that are asked on it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelbuild.base import passing
from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.base.tensors import Sizes, TensorSpec
from modelbuild.base.tolerance import Tolerance
from modelbuild.machine.isolate import in_child
from modelbuild.steps import guards, watching
from modelbuild.steps.conditions import Condition
from modelbuild.steps.model import LiveModel

if TYPE_CHECKING:
    import torch

    from modelbuild.steps.samples import Array

    Tensors = Callable[[dict[str, Array]], list[torch.Tensor]]

_LIMITS = {"fp32": 2e-3, "fp16": 5e-2, "bf16": 0.2}
_MISMATCH = {"fp32": 1e-2, "fp16": 0.1, "bf16": 0.3}  # the share of whole numbers and bools that may differ
_MOST_PATHS = 6
_MOST_SIZES = 48  # of one path
_MOST_BYTES = 2**28  # of inputs and outputs that wait to be compared


@dataclass(frozen=True)
class Exported:
    """A model and the graph that was made of it; ``precision`` is fp32, fp16 or bf16."""

    model: LiveModel
    inputs: Sequence[TensorSpec]
    tensors: Tensors
    ranges: guards.Ranges
    traced: Sizes
    path: Path
    precision: str = "fp32"

    def graph(self, inputs: Sequence[Mapping[str, Array]]) -> list[list[Array] | None] | None:
        """The graph's outputs for each of these; None where it does not run, and instead where the
        process dies: the proof will meet that, and say so."""
        import numpy as np

        from modelbuild.graph import files, interface, runtime
        from modelbuild.graph.edges import with_numpy_edges
        from modelbuild.graph.simulate import simulated

        graph = with_numpy_edges(files.read(self.path))
        ports = interface.inputs(graph)

        def run() -> list[list[Array] | None]:
            if self.precision == "bf16":  # ONNX Runtime has hardly a kernel for it on a CPU
                session = runtime.session(simulated(graph))
            else:
                session = runtime.session_of_file(self.path, extended=True)
            found: list[list[Array] | None] = []
            for arrays in inputs:
                feeds = {p.name: np.asarray(arrays[p.name], files.numpy_dtype(p.dtype)) for p in ports}
                try:
                    found.append(list(session.run(None, feeds)))
                except Exception as error:
                    passing.met(error)
                    found.append(None)
            return found

        ended = in_child(run)
        if ended.died:
            return None
        nothing: list[list[Array] | None] = [None] * len(inputs)
        return ended.value if ended.ok else nothing

    def agrees(self, outs: Sequence[torch.Tensor], got: Sequence[Array] | None) -> bool:
        """Whether these are roughly PyTorch's outputs; the proof measures finely."""
        import numpy as np

        from modelbuild.steps import compare

        if got is None or len(got) != len(outs):
            return False
        for out, have in zip(outs, got, strict=True):
            want = out.float().numpy() if out.is_floating_point() else out.numpy()
            if want.shape != have.shape:
                return False
            if want.dtype.kind == "f":
                bound = Tolerance(relative_l2=_LIMITS[self.precision])
                if not compare.distance(want, have.astype(np.float32), bound).passed:
                    return False
            elif want.size and np.mean(want != have) > _MISMATCH[self.precision]:
                return False
        return True


@dataclass
class SideBySide:
    """PyTorch and the graph, side by side, at sizes that come up one after another."""

    of: Exported
    operators: dict[tuple[int, ...], tuple[str, ...]] = field(default_factory=dict)

    def first_wrong(self, many: Sequence[Sizes]) -> Sizes | None:
        """The first of these sizes at which the graph is wrong.

        A size that PyTorch itself refuses is no size of the model.
        """
        waiting: list[tuple[Sizes, dict[str, Array], list[torch.Tensor]]] = []
        size = 0
        for sizes in many:
            ran = self._pytorch(sizes)
            if ran is not None:
                waiting.append((sizes, *ran))
                size += sum(a.nbytes for a in ran[0].values()) + sum(t.nbytes for t in ran[1])
            if size > _MOST_BYTES:
                wrong = self._wrong(waiting)
                if wrong is not None:
                    return wrong
                waiting, size = [], 0
        return self._wrong(waiting) if waiting else None

    def ran_at(self, sizes: Sizes) -> tuple[str, ...] | None:
        """The operators that PyTorch ran at this size, one after another; None if it refuses it."""
        key = tuple(sizes.values())
        if key not in self.operators:
            self._pytorch(sizes)
        return self.operators.get(key)

    def _wrong(self, waiting: Sequence[tuple[Sizes, dict[str, Array], list[torch.Tensor]]]) -> Sizes | None:
        found = self.of.graph([arrays for _, arrays, _ in waiting])
        for (sizes, _, outs), got in zip(waiting, found or (), strict=found is not None):
            if not self.of.agrees(outs, got):
                return sizes
        return None

    def _pytorch(self, sizes: Sizes) -> tuple[dict[str, Array], list[torch.Tensor]] | None:
        from modelbuild.steps import samples

        arrays = samples.random_inputs(self.of.inputs, sizes, (0, 4))
        names = list(arrays)
        ran: list[str] = []
        try:
            try:
                with _watching(ran):
                    outs = self.of.model.call(names, self.of.tensors(arrays))
            except Exception as error:  # some operators cannot be watched
                passing.met(error)
                ran.clear()
                watching.forget()
                outs = self.of.model.call(names, self.of.tensors(arrays))
        except Exception as error:
            passing.met(error)
            return None
        self.operators[tuple(sizes.values())] = tuple(ran)
        return arrays, outs


def _watching(ran: list[str]) -> Any:
    from torch.utils._python_dispatch import TorchDispatchMode

    class Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            ran.append(str(func))
            return func(*args, **(kwargs or {}))

    return Watching()  # type: ignore[no-untyped-call]


def compared(of: Exported, assumed: Sequence[str]) -> list[str]:
    """Compare the graph wherever an assumption about sizes fails; say what nobody looked at.

    ``assumed`` are the guards of the program that was exported.

    Raises:
        StepError: ``baked-axis``.
    """
    from modelbuild.steps import samples, tracing

    ranges, traced = of.ranges, of.traced
    where = guards.places(of.model.module, of.inputs)
    comparison = SideBySide(of)
    todo: list[tuple[Sizes, Sequence[str]]] = [(dict(traced), assumed)]
    done: set[tuple[tuple[str, int], ...]] = {tuple(traced.items())}
    known: set[str] = set()
    paths: set[tuple[str, ...] | None] = set()
    unproven: list[str] = []
    for number, (base, texts) in enumerate(todo):  # which grows meanwhile
        conditions, unread = guards.conditions(texts, where, ranges)
        unproven += [f"where `{g}` fails: it is no plain arithmetic on sizes" for g in unread]
        tried, left = _chosen(conditions, known, ranges, base)
        known.update(c.text for c in conditions)
        unproven += left
        fresh = [s for s in tried if tuple(s.items()) not in done]
        done.update(tuple(s.items()) for s in fresh)
        wrong = comparison.first_wrong(fresh)
        if wrong is not None:
            raise _baked(wrong, traced)
        if fresh and not number:
            paths.add(comparison.ran_at(traced))
        for sizes in fresh:
            ran = comparison.operators.get(tuple(sizes.values()))
            if ran is None or ran in paths:
                continue
            paths.add(ran)
            if len(todo) == _MOST_PATHS:
                unproven.append(f"what forward() asks at {_at(sizes)}, beyond {_MOST_PATHS} other paths")
                continue
            arrays = samples.random_inputs(of.inputs, sizes, (0, 1))
            found = tracing.assumptions(of.model, of.inputs, of.tensors(arrays))
            if found is None:
                unproven.append(f"what forward() asks at {_at(sizes)}: torch.export cannot trace it there")
            else:
                todo.append((sizes, found))
    return list(dict.fromkeys(unproven))


def _chosen(
    conditions: Sequence[Condition], known: set[str], ranges: guards.Ranges, base: Sizes
) -> tuple[list[Sizes], list[str]]:
    """Sizes at which each condition fails at least once, and in words what they leave out.

    First one for each, then a second, and so on: a condition that fails often leaves room for those after.
    """
    import numpy as np

    chosen: list[Sizes] = []
    found = {}
    for i, condition in enumerate(conditions):
        if condition.text not in known:
            found[condition.text] = guards.failing(condition, ranges, base, conditions[:i])
    left = {text: f.left for text, f in found.items() if f.left}
    for turn in range(max((len(f.sizes) for f in found.values()), default=0)):
        for condition in conditions:
            many = found[condition.text].sizes if condition.text in found else ()
            if len(many) <= turn:
                continue
            sizes = {**base, **many[turn]}
            one = [{a: np.array([s[a]]) for a in condition.axes} for s in chosen]
            if sizes in chosen or (not turn and any(not condition.holds(s).item() for s in one)):
                continue
            if len(chosen) < _MOST_SIZES:
                chosen.append(sizes)
            elif not turn or condition.fixes is not None:
                left.setdefault(condition.text, f"where `{condition.text}` fails")
    return chosen, list(left.values())


def _at(sizes: Sizes) -> str:
    return ", ".join(f"{a}={n}" for a, n in sizes.items())


def _baked(wrong: Sizes, traced: Sizes) -> StepError:
    moved = [a for a in wrong if wrong[a] != traced[a]]
    here, there = (_at({a: sizes[a] for a in moved}) for sizes in (wrong, traced))
    return StepError(
        Diagnostic(
            "baked-axis",
            f"forward() takes another path at {here} than at the traced {there}, and the graph holds "
            "only the traced one",
            "look for branches on this size in forward(), or keep it out of the axis's min and max",
        ),
        {"axes": moved, "wrong at": dict(wrong)},
    )
