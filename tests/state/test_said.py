"""What the fast path says, and what it leaves to the slow one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelbuild import quick
from modelbuild.base import stat_rows
from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import BuildResult
from modelbuild.cli.terminal import summary
from modelbuild.recipe.finding import find
from modelbuild.recipe.loading import load
from modelbuild.state import format as state
from modelbuild.state import keeping
from tests.state.conftest import Small

# ---- what is said ------------------------------------------------------------------------------

MISSING = Diagnostic("backend-missing", "tensorrt-rtx is not installed", None, level="info")
WARNING = Diagnostic("engine-unproven", "built, and not run", "run it", "a node", level="warning")


@pytest.mark.parametrize("json_wanted", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("count", [1, 3])
def test_the_fast_path_says_what_the_slow_path_says(
    here: Path, capsys: pytest.CaptureFixture[str], count: int, json_wanted: bool
) -> None:
    every = [Small(here, "abc"[i], (MISSING, WARNING)[: i + 1], skipped=i) for i in range(count)]
    for made in every:
        made.keep()
    result = BuildResult(tuple(made.idle() for made in every))
    assert quick.answer(["build", ".", "--format", "json" if json_wanted else "text"]) == 0
    said = capsys.readouterr().out
    if json_wanted:
        assert json.loads(said) == result.as_json()
    else:
        told = replace(result, recipes=tuple(r.retold() for r in result.recipes))
        assert said == summary.render(told) + "\n"
    if not json_wanted:
        assert len(said.splitlines()) == 1
    if count > 1 and not json_wanted:
        assert (
            said == "3 recipes: 3 artifacts cached, 3 skipped, nothing to do, 3 warnings (status -v): build\n"
        )


def test_an_engine_that_is_required_is_not_skipped_in_silence(here: Path) -> None:
    made = Small(here, said=(MISSING,), skipped=1)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    assert quick.answer(["build", "net.yaml", "--require-engines"]) is None


def test_idle_recipes_stand_together_and_apart_from_tables(here: Path) -> None:
    every = [Small(here, name) for name in "abcd"]
    results = [s.result() if s.name == "c" else s.idle() for s in every]
    blocks = summary.render(BuildResult(tuple(results))).split("\n\n")
    assert [b.splitlines()[0] for b in blocks] == [
        "a.yaml: a: 1 artifact, nothing to do", "c.yaml: c", "d.yaml: d: 1 artifact, nothing to do",
        "4 recipes: 3 artifacts cached, 1 built: build",
    ]  # fmt: skip
    assert blocks[0].splitlines()[1] == "b.yaml: b: 1 artifact, nothing to do"


@pytest.mark.parametrize(
    "arguments",
    [
        ["net.yaml", "--dry-run"], ["net.yaml", "--force"], ["net.yaml", "--only", "*"], ["*.yaml"], [],
        ["net.yaml", "--jobs", "0"], ["net.yaml", "-j"], ["net.yaml", "--out"], ["net.yaml", "--out="],
        ["net.yaml", "--format", "xml"], ["net.yaml", "--write-back"], ["net.yaml", "--lock"], ["--"],
        ["net.yaml", "net.yaml"], ["net.yaml", "./net.yaml"], ["missing.yaml"], ["net.lock.yaml"], [""],
        ["net.yaml", "--out", "elsewhere"], ["net.yaml", "--cache-dir", "elsewhere"], ["source.py"],
    ],
)  # fmt: skip
def test_what_it_does_not_understand_it_leaves_to_the_slow_path(
    small: Small, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    capsys.readouterr()
    assert quick.answer(["build", *arguments]) is None
    assert quick.answer(["check", *arguments]) is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["./net.yaml"], ["."], ["./"], [".//net.yaml"], ["net.yaml", "--out", "build/"], ["net.yaml", "-j8"],
        ["net.yaml", "--out=./build", "--jobs=2", "--keep-going", "--require-engines"],
        ["-j", "4", "net.yaml"], ["net.yaml", "--cache-dir=cache", "--format=text"],
    ],
)  # fmt: skip
def test_it_understands_the_usual_command_lines(
    small: Small, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    capsys.readouterr()
    assert quick.answer(["build", *arguments]) == 0
    assert capsys.readouterr().out == summary.render(BuildResult((small.idle(),))) + "\n"


def test_a_recipe_named_by_its_absolute_path_is_known_by_it(
    small: Small, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert quick.answer(["build", str(small.recipe)]) == 0
    assert capsys.readouterr().out == "net: 1 artifact cached, nothing to do: build/net\n"


def test_two_recipes_of_one_name_are_left_to_the_slow_path(here: Path) -> None:
    for name in ("a", "b"):
        made = Small(here, name)
        result = replace(made.result(), name="same")
        keeping.keep(here / "cache", made.recipe, made.recipe.name, Path("build"), result, {}, {},
                     load(made.recipe), stat_rows.now())  # fmt: skip
    assert quick.answer(["build", "a.yaml"]) == 0
    assert quick.answer(["build", "b.yaml"]) == 0
    assert quick.answer(["build", "."]) is None


@given(st.lists(st.sampled_from(["a", "b.yaml", ".", "..", "", " ", "…"]), max_size=6))
def test_a_path_is_written_as_pathlib_writes_it(parts: list[str]) -> None:
    path = "/".join(parts)
    if path and not path.startswith("//"):
        assert quick.plain(path) == str(Path(path))


def test_a_folder_has_the_same_recipes_both_ways(here: Path) -> None:
    for name in ("b.yaml", "a.yml", "a.lock.yaml", ".yaml", ".hidden.yaml", "c.txt", "Z.yaml"):
        (here / name).touch()
    (here / "sub").mkdir()
    (here / "sub" / "x.yaml").touch()
    for arguments in (["."], ["./"], [str(here)], ["sub", "."], ["b.yaml", "sub/"]):
        assert quick._recipes(arguments) == [str(p) for p in find(arguments)]


def test_a_state_with_other_fields_and_a_right_checksum_is_none(here: Path) -> None:
    made = Small(here)
    made.keep()
    (place,) = (p for p in (here / "cache" / "state").iterdir() if p.suffix != ".json")
    data = place.read_bytes()
    known = state.unpacked(data)
    assert known is not None
    for told in ("one\nmore line", known.told):
        known.told = told
        known.counts = (1, 2, 3) if "\n" in told else (1, 2)  # type: ignore[assignment]
        assert state.unpacked(known.packed()) is None
