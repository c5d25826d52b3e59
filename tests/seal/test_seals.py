"""Code that decides a result does not change under an old version, and what it uses is in the key."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modelbuild.steps.half import Half
from modelbuild.steps.verify import Verify
from tests.seal import seals
from tests.seal.reach import Code, Definition
from tests.seal.seals import Moved, Sealed


@pytest.fixture(scope="module")
def code() -> Code:
    return Code(seals.ROOT)


@pytest.fixture(scope="module")
def now(code: Code) -> list[Sealed]:
    return seals.sealed(code)


def test_no_code_that_decides_a_result_has_moved_since_its_version_was_said_to_be_right(
    code: Code, now: list[Sealed]
) -> None:
    seal = seals.read()
    said = seals.told(seal, seals.moved(seal, code, now), now)
    assert not said, f"{said}\n\nWhen the versions are right: make seal"
    assert seal == seals.composed(code, now), "definitions came to nothing: make seal"


def test_the_packages_that_a_step_reaches_are_facts_of_its_key(code: Code) -> None:
    missing = {}
    for step in seals.step_classes():
        root = Definition(step.__module__, step.__qualname__)
        used = {p for d in code.reached([root], [seals.TRACE]) for p in code.packages(d)}
        known = {*step.packages, *step.of_pytorch}
        if left := used - known - set(sys.stdlib_module_names):
            missing[step.__qualname__] = left
    assert missing == {}


def test_a_step_reaches_the_code_that_its_methods_call_and_what_its_children_are_told(code: Code) -> None:
    reached = code.reached([Definition(Half.__module__, "Half")])
    assert Definition("modelbuild.graph.rounding", "to_half") in reached
    (half,) = (s for s in seals.sealed(code) if s.name == "Half")
    assert Definition("modelbuild.machine.environment", "ENVIRONMENT") in half.reached
    assert half.version == Half.version


def test_what_a_run_is_seen_to_read_has_a_version_of_its_own(code: Code, now: list[Sealed]) -> None:
    (watched,) = (s for s in now if s.name == "Trace")
    noting = Definition("modelbuild.trace.watching", "_on_open")
    assert noting in watched.reached
    assert not any(noting in s.reached for s in now if s is not watched)


# ---- how it is told ----

SOURCE = '''\
"""Words."""

import math

from modelbuild.other import helper
from modelbuild import third


class Step:
    """More words."""

    def run(self):
        from modelbuild.late import late

        return late() + helper(math.pi) + third.used() + own()


def own():
    return 1


def unused():
    return 2
'''


def _program(folder: Path, **files: str) -> Code:
    (folder / "modelbuild").mkdir(parents=True, exist_ok=True)
    others = {
        "other": "def helper(x):\n    return x\n",
        "third": "LIMIT = 3\n\n\ndef used():\n    return LIMIT\n\n\ndef unused():\n    return 4\n",
        "late": "def late():\n    return 5\n",
        "another": "def helper(x):\n    return -x\n",
    }
    for name, text in {"step": SOURCE, **others, **files}.items():
        (folder / "modelbuild" / f"{name}.py").write_text(text)
    return Code(folder)


STEP = Definition("modelbuild.step", "Step")


def _sealed(code: Code, version: int = 1) -> list[Sealed]:
    return [Sealed("Step", version, "modelbuild/step.py", frozenset(code.reached([STEP])))]


@pytest.mark.parametrize(
    ("files", "moved"),
    [
        pytest.param({"step": "# A comment.\n" + SOURCE.replace("= 1", "=  1")}, [], id="comment-and-layout"),
        pytest.param({"step": SOURCE.replace("More words", "Other words")}, [], id="docstring"),
        pytest.param({"step": SOURCE.replace("return 2", "return 3")}, [], id="what-it-does-not-reach"),
        pytest.param({"step": SOURCE.replace("return 1", "return 2")}, ["step:own"], id="beside-it"),
        pytest.param({"third": "LIMIT = 4\ndef used():\n    return LIMIT\n"}, ["third:LIMIT"], id="value"),
        pytest.param({"late": "def late():\n    return 6\n"}, ["late:late"], id="import-in-a-function"),
        pytest.param(
            {"step": SOURCE.replace("other import", "another import")},
            ["another:helper", "step:Step"], id="import-from-elsewhere",
        ),
        pytest.param(
            {"other": "import math\n\nmath.tau = 6\n\n\ndef helper(x):\n    return x\n"},
            ["other:top level"], id="statement-that-runs-on-import",
        ),
    ],
)  # fmt: skip
def test_only_a_change_of_what_a_step_reaches_moves_its_seal(
    tmp_path: Path, files: dict[str, str], moved: list[str]
) -> None:
    code = _program(tmp_path)
    seal = seals.composed(code, _sealed(code))
    after = _program(tmp_path, **files)
    found = seals.moved(seal, after, _sealed(after))
    names = [f"{m.definition.module.removeprefix('modelbuild.')}:{m.definition.name}" for m in found]
    assert names == moved


def _moved_step() -> tuple[dict[str, object], list[Moved], Sealed]:
    step = Sealed("Half", 5, "modelbuild/steps/half.py", frozenset({STEP}))
    return {"versions": {"Half": 5}, "definitions": {}}, [Moved(STEP, (step,))], step


def test_a_version_that_stands_although_its_code_moved_is_told_with_what_to_ask_oneself() -> None:
    seal, moved, step = _moved_step()
    said = seals.told(seal, moved, [step])
    assert "modelbuild/step.py:Step moved: Half" in said
    assert "Half (version 5 in modelbuild/steps/half.py)" in said
    assert "if the same inputs still give the same bytes" in said


def test_a_version_that_was_raised_is_not_asked_about() -> None:
    seal, _, step = _moved_step()
    raised = Sealed("Half", 6, step.where, step.reached)
    said = seals.told(seal, [Moved(STEP, (raised,))], [raised])
    assert "Half: version 5 -> 6" in said
    assert "keep their versions" not in said


def test_reaching_verify_includes_what_it_is_given_by_the_plan(code: Code) -> None:
    reached = code.reached([Definition(Verify.__module__, "Verify")])
    assert Definition("modelbuild.base.tolerance", "Tolerance") in reached
