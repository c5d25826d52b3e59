"""The fast path: an answer from stat rows, never a stale one."""

from __future__ import annotations

import configparser
import mmap
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild import quick
from modelbuild.base import stat_rows
from modelbuild.machine import untimely
from modelbuild.recipe.loading import load
from modelbuild.state import format as state
from modelbuild.state import keeping
from modelbuild.store import hash_file
from modelbuild.trace import facts, kinds
from tests.conftest import RECIPE
from tests.state.conftest import AGED, Small, same_size_and_times


def _rewritten(path: Path) -> None:
    path.write_text(path.read_text().replace("8", "9").replace("weights", "WEIGHTS").replace("net", "ten"))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda s: _rewritten(s.source), id="a source"),
        pytest.param(lambda s: _rewritten(s.recipe), id="the recipe"),
        pytest.param(lambda s: _rewritten(s.output), id="an output"),
        pytest.param(lambda s: s.source.unlink(), id="no source"),
        pytest.param(lambda s: s.output.unlink(), id="no output"),
        pytest.param(lambda s: s.recipe.unlink(), id="no recipe"),
        pytest.param(lambda s: (s.source.unlink(), s.source.mkdir()), id="a folder for a source"),
    ],
)
def test_a_change_is_noticed(small: Small, change: Callable[[Small], object]) -> None:
    change(small)
    assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize("touched", ["source", "recipe", "output"])
