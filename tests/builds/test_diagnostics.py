"""Every way in which a model or its export can be wrong, as users read it.

One command builds all the recipes: a failing one must not stop the others, and torch is imported once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Answer, Project

pytestmark = pytest.mark.slow

MODELS = """\
import os, signal
import torch
from torch import nn


class Linear(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 3)

    def forward(self, x):
        return self.f(x)


class Loop(Linear):
    def forward(self, x):
        return torch.stack([self.f(x[i]) for i in range(x.shape[0])])


class Random(Linear):
    def forward(self, x):
        return self.f(torch.nn.functional.dropout(x, 0.5, training=True))


class Counting(Linear):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        return self.f(x) + self.count


class Zero(Linear):
    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.f.weight)


class Two(Linear):
    def forward(self, x):
        return {"a": self.f(x), "none": None, "b": (x, [x + 1])}


class Text(Linear):
    def forward(self, x):
        return self.f(x), "text"


class Dies(Linear):
    def __init__(self):
        super().__init__()
        os.kill(os.getpid(), signal.SIGSEGV)


class DiesInForward(Linear):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGSEGV)
        return self.f(x)


class Raises(Linear):
    def forward(self, x):
        raise ValueError("no such luck")


class Needs(Linear):
    def forward(self, x, mask):
        return self.f(x) * mask


class Unused(Linear):
    def forward(self, x, mask):
        return self.f(x)


class Log(Linear):
    def forward(self, x):
        return torch.log(x.abs() - 1e-8)


class OnlyAtFive(Linear):
    def forward(self, x):
        return -self.f(x) if x.shape[0] == 5 else self.f(x)


class HarmlessAtFive(Linear):
    def forward(self, x):
        return self.f(x) * 1.0 if x.shape[0] == 5 else self.f(x)


class Large(Linear):
    def forward(self, x):
        x = self.f(x) * 500.0
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)


class Wave(Linear):
    def forward(self, x):
        return torch.sin(self.f(x) * 3e4)


class Small(Linear):
    def forward(self, x):
        x = self.f(x) * 1e-5
        square = x * x
        return torch.sqrt(square) * 1e4


def not_a_module():
    return 3


def broken():
    raise RuntimeError("the factory is closed")


def close_enough(reference, candidate):
    return False
