"""The fast path on a real project: what it imports, and that it says what the slow path says."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from modelbuild.machine import home
from tests.conftest import RECIPE, Answer, Project
from tests.state.conftest import AGED, same_size_and_times

HEAVY = {"argparse", "dataclasses", "hashlib", "json", "numpy", "onnx", "pathlib", "pydantic", "re", "rich",
         "torch", "typing", "yaml"}  # fmt: skip


# ---- a real project ----------------------------------------------------------------------------


def quickly(project: Project, *arguments: str) -> tuple[int | None, str, set[str]]:
    """The fast path alone: its exit code, what it printed, and the modules that it imported."""
    code = (
        "import sys; before = set(sys.modules); from modelbuild import quick;"
        f"print('\\n' + repr(quick.answer({['build', *arguments]!r})), *set(sys.modules) - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.folder, env=project.environ(), capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    text, _, last = done.stdout.rstrip("\n").rpartition("\n")
    result, *modules = last.split()
    return None if result == "None" else int(result), text.rstrip("\n"), set(modules)


@pytest.fixture
def kept(warm: Project) -> Project:
    """A project with nothing to do, whose state has been looked at since."""
    time.sleep(AGED)
    warm.build()
    time.sleep(AGED)
    assert quickly(warm, "net.yaml")[0] == 0
    return warm


@pytest.mark.parametrize(
    ("environment", "root"),
    [
        ({"MODELBUILD_CACHE_DIR": "/c", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/modelbuild"),
        ({"HOME": "/h"}, "/h/.cache/modelbuild"),
    ],
    ids=["named", "xdg", "home"],
)
def test_the_cache_is_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], root: str
) -> None:
    for name in ("MODELBUILD_CACHE_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert str(home.default_root()) == root


def test_a_fresh_build_imports_next_to_nothing(kept: Project) -> None:
    code, text, modules = quickly(kept, "net.yaml")
    assert code == 0
    assert text == "net: 1 artifact cached, nothing to do: build/net"
    assert modules & HEAVY == set()
    assert {m for m in modules if m.startswith("modelbuild")} == {
        "modelbuild", "modelbuild.quick", "modelbuild.settings", "modelbuild.state",
        "modelbuild.state.recalling", "modelbuild.state.format", "modelbuild.machine",
        "modelbuild.machine.home",
        "modelbuild.base", "modelbuild.base.stat_rows",
    }  # fmt: skip


def test_a_recipe_whose_own_function_judges_takes_the_fast_path(warm: Project) -> None:
    """Its process imports other modules than the model's does, and asks the same folders for them."""
    warm.write("near.py", "import numpy\n\n\ndef near(ours, theirs):\n    return True\n")
    warm.recipe(base=RECIPE.replace("samples: 2", 'samples: 2, function: "near:near"'))
    time.sleep(AGED)  # of a recipe that is saved just now, nothing is kept
    assert warm.build().code == 0
    time.sleep(AGED)
    code, text, _ = quickly(warm, "net.yaml")
    assert (code, "1 cached" in text or "cached" in text) == (0, True)
    warm.write("numpy.py", "raise ImportError('another')\n")
    assert quickly(warm, "net.yaml")[0] is None


def test_both_ways_say_the_same(kept: Project) -> None:
    kept.write("other.yaml", (kept.folder / "net.yaml").read_text() + "name: other\n")
    for arguments in (["net.yaml"], ["./net.yaml", "--format=json"], ["."], [".", "--format", "json"],
                      ["net.yaml", str(kept.folder / "other.yaml"), "-j2"]):  # fmt: skip
        kept.run("build", "net.yaml", "other.yaml")
        time.sleep(AGED)
        code, text, _ = quickly(kept, *arguments)
        assert code == 0, arguments
        for path in (kept.folder / "cache/state").iterdir():
            path.unlink()
        assert kept.run("build", *arguments).stdout.rstrip("\n") == text


