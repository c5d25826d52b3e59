"""A copy of ``examples/`` in a folder of its own, with recipes that differ from them by a line or two."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
from onnx import TensorProto

from modelbuild.graph.runtime import session_of_file
from tests.conftest import Answer, Project

EXAMPLES = Path(__file__).parents[2] / "examples"
HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT


@dataclass
class Workshop:
    project: Project
    answer: Answer | None = None

    @classmethod
    def at(cls, folder: Path) -> Workshop:
        shutil.copytree(EXAMPLES, folder / "examples", ignore=shutil.ignore_patterns("__pycache__"))
        return cls(Project(folder))

    def vary(self, example: str, name: str, *changes: tuple[str, str]) -> str:
        """A recipe that is the example with these pieces of text replaced."""
        text = (EXAMPLES / f"{example}.yaml").read_text()
        for old, new in changes:
            assert text.count(old) == 1, (example, old)
            text = text.replace(old, new)
        self.project.write(f"examples/{name}.yaml", text)
        return name

    def build(self, *names: str) -> Answer:
        recipes = [f"examples/{name}.yaml" for name in names]
        return self.project.run("build", *recipes, "--format", "json", "--keep-going")

    def clear(self) -> None:
        """Give the disk back: pytest keeps the folders of three runs, and an AlexNet has 233 MB."""
        shutil.rmtree(self.project.folder)

    def path(self, artifact: str) -> Path:
        return self.project.output(artifact)

    def graph(self, artifact: str) -> onnx.ModelProto:
        """The published file, checked, with the inferred type of every tensor."""
        onnx.checker.check_model(str(self.path(artifact)), full_check=True)
        return onnx.shape_inference.infer_shapes(onnx.load(str(self.path(artifact))))

    def session(self, artifact: str) -> onnxruntime.InferenceSession:
        return session_of_file(self.path(artifact))


def of(answer: Answer, name: str) -> dict[str, Any]:
    """What was said of one recipe."""
    return next(r for r in answer.report["recipes"] if r["name"] == name)


def node_types(model: onnx.ModelProto) -> dict[str, list[tuple[str, int]]]:
    """For each operator: its nodes' names, and the element types they make."""
    graph = model.graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
    found: dict[str, list[tuple[str, int]]] = {}
    for node in graph.node:
        found.setdefault(node.op_type, []).append((node.name, types[node.output[0]]))
    return found


def edge_types(model: onnx.ModelProto) -> set[int]:
    return {v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}


def dims(value: onnx.ValueInfoProto) -> list[int | str]:
    """An int where the axis is fixed, its name where it is free."""
    return [d.dim_value if d.HasField("dim_value") else d.dim_param for d in value.type.tensor_type.shape.dim]