"""

X = "{x: {shape: [batch, 6]}}"


def _recipe(attribute: str, inputs: str = X, more: str = "") -> str:
    return (
        f'model: {{import: "models:{attribute}"}}\n'
        f"inputs: {inputs}\n"
        "dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}\n"
        f"verify: {{samples: 2}}\n{more}"
    )


RECIPES = {
    "good": _recipe("Linear"),
    "loop": _recipe("Loop"),
    "loop_torchscript": _recipe("Loop", more="exporter: torchscript\nopset: 17\n"),
    "random": _recipe("Random"),
    "counting": _recipe("Counting"),
    "zero": _recipe("Zero"),
    "two": _recipe("Two", more="outputs: [a, b]\n"),
    "text": _recipe("Text"),
    "dies": _recipe("Dies"),
    "dies_in_forward": _recipe("DiesInForward"),
    "raises": _recipe("Raises"),
    "needs": _recipe("Needs"),
    "partly_named": _recipe("Needs", "{x: {shape: [batch, 6]}, y: {shape: [batch, 1]}}"),
    "too_many": _recipe("Linear", "{a: {shape: [batch, 6]}, b: {shape: [batch, 6]}}"),
    "unused": _recipe("Unused", "{x: {shape: [batch, 6]}, mask: {shape: [batch, 3]}}"),
    "not_a_module": _recipe("not_a_module"),
    "broken": _recipe("broken"),
    "opset": _recipe("Linear", more="exporter: dynamo\nopset: 10\n"),
    "wrong_dtype": _recipe("Linear", "{x: {shape: [batch, 6], dtype: int64}}"),
    "at_five": _recipe("OnlyAtFive"),
    "harmless": _recipe("HarmlessAtFive"),
    "large": _recipe("Large", more="precision: {fp16: {method: convert}}\n"),
    "large_torchscript": _recipe(
        "Large", more="precision: {fp16: {method: convert}}\nexporter: torchscript\nopset: 17\n"
    ),
    "small": _recipe("Small", more="precision: {fp16: {method: convert}}\n"),
    "tight": _recipe(
        "Linear", more="precision: {fp16: {method: convert, tolerance: {relative_l2: 1.0e-9}}}\n"
    ),
    "wave": _recipe("Wave"),
    "function": _recipe("Linear").replace("samples: 2", 'samples: 2, function: "models:close_enough"'),
    "no_data": _recipe("Linear").replace("samples: 2", "samples: 2, data: nothing/*.npz"),
}


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> Answer:
    project = Project(tmp_path_factory.mktemp("wrong"))
    project.write("models.py", MODELS)
    for name, text in RECIPES.items():
        project.write(f"recipes/{name}.yaml", text)
    project.environment["PYTHONPATH"] = ""
    return project.run("build", "recipes", "--format", "json")


def _of(answer: Answer, name: str) -> dict[str, Any]:
    return next(r for r in answer.report["recipes"] if r["name"] == name)


def _diagnostics(recipe: dict[str, Any]) -> list[dict[str, Any]]:
    return recipe["diagnostics"] + [d for a in recipe["artifacts"] for d in a["diagnostics"]]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("loop", "baked-axis",
         "axis `batch` of input `x` is fixed at 2, the traced size, by the model's code"),
        ("loop_torchscript", "baked-axis",
         "forward() takes another path at batch=3 than at the traced batch=2"),
        ("random", "nondeterministic-reference",
         "PyTorch does not agree with itself on the same input: forward() draws random numbers"),
        ("counting", "stateful-reference", "calling the model changes `count`"),
        ("zero", "vacuous-check",
         "PyTorch's output `linear` is the same for every input: comparing it proves nothing"),
        ("two", "outputs-mismatch",
         "the recipe names 2 outputs, the model has 3: `a`, `b[0]`, `b[1][0]`"),
        ("text", "outputs-mismatch", "forward() returns a `str` at [1], which no ONNX output can hold"),
        ("dies", "worker-crashed", "the model's process was killed by SIGSEGV"),
        ("dies_in_forward", "worker-crashed", "export was killed by SIGSEGV"),
        ("raises", "reference-failed",
         "the model itself fails at batch=1: ValueError: no such luck (models.py:"),
        ("needs", "inputs-mismatch", "forward(x, mask) also needs `mask`"),
        ("partly_named", "inputs-mismatch", "`y`: not a parameter of forward(x, mask), while `x` is"),
        ("too_many", "inputs-mismatch", "the recipe has 2 inputs, forward(x) takes 1"),
        ("unused", "unused-input",
         "input `mask` does not influence any output; it stays in the interface"),
        ("not_a_module", "import-failed", "`models:not_a_module` gives a `int`, not a torch.nn.Module"),
        ("broken", "import-failed",
         "calling `models:broken` failed: RuntimeError: the factory is closed"),
        ("opset", "opset-mismatch", "the dynamo exporter returned opset 18, the recipe asks for 10"),
        ("wrong_dtype", "reference-failed", "the model itself fails at batch=1: RuntimeError"),
        ("at_five", "baked-axis",
         "forward() takes another path at batch=5 than at the traced batch=2, and the graph holds"),
        ("large", "fp16-overflow", "values leave fp16's range (65504) at `node_mul_"),
        ("small", "fp16-underflow", "values that are not zero become zero in fp16 at `node_mul_"),
        ("tight", "parity-failed", "against relative_l2 1e-09"),
        ("wave", "ill-conditioned", "PyTorch's float32 differs from itself as much in float64: relative L2"),
        ("function", "parity-failed", "`models:close_enough` says False at batch=1"),
        ("no_data", "inputs-mismatch", "`verify.data`: `nothing/*.npz` matches no file"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_code_and_place(
    answer: Answer, name: str, code: str, message: str
) -> None:
    found = _diagnostics(_of(answer, name))
    assert code in {d["code"] for d in found}, found
    said = " | ".join(d["message"] for d in found if d["code"] == code)
    assert message in said, said


@pytest.mark.parametrize("name", ["raises", "needs", "partly_named", "text", "counting", "wrong_dtype"])
def test_one_cause_is_told_once(answer: Answer, name: str) -> None:
    recipe = _of(answer, name)
    assert [d["level"] for d in _diagnostics(recipe)] == ["error"]
    assert [a["status"] for a in recipe["artifacts"]] == ["failed"]


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"good", "unused", "harmless"}))
def test_what_is_wrong_is_not_published(answer: Answer, name: str) -> None:
    recipe = _of(answer, name)
    assert recipe["status"] == "failed"
    assert {a["status"] for a in recipe["artifacts"]} <= {"failed", "blocked"}
    assert any(d["level"] == "error" and d["hint"] for d in _diagnostics(recipe))


def _line(text: str) -> int:
    """Where this stands in the models' file."""
    return 1 + next(i for i, line in enumerate(MODELS.splitlines()) if text in line)


