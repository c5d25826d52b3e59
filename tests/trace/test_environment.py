"""Variables that the model reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelbuild.machine.environment import ENVIRONMENT
from tests.trace.running import names, of_kind, run, write

# ---- environment ----

VARIABLES: list[Any] = [
    pytest.param("import os; os.environ['SIZE']", {"SIZE": "8"}, id="item"),
    pytest.param("import os; os.environ.get('NOPE')", {"NOPE": None}, id="get"),
    pytest.param("import os; os.getenv('NOPE', '3')", {"NOPE": None}, id="getenv"),
    pytest.param("import os; 'SIZE' in os.environ", {"SIZE": "8"}, id="in"),
    pytest.param("import os; os.environb[b'SIZE']", {"SIZE": "8"}, id="bytes"),
    pytest.param("import os; os.environ.setdefault('NOPE', '3')", {"NOPE": None}, id="setdefault"),
    pytest.param("import os; os.path.expandvars('$SIZE/x')", {"SIZE": "8"}, id="expandvars"),
    pytest.param("from helper import size; size()", {"SIZE": "8"}, id="first-party-helper"),
    pytest.param("import lib; lib.read('SIZE')", {"SIZE": "8"}, id="library-on-behalf"),
    pytest.param("import lib_reads", {}, id="library-for-itself"),
    pytest.param("import tempfile; tempfile.mkdtemp()", {}, id="standard"),
    pytest.param("import os; os.path.expanduser('~/data')", {"HOME": "/home/me"}, id="home"),
    pytest.param("from pathlib import Path; Path.home()", {"HOME": "/home/me"}, id="pathlib-home"),
    pytest.param("from pathlib import Path; Path('~/x').expanduser()", {"HOME": "/home/me"}, id="expanduser"),
    pytest.param(
        "import gettext; gettext.find('net', 'locale')",
        {"LANGUAGE": None, "LC_ALL": None, "LC_MESSAGES": None, "LANG": None},
        id="language",
    ),
    pytest.param("import os; os.environ['SIZE'] = '9'; os.environ['SIZE']", {}, id="set-by-the-run"),
    pytest.param("import os; os.environ.get('PYTHONHASHSEED')", {}, id="set-by-modelbuild"),
    pytest.param("import os; dict(os.environ); os.environ.copy(); {**os.environ}", {}, id="copied"),
    pytest.param("import os; list(os.environ.items()); list(os.environ.values())", {}, id="all-of-them"),
    pytest.param("import os; dict(os.environ); os.environ['SIZE']", {"SIZE": "8"}, id="copied-and-read"),
    pytest.param(
        "import os\nfor name in os.environ:\n  if name.startswith('SIZ'): os.environ[name]",
        {"SIZE": "8", "SIZ": None},
        id="searched",
    ),
    pytest.param("import os; os.environ.copy().get('SIZE')", {"SIZE": "8"}, id="in-a-copy"),
    pytest.param("import os; dict(os.environ).get('NOPE', '3')", {"NOPE": None}, id="not-in-a-copy"),
    pytest.param("import os; {**os.environ}['SIZE']; 'Word'; 'TWO WORDS'", {"SIZE": "8"}, id="words"),
    pytest.param("import os; os.environ['SIZE'] = '9'; dict(os.environ)['SIZE']", {}, id="set-and-copied"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "expected"), VARIABLES)
def test_a_variable_that_the_users_code_reads_is_a_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: dict[str, str | None]
) -> None:
    monkeypatch.setenv("SIZE", "8")
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("NOPE", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    base, site = tmp_path / "base", tmp_path / "site-packages"
    write(base, "helper.py", "import os\ndef size(): return os.environ['SIZE']")
    write(site, "lib.py", "import os\ndef read(name): return os.environ[name]")
    write(site, "lib_reads.py", "import lib; lib.read('SIZE')")
    monkeypatch.syspath_prepend(str(site))
    found = run(base, code)
    assert {n.partition(" ")[2]: v for n, v in of_kind(found, "env").items()} == expected


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_no_variable_that_modelbuild_sets_is_a_fact(tmp_path: Path, name: str) -> None:
    found = run(tmp_path, f"import os; os.environ.get({name!r}); os.environ.get('OTHER')")
    assert list(of_kind(found, "env")) == ["env OTHER"]


@pytest.mark.parametrize("strict", [False, True])
def test_a_variable_that_forward_reads_is_seen_while_it_is_exported(tmp_path: Path, strict: bool) -> None:
    found = run(
        tmp_path,
        f"""\
        import os, torch
        class Net(torch.nn.Module):
            def forward(self, x):
                if "NOPE" in os.environ:
                    return x
                return x * int(os.getenv("FACTOR", "2"))
        out = torch.export.export(Net(), (torch.ones(2),), strict={strict}).module()(torch.ones(2))
        assert out.tolist() == [2, 2]
        """,
    )
    assert {"NOPE", "FACTOR"} <= names(found, "env")


def test_what_pytorch_reads_for_itself_is_told_from_what_the_model_reads(tmp_path: Path) -> None:
    """Both decide what is fresh; a lock file has what its reader can do something about."""
    found = run(
        tmp_path,
        """\
        import os, torch
        code = "def _reads(os): return [os.getenv(name) for name in ('DEBUG', 'BOTH')]"
        exec(compile(code, torch.__file__, "exec"), vars(torch))
        torch._reads(os), os.getenv("BOTH"), os.getenv("MINE")
        """,
    )
    assert names(found, "torch-env") == {"DEBUG"}
    assert names(found, "env") == {"BOTH", "MINE"}
