"""One table of options: the Python functions and the fast path have no others, and mean the same by them."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import modelbuild
from modelbuild import quick, settings
from modelbuild.cli import arguments, commands
from modelbuild.cli.commands import options
from modelbuild.cli.commands.options import TABLE, Option

_IN_PYTHON = [name for name in commands.ALL if name in modelbuild.__all__]
_SAMPLES = {
    "remote": ["off", "read"], "out": ["dist"],
    "cache_dir": ["/a/store"], "jobs": ["4"], "only": ["*.fp16.*"],
    "format": ["json", "text"], "in_process": ["export"], "changed_since": ["main"],
}  # fmt: skip


def test_every_option_is_of_a_command_that_there_is() -> None:
    assert {command for option in TABLE for command in option.commands} <= set(commands.ALL)
    assert set(_IN_PYTHON) == {
        "build",
        "verify",
        "status",
        "why",
        "report",
        "check",
        "diff",
        "audit",
        "inspect",
    }


@pytest.mark.parametrize("command", commands.ALL)
def test_a_command_has_a_value_for_each_of_its_options_and_nothing_else(command: str) -> None:
    words = [o for o in options.of(command) if not (o.flags or o.behind_dashes)]
    found = vars(
        arguments.parser().parse_args([command, *(o.choices[0] if o.choices else "x" for o in words)])
    )
    of_all = {"run", "command", "parser", "version"}
    assert set(found) == {o.name for o in options.of(command)} | of_all


@pytest.mark.parametrize("command", _IN_PYTHON)
def test_a_python_function_takes_what_its_command_takes(command: str) -> None:
    parameters = inspect.signature(getattr(modelbuild, command)).parameters
    assert set(parameters) == {name for option in options.of(command) for name in option.in_python}


@pytest.mark.parametrize("command", _IN_PYTHON)
def test_what_is_left_out_in_python_is_what_is_not_typed(command: str) -> None:
    parameters = inspect.signature(getattr(modelbuild, command)).parameters
    for option in options.of(command):
        for name in option.in_python:
            left_out = parameters[name].default
            if left_out is not inspect.Parameter.empty:
                assert (left_out or None) == (option.default or None), name


def test_what_a_request_has_is_typed_under_its_own_name() -> None:
    """So that no option is parsed and then forgotten on the way."""
    parsed = arguments.parser().parse_args(["build", "r.yaml", *itertools.chain(*_each())])
    meant = options.request(parsed)
    for name, value in vars(meant).items():
        assert value == getattr(parsed, name), name
    told = {"format", "volume", "dry_run"}  # these say how it is answered, or by what
    assert set(vars(meant)) == {o.name for o in options.of("build")} - told


def _each() -> list[list[str]]:
    """Every option of a build once, but for what goes with no other."""
    return [_typed(o)[0] for o in options.of("build") if o.flags and o.flags[0] not in ("--lock", "-v")]


def _typed(option: Option) -> list[list[str]]:
    """The ways in which an option can be typed, with a value that is right."""
    (*short, long) = option.flags
    values = _SAMPLES.get(option.name, []) if option.value is options._TYPED else None
    if values is None:
        return [[flag] for flag in option.flags]
    ways = [way for value in values for way in ([long, value], [f"{long}={value}"])]
    return ways + [way for flag in short for value in values for way in ([flag, value], [flag + value])]


_TYPED_OF_A_BUILD = [
    pytest.param(option, words, id=" ".join(words))
    for option in options.of("build")
    if option.flags
    for words in _typed(option)
]


@pytest.fixture(autouse=True)
def _outside_of_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


def _both(words: Sequence[str]) -> tuple[quick.CommandLine | None, dict[str, Any]]:
    return quick._understood(words), vars(arguments.parser().parse_args(words))


def _same(asked: quick.CommandLine, parsed: dict[str, Any]) -> None:
    assert asked.recipes == parsed["recipes"]
    assert asked.engines == parsed["require_engines"]
    for name, value in asked.options.items():
        known = parsed[name]
        assert (None if value is None else str(value)) == (None if known is None else str(known)), name
    others = {o.name: o.default for o in options.of("build") if not o.fast}
    assert {name: parsed[name] for name in others if name not in asked.options} == {
        name: default for name, default in others.items() if name not in asked.options
    }


@pytest.mark.parametrize(("option", "words"), _TYPED_OF_A_BUILD)
def test_the_short_way_understands_the_options_that_the_table_says_and_no_other(
    option: Option, words: list[str]
) -> None:
    asked, parsed = _both(["build", "r.yaml", *words])
    assert (asked is not None) == option.fast
    if asked is not None:
        _same(asked, parsed)


_SHORT = [words for option in options.of("build") if option.fast and option.flags for words in _typed(option)]


@pytest.mark.parametrize("first", _SHORT, ids=" ".join)
def test_two_options_mean_to_the_short_way_what_they_mean_to_the_parser(first: list[str]) -> None:
    for second in _SHORT:
        for words in ([*first, "r.yaml", *second], ["r.yaml", "s.yaml", *first, *second]):
            asked, parsed = _both(["build", *words])
            assert asked is not None, words
            _same(asked, parsed)


_WRONG = ["--jobs 0", "--jobs four", "-j", "--format yaml", "--out", "--out=", "--cold", "-x"]


@pytest.mark.parametrize("words", [w.split() for w in _WRONG], ids=_WRONG)
def test_what_is_typed_wrong_is_left_to_who_says_so(words: list[str]) -> None:
    assert quick._understood(["build", "r.yaml", *words]) is None


def test_the_environment_settles_what_the_short_way_leaves_open_as_it_does_for_the_whole_command() -> None:
    assert {*quick.CommandLine().options, "recipes"} == set(options.settled_by("build"))
    assert {o.value for o in options.of("build") if o.name == "volume"} == {settings.QUIET, settings.VERBOSE}
    assert isinstance(next(o for o in TABLE if o.name == "output").default, Path)
