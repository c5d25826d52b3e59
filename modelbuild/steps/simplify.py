"""The exported graph, simplified by onnxsim, as one file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from modelbuild.errors import Diagnostic
from modelbuild.isolate import in_child
from modelbuild.steps.base import Outcome, Step

if TYPE_CHECKING:
    from modelbuild.graph.files import Model


@dataclass(frozen=True)
class Simplify(Step):
    """Fold constants and remove what does nothing; the interface stays as it is."""

    filename: str
    enabled: bool
    constant_folding: bool
    keep_initializers_as_inputs: bool

    kind: ClassVar[str] = "simplify"
    version: ClassVar[int] = 1
    distributions: ClassVar[tuple[str, ...]] = ("onnx", "onnxsim", "onnxruntime", "numpy")

    def run(self, given: Mapping[str, Path], out: Path) -> Outcome:
        """Write ``filename``: simplified, or as it was with a warning where onnxsim fails.

        onnxsim runs in a child: it is native code that has been seen to die.
        """
        from modelbuild.graph import files, interface
        from modelbuild.graph.simplification import simplify_file

        source = next(p for p in sorted(given["model"].iterdir()) if p.suffix == ".onnx")
        target = out / self.filename
        before = files.read(source)
        if not self.enabled:
            return self._write(before, target)
        draft = out / "simplified.onnx"
        ended = in_child(lambda: simplify_file(source, draft, fold=self.constant_folding))
        reason = ended.died or (str(ended.error) if ended.error else None)
        if reason is None:
            after = files.read(draft)
            interface.strip(after.proto)
            reason = interface.same_interface(before, after)
        if reason is not None:
            _remove(draft)
            said = Diagnostic(
                "simplify-failed",
                f"onnxsim: {reason}; the unsimplified model goes on",
                "set `simplify: false` to silence this",
                level="warning",
            )
            return self._write(before, target, said)
        outcome = self._write(after, target)
        _remove(draft)
        return outcome

    def _write(self, model: Model, target: Path, *said: Diagnostic) -> Outcome:
        from modelbuild.graph import files, interface

        interface.set_initializers_as_inputs(model, self.keep_initializers_as_inputs)
        files.write(model, target)
        return Outcome(said, {"nodes": len(model.proto.graph.node)})


def _remove(draft: Path) -> None:
    for path in (draft, draft.with_name(draft.name + ".data")):
        path.unlink(missing_ok=True)
