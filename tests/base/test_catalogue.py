"""The catalogue of diagnostics: what the code says at which level, and what each page says of it."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator, Sequence

import pytest

from modelbuild.base.catalogue import CATALOGUE, CODES, Code
from modelbuild.base.errors import (
    Diagnostic,
    ModelbuildError,
    ProofError,
    RecipeError,
    Refusal,
    StepError,
    ToolchainError,
)
from modelbuild.base.results import ArtifactResult, RecipeResult
from modelbuild.views import explanations
from tests.docs.pages import ROOT

KINDS = {
    k.__name__: k for k in (ModelbuildError, ProofError, RecipeError, Refusal, StepError, ToolchainError)
}


@functools.cache
def _calls() -> Sequence[tuple[str, dict[str, str], ast.Call]]:
    """Every call in the program, with its place and the texts that its module gives names to."""
    return tuple(_read())


def _read() -> Iterator[tuple[str, dict[str, str], ast.Call]]:
    for path in sorted((ROOT / "modelbuild").rglob("*.py")):
        tree = ast.parse(path.read_text())
        named = {
            ast.unparse(target): node.value.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
            for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", named, node


def _made() -> Iterator[tuple[str, Code, set[str], ast.Call]]:
    """Every diagnostic whose code and level stand there: place, code, levels, the call."""
    for place, named, call in _calls():
        if getattr(call.func, "id", "") != "Diagnostic" or not call.args:
            continue
        first = call.args[0]
        code = first.value if isinstance(first, ast.Constant) else named.get(ast.unparse(first))
        given = [k.value for k in call.keywords if k.arg == "level"] or call.args[4:5]
        levels = {"error"} if not given else set(re.findall(r"'(error|warning|info)'", ast.unparse(given[0])))
        if code in CATALOGUE:
            yield place, code, levels, call


def test_the_catalogue_has_each_code_once() -> None:
    assert list(CATALOGUE) == sorted(CODES)
    assert len(CATALOGUE) == len(CODES)


def test_no_diagnostic_is_told_at_a_level_that_the_catalogue_does_not_have() -> None:
    made = list(_made())
    assert len(made) > 100
    strange = [
        f"{place}: {code} is told as {level}"
        for place, code, levels, _ in made
        for level in sorted(levels - set(CATALOGUE[code].levels))
    ]
    assert strange == []


def test_no_error_ends_with_an_exit_code_that_the_catalogue_does_not_have() -> None:
    codes = {_at(place, call): code for place, code, _, call in _made()}
    ended = [
        (place, codes[_at(place, arg)], KINDS[kind].exit_code)
        for place, _, call in _calls()
        if (kind := getattr(call.func, "id", "")) in KINDS
        for arg in call.args
        if _at(place, arg) in codes
    ]
    assert len(ended) > 50
    strange = [f"{p}: {code} ends with {end}" for p, code, end in ended if end not in CATALOGUE[code].exits]
    assert strange == []


def _at(place: str, node: ast.AST) -> tuple[str, int, int]:
    return place.partition(":")[0], getattr(node, "lineno", 0), getattr(node, "col_offset", 0)


@pytest.mark.parametrize("code", CODES)
def test_a_page_tells_the_levels_and_exit_codes_of_the_catalogue(code: Code) -> None:
    row, told = CATALOGUE[code], re.sub("`[^`]*`", "", explanations.explain(code).level)
    assert set(re.findall(r"\b(error|warning|info)\b", told)) == set(row.levels)
    assert {int(n) for n in re.findall(r"\b[0-4]\b", told)} - {0} == set(row.exits)


def test_only_an_error_has_an_exit_code() -> None:
    assert [r.code for r in CATALOGUE.values() if bool(r.exits) != ("error" in r.levels)] == []


def test_what_a_command_did_is_no_part_of_a_result_that_a_later_one_answers_with() -> None:
    done = Diagnostic("lock-written", "wrote net.lock.yaml", level="info")
    mended = Diagnostic("cache-corrupt", "set aside and made again", level="warning")
    lasts = Diagnostic("fp16-overflow", "values leave fp16's range", level="warning")
    made = ArtifactResult("a.onnx", "onnx", "fp16", {}, "built", diagnostics=(mended, lasts))
    result = RecipeResult("a.yaml", "a", "ok", (done, lasts), (made,)).lasting()
    assert result.diagnostics == (lasts,)
    assert result.artifacts[0].diagnostics == (lasts,)
