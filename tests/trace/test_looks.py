"""What was looked for, listed or followed and not opened: a fact as well."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from modelbuild.trace import facts
from modelbuild.trace.kinds import current, guards
from tests.trace.running import LONG_AGO, of_kind, run, stat_rows_of, write

# ---- what is not there, folders ----

ABSENT: list[Any] = [
    pytest.param("try: open('no.json')\nexcept OSError: pass", {"absent no.json"}, id="open"),
    pytest.param("import os.path; os.path.exists('no.json')", {"absent no.json"}, id="exists"),
    pytest.param("from pathlib import Path; Path('no.json').is_file()", {"absent no.json"}, id="pathlib"),
    pytest.param("import os; os.access('no.json', os.R_OK)", {"absent no.json"}, id="access"),
    pytest.param("import glob; glob.glob('no/x.txt')", {"absent no/x.txt"}, id="glob-of-one"),
    pytest.param("import os\ntry: os.listdir('no')\nexcept OSError: pass", {"absent no"}, id="listing"),
    pytest.param(
        "import pkgutil\ntry: pkgutil.get_data('main', 'no.json')\nexcept OSError: pass",
        {"absent no.json"}, id="get_data",
    ),
    pytest.param("import os; os.path.exists('data')", {"present data"}, id="present"),
    pytest.param("import os; os.path.exists('data/a'); open('data/a')", {"file data/a"}, id="and-read"),
    pytest.param(
        "import os\nif not os.path.exists('w'): open('w', 'w').write('1')", {"made w"}, id="made-and-left"
    ),
    pytest.param(
        "import os\nif not os.path.exists('w'): open('w', 'w').close()\nos.remove('w')",
        set(),
        id="made-and-gone",
    ),
    pytest.param("import os; os.makedirs('data/new/deep', exist_ok=True)", set(), id="makedirs"),
    pytest.param("from pathlib import Path; Path(__file__).resolve()", set(), id="resolve"),
    pytest.param("import importlib.metadata as m; m.version('torch')", set(), id="metadata"),
    pytest.param("import torch, shutil; shutil.which('no'); torch.hub.get_dir()", set(), id="libraries"),
    pytest.param("import os; os.listdir('data')", {"listing data"}, id="listdir"),
    pytest.param("import os; list(os.scandir('data'))", {"listing data"}, id="scandir"),
    pytest.param("import glob; glob.glob('data/*')", {"listing data"}, id="glob"),
    pytest.param("from pathlib import Path; list(Path('data').iterdir())", {"listing data"}, id="iterdir"),
    pytest.param("import os; os.listdir()", {"listing ."}, id="here"),
    pytest.param("import os; os.listdir(os.path.dirname(os.__file__))", set(), id="installed-folder"),
    pytest.param("import data", set(), id="import"),
]  # fmt: skip


LOOKS: list[Any] = [
    # the code, which facts it makes, and an edit that moves one of them
    pytest.param("import os; os.path.getsize('a.pt')", {"size a.pt": "1"}, "grow", id="getsize"),
    pytest.param(
        "from pathlib import Path; Path('a.pt').stat()", {"size a.pt": "1", "executable a.pt": "no"}, "grow",
        id="stat",
    ),
    pytest.param(
        "import os; [e.stat().st_size for e in os.scandir('runs') if e.name == 'a.pt']",
        {"size runs/a.pt": "1", "executable runs/a.pt": "no"}, "grow-run", id="scandir-stat",
    ),
    pytest.param(
        "import os; max(['a.pt', 'b.pt'], key=os.path.getmtime)",
        {"order of-times": '["a.pt", "b.pt"]'}, "older", id="newest-of-names",
    ),
    pytest.param(
        "import os; max(os.scandir('runs'), key=lambda e: e.stat().st_mtime)",
        {"order of-times": '["runs/a.pt", "runs/b.pt"]'}, "older-run", id="newest-of-entries",
    ),
    pytest.param("import os; os.path.getmtime('a.pt')", {}, None, id="the-time-of-one"),
    pytest.param("import os; os.path.islink('a.pt')", {"link a.pt": None}, "link", id="islink"),
    pytest.param(
        "from pathlib import Path; Path('a.pt').is_symlink()", {"link a.pt": None}, "link", id="is_symlink"
    ),
    pytest.param(
        "import os; [e.is_symlink() for e in os.scandir('.') if e.name == 'a.pt']", {"link a.pt": None},
        "link", id="scandir-is_symlink",
    ),
    pytest.param("import os; os.access('a.pt', os.X_OK)", {"executable a.pt": "no"}, "chmod", id="access"),
    pytest.param(
        "from concurrent.futures import ThreadPoolExecutor as T; import os\n"
        "with T() as pool: list(pool.map(os.path.exists, ['no.pt']))",
        {"absent no.pt": None}, "create", id="exists-in-a-pool",
    ),
    pytest.param(
        "import threading, os; t = threading.Thread(target=os.path.exists, args=('no.pt',))\n"
        "t.start(); t.join()",
        {"absent no.pt": None}, "create", id="exists-in-a-thread",
    ),
    pytest.param(
        "import lib; lib.find('no.pt')", {"absent no.pt": None, "absent ../no.pt": None}, "create-above",
        id="upwards-by-a-library",
    ),
    pytest.param("import lib", {}, None, id="by-a-library-for-itself"),
    pytest.param("import gettext; gettext.find('net', 'locale', ['xx'])",
                 {"absent locale/xx/LC_MESSAGES/net.mo": None}, "translate", id="catalogue"),
    pytest.param("import shutil; shutil.which('frobnicate')", {"which frobnicate": None}, "install",
                 id="program"),
]  # fmt: skip


def _installs(base: Path) -> None:
    program = write(base, "bin/frobnicate")
    program.chmod(0o755)


EDITS: dict[str, Callable[[Path], object]] = {
    "grow": lambda base: write(base, "a.pt", "11"),
    "grow-run": lambda base: write(base, "runs/a.pt", "11"),
    "older": lambda base: os.utime(base / "b.pt", (1, 1)),
    "older-run": lambda base: os.utime(base / "runs/b.pt", (1, 1)),
    "link": lambda base: [(base / "a.pt").rename(base / "c.pt"), (base / "a.pt").symlink_to("c.pt")],
    "chmod": lambda base: (base / "a.pt").chmod(0o755),
    "create": lambda base: write(base, "no.pt"),
    "create-above": lambda base: write(base.parent, "no.pt"),
    "translate": lambda base: write(base, "locale/xx/LC_MESSAGES/net.mo"),
    "install": _installs,
}

FIND = """\
import os
os.path.exists('no.pt')

