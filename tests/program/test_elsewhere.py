"""On a system that is not Linux, a command and each function say so: nothing is tried that only Linux has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import modelbuild

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]

# A Python without what Windows lacks. What a finder of Python's own would read there is loaded before.
ELSEWHERE = """
import argparse, json, os, site, stat, sys, time, zlib
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in ("fcntl", "grp", "pwd", "resource", "termios"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
for name in ("fcntl", "grp", "pwd", "resource", "termios"):
    sys.modules.pop(name, None)
for name in ("fork", "getuid", "geteuid", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK"):
    delattr(os, name)
sys.platform = "win32"
"""

SAID = "modelbuild runs on Linux alone, and this is win32"


def elsewhere(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ELSEWHERE + code], cwd=ROOT, env={**os.environ, "COLUMNS": ""},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_command_says_that_this_is_not_linux() -> None:
    code = "sys.argv = ['modelbuild', 'build', 'r.yaml']; from modelbuild.quick import main; sys.exit(main())"

    done = elsewhere(code)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error[system-error]: {SAID}\n"
        "hint: on Windows work in WSL 2, on macOS in a container; what it builds is for any system\n"
    )


@pytest.mark.parametrize("name", [name for name in modelbuild.__all__ if name.islower() and name[0] != "_"])
def test_a_function_says_that_this_is_not_linux(name: str) -> None:
    given = "'net.fp32.onnx', 'net.yaml'" if name == "why" else "'net.yaml'"

    done = elsewhere(
        f"import modelbuild\ntry: modelbuild.{name}({given})\nexcept Exception as e: print(repr(e))"
    )

    assert done.stdout == f"ModelbuildError('{SAID}')\n", done.stderr


def test_importing_the_package_works_everywhere() -> None:
    assert elsewhere("import modelbuild; print(modelbuild.__all__[0])").stdout == "ArtifactResult\n"