def test_a_touch_is_looked_at_once(small: Small, touched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    getattr(small, touched).touch()
    time.sleep(AGED)
    assert quick.answer(["build", "net.yaml"]) == 0
    monkeypatch.setattr(kinds, "current", None)
    assert quick.answer(["build", "net.yaml"]) == 0


def test_what_was_written_just_now_is_looked_at_until_it_has_aged(small: Small) -> None:
    small.source.touch()
    assert quick.answer(["build", "net.yaml"]) == 0
    same_size_and_times(small.source, "8", "9")  # perhaps within one tick of the clock
    assert quick.answer(["build", "net.yaml"]) is None


def test_a_file_that_was_looked_for_and_comes_is_noticed(here: Path) -> None:
    made = Small(here, read={"absent source.json": None})
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    (here / "source.json").touch()
    assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize(
    ("was", "now", "code"),
    [("1", "1", 0), ("1", "2", None), ("1", None, None), (None, None, 0), (None, "", None),
     ("a\tb\\n\n", "a\tb\\n\n", 0)],
)  # fmt: skip
@pytest.mark.parametrize("name", ["WIDTH", "WIDTH_TOKEN"])
def test_a_variable_counts(
    here: Path, monkeypatch: pytest.MonkeyPatch, name: str, was: str | None, now: str | None, code: int | None
) -> None:
    made = Small(here, read={f"env {name}": facts.variable(name, was)})
    made.keep()
    monkeypatch.delenv(name, raising=False)
    if now is not None:
        monkeypatch.setenv(name, now)
    assert quick.answer(["build", "net.yaml"]) == code


def test_a_source_that_is_not_what_was_read_leaves_no_state(here: Path) -> None:
    made = Small(here)
    started = stat_rows.now()
    made.source.write_text("width = 9\n")  # while the build ran, after it was read
    made.keep(started, **{"file source.py": "sha256:" + "0" * 64})
    assert quick.answer(["build", "net.yaml"]) is None


def test_a_recipe_that_was_saved_while_it_was_built_leaves_no_state(here: Path) -> None:
    made = Small(here)
    started = stat_rows.now()
    with made.recipe.open("a") as file:
        file.write("# what was loaded had no comment\n")
    made.keep(started)
    assert quick.answer(["build", "net.yaml"]) is None


TOLERANT = "[tool.modelbuild.tolerance]\nfp32 = {rtol = 0.1}\n"
STRICT = TOLERANT.replace("0.1", "0.2")


def _under(here: Path, text: str | None, inner: str = "") -> Small:
    """A recipe two folders below a project file, built, and asked for from there."""
    folder = here / "models" / "inner"
    folder.mkdir(parents=True)
    if text is not None:
        (here / "pyproject.toml").write_text(text)
    if inner:
        (here / "models" / "pyproject.toml").write_text(inner)
    os.chdir(folder)
    made = Small(folder)
    made.keep()
    return made


@pytest.mark.parametrize(
    ("before", "inner", "change"),
    [
        pytest.param(TOLERANT, "", lambda h: (h / "pyproject.toml").write_text(STRICT), id="changed"),
        pytest.param(TOLERANT, "", lambda h: (h / "pyproject.toml").unlink(), id="removed"),
        pytest.param(None, "", lambda h: (h / "pyproject.toml").write_text(STRICT), id="new"),
        pytest.param(
            TOLERANT, "", lambda h: (h / "models/pyproject.toml").write_text(STRICT), id="new-and-nearer"
        ),
        pytest.param(
            TOLERANT,
            "",
            lambda h: (h / "models/inner/pyproject.toml").write_text(STRICT),
            id="new-and-beside",
        ),
        pytest.param(
            TOLERANT, "[project]\n", lambda h: (h / "models/pyproject.toml").write_text(STRICT),
            id="a-table-in-a-nearer-one",
        ),
        pytest.param(
            TOLERANT, STRICT, lambda h: (h / "models/pyproject.toml").write_text("[project]\n"),
            id="no-table-any-more-in-the-nearer-one",
        ),
        pytest.param(
            TOLERANT, "", lambda h: same_size_and_times(h / "pyproject.toml", "0.1", "0.2"),
            id="of-equal-size-with-its-time-put-back",
        ),
    ],
)  # fmt: skip
def test_a_project_file_that_matters_is_noticed(
    here: Path, before: str | None, inner: str, change: Callable[[Path], object]
) -> None:
    _under(here, before, inner)
    assert quick.answer(["build", "net.yaml", "--cache-dir", str(here / "models/inner/cache")]) == 0
    change(here)
    assert quick.answer(["build", "net.yaml", "--cache-dir", str(here / "models/inner/cache")]) is None


def test_a_project_file_beyond_the_one_that_counts_does_not_matter(here: Path) -> None:
    _under(here, TOLERANT, STRICT)
    (here / "pyproject.toml").unlink()
    assert quick.answer(["build", "net.yaml", "--cache-dir", "cache"]) == 0


@pytest.mark.parametrize(("text", "code"), [(STRICT, None), (TOLERANT, 0)], ids=["another", "the-same"])
def test_the_project_file_behind_a_link_that_leads_elsewhere_now_counts(
    here: Path, text: str, code: int | None
) -> None:
    """Two releases with one recipe, and only the project files above it differ."""
    for name, project in (("one", TOLERANT), ("two", text)):
        (here / name / "models").mkdir(parents=True)
        (here / name / "pyproject.toml").write_text(project)
        (here / name / "models/net.yaml").write_text(RECIPE)
    link = here / "current"
    link.symlink_to(here / "one/models")
    made = Small(here)
    time.sleep(AGED)
    recipe = link / "net.yaml"
    published = {Path("build/net/net.fp32.onnx"): hash_file(made.output).sha256}
    keeping.keep(here / "cache", recipe, "current/net.yaml", Path("build"), made.result(), {}, published,
                 load(recipe), stat_rows.now())  # fmt: skip
    assert quick.answer(["build", "current/net.yaml"]) == 0
    link.unlink()
    link.symlink_to(here / "two/models")
    assert quick.answer(["build", "current/net.yaml"]) == code


def test_a_project_file_that_changed_during_the_build_leaves_no_state(here: Path) -> None:
    """The recipe means something else at the end than what was built."""
    (here / "pyproject.toml").write_text(TOLERANT)
    made = Small(here)
    meant = load(made.recipe)
    (here / "pyproject.toml").unlink()
    keeping.keep(here / "cache", made.recipe, "net.yaml", Path("build"), made.result(), {}, {}, meant,
                 stat_rows.now())  # fmt: skip
    assert not list(here.glob("cache/state/*"))


@pytest.mark.parametrize("key", ["out", "cache"])
def test_the_fast_path_looks_where_the_project_file_says(
    here: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.delenv("MODELBUILD_CACHE_DIR")
    other = "cache" if key == "out" else "out"
    real = {"out": "build", "cache": "cache"}
    project = here / "pyproject.toml"
    project.write_text(f'[tool.modelbuild]\n{key} = "{real[key]}"\n{other} = "{real[other]}"\n')
    Small(here).keep()
    assert quick.answer(["build", "net.yaml"]) == 0
    project.write_text(project.read_text().replace(f'{key} = "{real[key]}"', f'{key} = "elsewhere"'))
    assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("MODELBUILD_OUT", "build", 0), ("MODELBUILD_OUT", "elsewhere", None), ("MODELBUILD_JOBS", "2", 0),
        ("MODELBUILD_JOBS", "two", None), ("MODELBUILD_FORMAT", "text", 0),
        ("MODELBUILD_FORMAT", "xml", None),
        ("MODELBUILD_CACHE_DIR", "elsewhere", None), ("MODELBUILD_VERBOSE", "1", None),
        ("MODELBUILD_QUIET", "", 0), ("MODELBUILD_QUIET", "yes", None),
    ],
)  # fmt: skip
def test_the_fast_path_heeds_the_environment(
    small: Small, monkeypatch: pytest.MonkeyPatch, name: str, value: str, code: int | None
) -> None:
    monkeypatch.setenv(name, value)
    assert quick.answer(["build", "net.yaml"]) == code


@pytest.mark.parametrize("quiet", [["-q"], ["--quiet"], []])
def test_quietly_nothing_is_said_when_there_is_nothing_to_do(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], quiet: list[str]
) -> None:
    if not quiet:
        monkeypatch.setenv("MODELBUILD_QUIET", "1")
    capsys.readouterr()
    assert quick.answer(["build", "net.yaml", *quiet]) == 0
    assert capsys.readouterr() == ("", "")