def test_nothing_to_do_is_one_line_however_many_recipes_there_are(kept: Project) -> None:
    kept.write("a.yaml", (kept.folder / "net.yaml").read_text() + "name: other\n")
    kept.run("build", "a.yaml")
    time.sleep(AGED)
    assert kept.run("build", ".").stdout == "2 recipes: 2 artifacts cached, nothing to do: build\n"
    assert kept.run("build", "a.yaml").stdout == "other: 1 artifact cached, nothing to do: build/other\n"


def test_a_reader_that_leaves_is_no_reason_for_a_traceback(kept: Project) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        kept.command("build", "net.yaml"), cwd=kept.folder, env=kept.environ(), stdout=writer,
        stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize(("old", "new"), [("torch.relu", "torch.tanh"), ("width=8", "width=9")])
def test_an_edit_of_equal_size_with_its_time_put_back_is_noticed(kept: Project, old: str, new: str) -> None:
    same_size_and_times(kept.folder / "net.py", old, new)
    again = kept.build()
    assert again.artifacts["net.fp32.onnx"]["status"] == "built"
    assert "net.py" in again.artifacts["net.fp32.onnx"]["reason"]


def test_a_touch_costs_one_look(kept: Project) -> None:
    (kept.folder / "net.py").touch()
    time.sleep(AGED)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, True)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, False)


def test_a_fresh_checkout_costs_one_look(kept: Project) -> None:
    for path in (kept.folder / "net.py", kept.folder / "net.yaml"):
        text = path.read_text()
        path.unlink()
        path.write_text(text)
    time.sleep(AGED)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, True)
    code, _, modules = quickly(kept, "net.yaml")
    assert (code, "modelbuild.state.refreshing" in modules) == (0, False)


def test_a_missing_output_comes_back(kept: Project) -> None:
    kept.output("net.fp32.onnx").unlink()
    assert kept.build().statuses == {"net.fp32.onnx": "cached"}
    assert kept.output("net.fp32.onnx").is_file()


@pytest.mark.parametrize("damage", ["", "{", "modelbuild state 1 00000000\n"])
def test_a_damaged_state_file_is_as_good_as_none(kept: Project, damage: str) -> None:
    for path in (kept.folder / "cache/state").iterdir():
        path.write_text(damage)
    assert quickly(kept, "net.yaml")[0] is None
    assert kept.build().statuses == {"net.fp32.onnx": "cached"}


def test_the_state_is_safe_to_delete(kept: Project) -> None:
    for path in (kept.folder / "cache/state").iterdir():
        path.unlink()
    answer: Answer = kept.build()
    assert answer.statuses == {"net.fp32.onnx": "cached"}
    assert list((kept.folder / "cache/state").iterdir())


SCRIPT = "import sys; from modelbuild.quick import main; sys.exit(main())"


def ended(kept: Project, script: str) -> tuple[int, str]:
    """How a script ends that has nothing to do, and what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, "build", "net.yaml"], cwd=kept.folder, env=kept.environ(),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.mark.cold
def test_a_script_with_nothing_to_do_ends_without_taking_python_down(kept: Project) -> None:
    """What would die with Python does not, and all that was said is there."""
    asks = subprocess.run(
        [sys.executable, "-c", "import sys; sys.exit('atexit' in sys.modules)"], check=False
    )
    if asks.returncode:
        pytest.skip("something in this Python's site-packages asks for its end")
    code, text = ended(kept, f"class Last:\n  def __del__(self): print('dead')\nlast = Last()\n{SCRIPT}")
    assert (code, text) == (0, kept.run("build", "net.yaml").stdout)


@pytest.mark.cold
@pytest.mark.parametrize(
    ("script", "told"),
    [
        (f"import atexit; atexit.register(print, 'told'); {SCRIPT}", "told"),
        (
            "from modelbuild.quick import main\ndef caller():\n  main()\n  print('goes on')\ncaller()",
            "goes on",
        ),
    ],
    ids=["asked for the end", "a caller"],
)
def test_whoever_waits_for_the_end_is_told_of_it(kept: Project, script: str, told: str) -> None:
    code, text = ended(kept, script)
    assert (code, text.splitlines()[-1]) == (0, told)