def find(name):
    return [os.path.isfile(os.path.join(folder, name)) for folder in ('.', '..')]
"""


@pytest.mark.parametrize(("code", "expected", "edit"), LOOKS)
def test_what_was_looked_at_and_not_opened_is_a_fact_of_what_was_seen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    expected: dict[str, str | None],
    edit: str | None,
) -> None:
    base, site = tmp_path / "base", tmp_path / "site-packages"
    write(site, "lib.py", FIND)
    for number, name in enumerate(("a.pt", "b.pt", "runs/a.pt", "runs/b.pt"), 1):
        os.utime(write(base, name, "1"), (LONG_AGO + number,) * 2)
    write(base, "bin/other")
    monkeypatch.setenv("PATH", f"{base / 'bin'}:/usr/bin")
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    read = run(base, code, path=(site,)).facts
    kinds = ("size", "executable", "order", "link", "absent", "which")
    seen = {n: v for n, v in read.items() if n.startswith(kinds)}
    if edit in ("older", "older-run"):
        seen = {n: v for n, v in seen.items() if n.startswith("order")}
    assert seen == expected
    monkeypatch.chdir(base)
    before = {n: stat_rows_of(guards(n, v, base)) for n, v in expected.items()}
    assert {n for n, v in expected.items() if current(n, v, base) != v} == set()
    if edit is not None:
        EDITS[edit](base)
        moved = {n for n, v in expected.items() if current(n, v, base) != v}
        assert len(moved) == 1
        for name in moved:
            assert stat_rows_of(guards(name, expected[name], base)) != before[name]


@pytest.mark.parametrize(("code", "expected"), ABSENT)
def test_what_was_looked_for_is_a_fact(tmp_path: Path, code: str, expected: set[str]) -> None:
    write(tmp_path, "data/a")
    (tmp_path / "cache").mkdir()
    found = run(tmp_path, code, ignored=(tmp_path / "cache", tmp_path / "out"))
    seen = of_kind(found, "file", "absent", "present", "listing", "made")
    assert set(seen) == expected
    for name, value in seen.items():
        assert current(name, value, tmp_path) == value
    if "listing ." in expected:
        assert str(seen["listing ."]).endswith("/cache/out")


def test_a_folder_that_the_run_leaves_is_looked_at_by_the_next_run(tmp_path: Path) -> None:
    found = run(tmp_path, "import os\nif not os.path.isdir('w'): os.mkdir('w')")
    assert of_kind(found, "absent", "made") == {"absent w": None}


def test_what_the_run_leaves_in_a_folder_does_not_count_among_its_names(tmp_path: Path) -> None:
    """A cache that the model makes for itself must not call for another build."""
    write(tmp_path, "data/a")
    code = """\
    import os
    open('data/first', 'w').close()
    os.listdir('data')
    open('data/second', 'w').close()
    """
    value = run(tmp_path, code).facts["listing data"]
    assert value is not None
    assert value.endswith("/first/second")
    assert current("listing data", value, tmp_path) == value
    write(tmp_path, "data/b")
    assert current("listing data", value, tmp_path) != value


def test_a_link_that_is_followed_by_name_is_a_fact(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        write(tmp_path, f"{version}/k.txt", version)
    (tmp_path / "current").symlink_to("v1")
    found = run(tmp_path, "from pathlib import Path; (Path('current').resolve() / 'k.txt').read_text()")
    assert of_kind(found, "file", "link") == {
        "link current": "v1",
        "file v1/k.txt": facts.file_digest(tmp_path / "v1/k.txt"),
    }
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("v2")
    assert current("link current", "v1", tmp_path) == "v2"


RELATIVE: list[Any] = [
    pytest.param("open('data.txt')", True, id="open"),
    pytest.param("import os; os.path.exists('no')", True, id="exists"),
    pytest.param("import os; os.path.abspath('data.txt')", True, id="abspath"),
    pytest.param("from pathlib import Path; Path.cwd()", True, id="cwd"),
    pytest.param("import sys; sys.path.insert(0, 'lib')", True, id="search-path"),
    pytest.param(
        "from pathlib import Path; (Path(__file__).resolve().parent / 'data.txt').read_text()",
        False,
        id="beside-the-source",
    ),
    pytest.param("import torch; torch.tanh(torch.ones(1))", False, id="library"),
]


@pytest.mark.parametrize(("code", "counts"), RELATIVE)
def test_the_commands_folder_is_a_fact_if_it_matters(tmp_path: Path, code: str, counts: bool) -> None:
    base, cwd = tmp_path / "base", tmp_path / "cwd"
    write(cwd, "data.txt")
    write(base, "data.txt")
    assert of_kind(run(base, code, cwd=cwd), "cwd") == ({"cwd": "../cwd"} if counts else {})