def test_a_large_file_from_during_the_build_is_looked_at_the_next_time(here: Path) -> None:
    made = Small(here, large=True)
    started = stat_rows.now()
    made.source.touch()
    made.keep(started)
    time.sleep(AGED)
    assert "?\t" + str(made.source) in next((here / "cache/state").glob("*[!n]")).read_text()
    assert quick.answer(["build", "net.yaml"]) == 0
    assert "?\t" not in next((here / "cache/state").glob("*[!n]")).read_text()
    _rewritten(made.source)
    assert quick.answer(["build", "net.yaml"]) is None


def test_what_is_written_through_a_mapping_is_looked_at(here: Path) -> None:
    """The first write moves the times, the next ones do not."""
    made = Small(here)
    with made.source.open("r+b") as file, mmap.mmap(file.fileno(), 0) as page:
        page[:5] = b"WIDTH"
        time.sleep(AGED)
        made.keep()
        assert quick.answer(["build", "net.yaml"]) == 0
        before = stat_rows.row(str(made.source))
        page[:5] = b"DEPTH"
        if stat_rows.row(str(made.source)) != before:
            pytest.skip("here, every write moves the times")
        assert quick.answer(["build", "net.yaml"]) is None


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_a_file_server_whose_clock_is_behind_hides_no_change(
    here: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    """All of its times are from long before the build began."""
    monkeypatch.setattr(untimely, "_is_of_another_clock", lambda folder: True)
    made = Small(here, large=large)
    read = f"sha256:{hash_file(made.source).sha256}"
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 3600 * 10**9)
    started = stat_rows.now()
    same_size_and_times(made.source, "8", "9")
    made.keep(started, **{"file source.py": read})
    assert quick.answer(["build", "net.yaml"]) is None


def test_a_file_server_costs_one_look(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(untimely, "_is_of_another_clock", lambda folder: True)
    made = Small(here, large=True)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) == 0  # here, the large file is hashed
    monkeypatch.setattr(kinds, "current", None)
    assert quick.answer(["build", "net.yaml"]) == 0


def test_a_clock_that_was_set_back_during_the_build_leaves_no_state(here: Path) -> None:
    made = Small(here)
    wall, steady = stat_rows.now()
    made.keep((wall + 10**9, steady))
    assert quick.answer(["build", "net.yaml"]) is None


def test_another_search_path_is_another_program(small: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(small.folder)
    sys.path.insert(0, "")  # the first entry is that of the script
    assert quick.answer(["build", "net.yaml"]) is None


def _rows_of(home: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    monkeypatch.setattr(state, "__file__", str(home / "state" / "format.py"))
    paths = [Path(row.partition("\t")[2]) for row in state.program_rows()]
    return {str(path.relative_to(home)) for path in paths if path.is_relative_to(home)}


def test_what_is_above_a_build_is_no_part_of_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("quick.py", "state/format.py", "building/cli/x.py", "cli/main.py", "cli/commands/build.py",
                 "views/drawing/dot.py", "setup/ci/files.py", "base/__pycache__/old.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert _rows_of(tmp_path, monkeypatch) == {"quick.py", "state/format.py", "building/cli/x.py"}


def test_the_wings_that_are_not_looked_at_are_those_above_what_builds() -> None:
    rules = configparser.ConfigParser()
    rules.read(Path(__file__).parents[2] / ".importlinter")
    layers = rules["importlinter:contract:wings"]["layers"].split("building")[0].replace("|", " ").split()
    assert set(layers) - set(state._ABOVE) == {"__main__", "quick"}
    assert set(state._ABOVE) < set(layers)


def test_no_bit_of_a_state_file_may_flip(small: Small) -> None:
    path = next((small.folder / "cache/state").glob("*[!n]"))
    data = path.read_bytes()
    assert state.unpacked(data) is not None
    for i in range(len(data)):
        flipped = data[:i] + bytes([data[i] ^ 1 << i % 8]) + data[i + 1 :]
        assert state.unpacked(flipped) is None
        assert state.unpacked(data[:i]) is None


def test_a_state_file_of_another_recipe_answers_nothing(small: Small) -> None:
    """Two recipes may share a place: its name is a checksum of the folder."""
    path = next((small.folder / "cache/state").glob("*[!n]"))
    inner = small.folder / "inner"
    inner.mkdir()
    small.recipe.rename(inner / "net.yaml")
    other = state.place(str(small.folder / "cache"), str(inner / "net.yaml"), str(small.folder / "build"),
                        str(small.folder))  # fmt: skip
    path.rename(other)
    assert quick.answer(["build", "inner/net.yaml"]) is None


def test_a_cache_that_cannot_be_written_keeps_nothing_and_says_nothing(here: Path) -> None:
    (here / "cache").write_text("a file, not a folder")
    made = Small(here)
    made.keep()
    assert quick.answer(["build", "net.yaml"]) is None


def test_ctrl_c_is_130(
    small: Small, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def pressed(_: str) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(state, "load", pressed)
    assert quick.answer(["build", "net.yaml"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