@pytest.mark.parametrize("name", ["large", "large_torchscript"])
def test_values_that_leave_the_range_are_named_by_the_line_that_makes_them(answer: Answer, name: str) -> None:
    (artifact,) = (a for a in _of(answer, name)["artifacts"] if a["precision"] == "fp16")
    said = next(d for d in artifact["diagnostics"] if d["code"] == "fp16-overflow")
    line = _line("return x * torch.rsqrt")
    assert said["where"] == f"models.py:{line}"
    assert f" from models.py:{line} (Mul, up to " in said["message"]
    rows = {row["op_type"]: row for row in artifact["ranges"] if row["source"]}
    assert rows["Gemm"]["source"] == f"models.py:{_line('x = self.f(x) * 500.0')} in forward"
    assert rows["Gemm"]["overflows"] == 0 < rows["Gemm"]["elements"]
    assert rows["ReduceMean"]["overflows"] > 0
    assert rows["ReduceMean"]["largest"] > 65504
    assert rows["ReduceMean"]["source"] == f"models.py:{line} in forward"


def test_values_that_fall_to_zero_are_named_and_those_made_of_them_are_not(answer: Answer) -> None:
    (bad,) = _of(answer, "small")["artifacts"]
    (said,) = (d for d in bad["diagnostics"] if d["code"] == "fp16-underflow")
    assert (said["level"], said["where"]) == ("warning", f"models.py:{_line('square = x * x')}")
    assert "all values, up to " in said["message"]
    lost = [row for row in bad["ranges"] if row["zeros"] > row["elements"] / 2]
    assert [row["source"] for row in lost] == [f"models.py:{_line('square = x * x')} in forward"]
    assert "fp16-overflow" not in {d["code"] for d in bad["diagnostics"]}


def test_a_comment_moves_the_line_that_is_named_and_rebuilds_nothing(project: Project) -> None:
    text = TINY.replace("torch.relu(self.first(x))", "torch.relu(self.first(x) * 1e4) ** 2")
    project.write("net.py", text)
    project.recipe("precision: {fp32: {tolerance: {relative_l2: 1.0e-4}}, fp16: {method: convert}}")
    first = project.build()
    project.write("net.py", text.replace("class Net", "# moves what follows\nclass Net"))
    second = project.build()
    line = 1 + next(i for i, row in enumerate(text.splitlines()) if "torch.relu" in row)
    assert f" from net.py:{line} (" in first.said("fp16-overflow")
    assert f" from net.py:{line + 1} (" in second.said("fp16-overflow")
    assert second.statuses == {"net.fp32.onnx": "cached", "net.fp16.onnx": "failed"}
    for name, artifact in second.artifacts.items():
        assert artifact["key"] == first.artifacts[name]["key"]
    assert "net.yaml: export (" in second.stderr
    assert "net.yaml: fp16 (" not in second.stderr  # only the failed proof is made again


def test_the_good_ones_among_them_are_built(answer: Answer) -> None:
    assert answer.code == 3
    for name in ("good", "unused", "harmless"):
        assert [(a["status"], a["ranges"]) for a in _of(answer, name)["artifacts"]] == [("built", None)]


def test_errors_name_a_log_that_holds_the_whole_story(answer: Answer) -> None:
    hint = next(d["hint"] for d in _diagnostics(_of(answer, "broken")) if d["code"] == "import-failed")
    log = Path(hint.partition("log: ")[2])
    assert "the factory is closed" in log.read_text()
