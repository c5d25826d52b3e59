"""What a run read: changes while it runs, children and forks, and no other."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from modelbuild.machine.isolate import in_child
from modelbuild.trace.recording import Trace
from tests.trace.running import names, run, write

# ---- changes while it runs ----


def _replaced(path: Path, text: str) -> Callable[[], object]:
    return lambda: path.write_text(text)


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    data = write(tmp_path, "data.txt", "1")
    part = write(tmp_path, "part.py", "x = 1")
    code = "import part; open('data.txt').read()"
    assert run(tmp_path, code).unstable == ()
    assert run(tmp_path, code, meanwhile=_replaced(data, "2")).unstable == ("data.txt",)
    assert run(tmp_path, code, meanwhile=_replaced(part, "x = 2")).unstable == ("part.py",)
    assert run(tmp_path, code, meanwhile=data.unlink).unstable == ("data.txt",)


def test_a_declared_file_that_changes_while_it_may_be_read_is_told(tmp_path: Path) -> None:
    table = write(tmp_path, "table.bin", "1")
    time.sleep(0.03)
    assert run(tmp_path, "", declared=(table,)).unstable == ()
    changed = run(tmp_path, "", declared=(table,), meanwhile=_replaced(table, "2"))
    assert changed.unstable == ("table.bin",)
    assert names(changed, "file") == {"table.bin"}


@pytest.mark.parametrize(
    ("size", "edit", "unstable"),
    [
        pytest.param(10, "same", False, id="small-and-as-it-was"),
        pytest.param(10, "other", True, id="small-and-edited-at-once"),
        pytest.param(2 << 20, "none", True, id="too-big-to-be-sure"),
    ],
)
def test_a_file_as_young_as_its_clock_is_known_by_its_bytes(
    tmp_path: Path, size: int, edit: str, unstable: bool
) -> None:
    """Its times would be the same after another edit within the tick."""
    code = """\
    import os
    from pathlib import Path
    path = Path('data.bin')
    os.utime(path)   # as young as can be: its change time is now
    path.open('rb').close()
    """
    data = write(tmp_path, "data.bin", b"a" * size)

    def edited() -> None:
        if edit != "none":
            data.write_bytes((b"a" if edit == "same" else b"b") * size)

    found = run(tmp_path, code, meanwhile=edited)
    assert found.unstable == (("data.bin",) if unstable else ())


def test_a_file_dated_into_the_future_is_as_good_as_another(tmp_path: Path) -> None:
    table = write(tmp_path, "table.bin", b"1" * (2 << 20))
    os.utime(table, (time.time() + 3600, time.time() + 3600))
    assert run(tmp_path, "open('table.bin')", declared=(table,)).unstable == ()
    assert run(tmp_path, "", declared=(table,)).unstable == ()


def test_a_scratch_file_of_a_child_of_the_run_is_no_fact(tmp_path: Path) -> None:
    code = """\
    import os, subprocess
    subprocess.run("echo 1 > scratch", shell=True)
    open("scratch").read()
    os.remove("scratch")
    """
    found = run(tmp_path, code)
    assert names(found, "file", "absent") == set()
    assert found.unstable == ()


def test_a_declared_file_that_cannot_be_read_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = run(tmp_path, "", declared=(tmp_path / "folder", tmp_path / "nothing"))
    assert names(found, "file") == set()


def test_a_name_that_no_file_can_hold_is_told_and_is_no_fact(tmp_path: Path) -> None:
    name = os.fsdecode(b"data-\xff.txt")
    write(tmp_path, name)
    found = run(tmp_path, f"open({name!r})")
    assert names(found, "file") == set()
    assert found.unstable == ("data-\\udcff.txt",)


def test_each_source_has_its_outline(tmp_path: Path) -> None:
    write(tmp_path, "part.py", "def helper(): pass\nclass Net: pass\n")
    outlines = run(tmp_path, "import part\nX = 1\n").outlines
    assert set(outlines) == {"main.py", "part.py"}
    assert set(outlines["part.py"]) == {"helper", "Net"}
    assert set(outlines["main.py"]) == {"", "X"}


def test_forks_find_what_was_read_before_and_after_them(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    write(tmp_path, "b.txt")
    code = """\
    import os
    open('a.txt')
    """

    def traced() -> list[set[str]]:
        os.chdir(tmp_path)
        sys.path.insert(0, str(tmp_path))
        trace = Trace(tmp_path)
        __import__("main")

        def beside() -> set[str]:
            (tmp_path / "b.txt").read_text()
            return names(trace.found(), "file")

        return [in_child(beside).value, names(trace.found(), "file")]

    write(tmp_path, "main.py", code)
    time.sleep(0.03)
    assert in_child(traced).value == [{"a.txt", "b.txt"}, {"a.txt", "b.txt"}]
