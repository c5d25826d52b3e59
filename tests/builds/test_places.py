"""Where an error of a build is said to be from: a line of the recipe, and of the user's code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import RECIPE, TINY, Answer, Project

BROKEN = (
    TINY
    + """

import os
import signal


class Dies(Net):
    def forward(self, x):
        os.kill(os.getpid(), signal.SIGSEGV)


class Loads(Net):
    def load_state_dict(self, *args, **kwargs):
        raise ValueError("not mine")


class Sleepless(Net):
    def train(self, mode=True):
        raise ValueError("always awake")


class Config:
    def __init__(self, size):
        self.size = 1 // size


class Configured(Net):
    def __init__(self, config):
        super().__init__()


def close(reference, candidate):
    raise KeyError("no such output")
"""
)


def _line(text: str) -> int:
    return 1 + next(i for i, row in enumerate(BROKEN.splitlines()) if text in row)


def _at(recipe: Path, text: str) -> str:
    """The place of this text in a recipe, as errors have it."""
    rows = list(enumerate(recipe.read_text().splitlines()))
    number, row = next((i, row) for i, row in rows if text in row)
    return f"{recipe.name}:{number + 1}:{row.index(text) + 1}"


def _wrong(answer: Answer, code: str) -> list[tuple[str, str]]:
    """Place and sentence of the errors of this code."""
    return [
        (d["where"], d["message"]) for d in answer.diagnostics if (d["code"], d["level"]) == (code, "error")
    ]


@pytest.mark.parametrize(
    ("model", "at", "said"),
    [
        pytest.param(
            "import: net:Nest",
            "import: net",
            "module `net` has no attribute `Nest`; did you mean `Net`?",
            id="the-attribute",
        ),
        pytest.param(
            "import: net:Sleepless",
            "import: net",
            "eval() of a `Sleepless` fails: ValueError: always awake "
            f"(net.py:{_line('always awake')} in train)",
            id="eval",
        ),
        pytest.param(
            "import: net:Loads, weights: w.pt",
            "import: net",
            f"the model cannot be made: ValueError: not mine (net.py:{_line('not mine')} in load_state_dict)",
            id="loading",
        ),
        pytest.param(
            "import: net:Net, weights: w.pt",
            "weights: w",
            "weights w.pt do not fit the model: ",
            id="weights",
        ),
        pytest.param(
            "import: net:Configured, kwargs: {config: {import: net:Config, args: [0]}}",
            "import: net:Config,",
            "calling `net:Config` failed: ZeroDivisionError: integer division or modulo by zero "
            f"(net.py:{_line('1 // size')} in __init__)",
            id="an-argument",
        ),
    ],
)
def test_a_model_that_cannot_be_made_is_told_with_both_lines_and_nothing_else_has_failed(
    project: Project, model: str, at: str, said: str
) -> None:
    import torch

    torch.save({"other": torch.zeros(2)}, project.folder / "w.pt")
    project.write("net.py", BROKEN)
    recipe = project.recipe(
        "precision: {fp32: {}, fp16: {}}", base=RECIPE.replace('import: "net:Net"', model)
    )

    answer = project.build()

    ((where, message),) = _wrong(answer, "import-failed")
    assert where == _at(recipe, at)
    assert message.startswith(said)
    (failed,) = (row for row in answer.stderr.splitlines() if "FAILED" in row)
    count, _, rest = failed.partition(" ")
    assert count.startswith("[0/")
    assert rest.startswith("net.yaml: model FAILED in ")
    assert rest.partition(" s: ")[2].startswith(f"error[import-failed]: {said}")  # at once
    assert set(answer.statuses.values()) == {"blocked"}
    assert answer.code == 1


def test_native_code_that_dies_is_told_with_the_line_that_called_it(project: Project) -> None:
    project.write("net.py", BROKEN)
    recipe = project.recipe(base=RECIPE.replace("net:Net", "net:Dies"))

    answer = project.build()

    where, message = _wrong(answer, "worker-crashed")[0]
    assert where == _at(recipe, "import")
    assert message.endswith(f" was killed by SIGSEGV (net.py:{_line('os.kill')} in forward)")
    assert _errors(project.run("build", "net.yaml", "-q").stderr)[0].startswith(
        f"error[worker-crashed]: {where}: "
    )


def _errors(printed: str) -> list[str]:
    return [row for row in printed.splitlines() if row.startswith("error[")]


def test_a_proof_that_fails_names_its_tolerance_and_the_users_function_its_line(
    project: Project, tmp_path: Path
) -> None:
    project.environment["GITHUB_ACTIONS"] = "true"
    project.environment["GITHUB_STEP_SUMMARY"] = str(tmp_path / "summary.md")
    project.write("net.py", BROKEN)
    close = RECIPE.replace("verify: {", "verify: {function: net:close, ")
    recipe = project.recipe("precision:", "  fp16: {tolerance: {relative_l2: 1.0e-9}, method: convert}")
    other = project.recipe("name: other", base=close, name="other.yaml")

    answer = project.run("build", "net.yaml", "other.yaml", "--keep-going", "--format", "json")

    (half, called) = _wrong(answer, "parity-failed")
    assert half[0] == _at(recipe, "tolerance")
    assert (called[0], called[1].partition(" at ")[0]) == (
        _at(other, "function"),
        f"`net:close` raised KeyError: 'no such output' (net.py:{_line('no such output')} in close)",
    )
    file, line, column = half[0].split(":")
    assert f"::error file={file},line={line},col={column},title=parity-failed::output " in answer.stderr
    listed = [row for row in (tmp_path / "summary.md").read_text().splitlines() if row.startswith("- ")]
    assert [row.partition("parity-failed")[0] for row in listed] == [
        f"- {_entities(half[0])}: net&#46;fp16&#46;onnx: ",
        f"- {_entities(called[0])}: other&#46;fp32&#46;onnx: ",
    ]


def _entities(text: str) -> str:
    return "".join(c if c.isalnum() else f"&#{ord(c)};" for c in text)
