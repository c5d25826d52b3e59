"""Running git so that it runs nothing else: no hooks, filters, pagers, monitors, prompts or network.

Its output is bounded, in size and in time.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.base.escaping import line

FAILED: Final = "git-failed"

_SECONDS = 60.0
MOST_LISTED = 1 << 27  # bytes of one listing: about a million files

# Of the caller's environment: which configuration is the user's, and where to stop looking for .git.
_KEPT = (
    "HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM",
    "GIT_CEILING_DIRECTORIES", "GIT_DISCOVERY_ACROSS_FILESYSTEM",
)  # fmt: skip
_ENVIRONMENT = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",  # the index is not refreshed on the way
    "GIT_NO_LAZY_FETCH": "1",  # from git 2.45 on; before, no protocol is allowed
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_PAGER": "cat",
}
_SETTINGS = {
    "safe.bareRepository": "explicit",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.quotePath": "false",
    "core.untrackedCache": "false",
    "diff.external": "",
}


@dataclass(frozen=True)
class GitAnswer:
    code: int
    output: bytes
    said: str  # the first line of standard error


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], asked: Iterable[str] = (),
    most: int = MOST_LISTED, cut: bool = False,
) -> GitAnswer:  # fmt: skip
    given, said = os.memfd_create("asked"), os.memfd_create("said")
    with open(given, "wb+") as stdin, open(said, "wb+") as stderr:
        stdin.write("".join(f"{line}\n" for line in asked).encode("ascii"))
        stdin.seek(0)
        try:
            process = subprocess.Popen(
                [_git(), "--no-pager", *arguments],
                cwd=folder, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr,
                start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            why = f"git cannot run in `{shown(folder)}`: {error.strerror}"
            raise failed(why, "name a folder that is there") from error
        with _ended(process):
            output, whole = _read(process, most)
        if not whole and not cut:
            raise failed(
                f"`git {arguments[0]}` says more than {most >> 20} MiB", "this repository is too large"
            )
        stderr.seek(0)
        first = stderr.read(4000).decode("utf-8", "replace").strip().partition("\n")[0]
        return GitAnswer(process.returncode if whole else 0, output, shown(first, 300))


def _read(process: subprocess.Popen[bytes], most: int) -> tuple[bytes, bool]:
    """What the process writes, up to ``most`` bytes; and whether that was all, and it has ended."""
    assert process.stdout is not None
    until = time.monotonic() + _SECONDS
    held = bytearray()
    pipe = process.stdout.fileno()
    while len(held) <= most:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise failed(f"git took longer than {_SECONDS:.0f} s", "try a smaller range")
        some = os.read(pipe, 1 << 20)
        if not some:
            process.wait(timeout=_SECONDS)
            return bytes(held), True
        held += some
    return bytes(held[:most]), False


@contextlib.contextmanager
def _ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Ends the process, whatever happens."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _git() -> str:
    # A relative place in PATH would be one in the repository.
    places = [p for p in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(p)]
    found = shutil.which("git", path=os.pathsep.join(places))
    if found is None:
        raise failed("there is no `git` command here", "install git")
    return found


def quiet_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    kept["PATH"] = os.pathsep.join((os.path.dirname(_git()), "/usr/bin", "/bin"))
    return _configured({**kept, **_ENVIRONMENT}, _SETTINGS)


def _configured(environment: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    """With these settings above those of every file."""
    count = int(environment.get("GIT_CONFIG_COUNT", "0"))
    more = {"GIT_CONFIG_COUNT": str(count + len(settings))}
    for i, (name, value) in enumerate(settings.items(), count):
        more |= {f"GIT_CONFIG_KEY_{i}": name, f"GIT_CONFIG_VALUE_{i}": value}
    return {**environment, **more}


def without_filters(root: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Commands that a configuration names for files are not run: those of git-lfs, mostly."""
    pattern = r"^filter\..*\.(clean|smudge|process|required)$"
    found = run(["config", "-z", "--name-only", "--get-regexp", pattern], root, environment)
    names = dict.fromkeys(os.fsdecode(name) for name in found.output.split(b"\0") if name)
    return _configured(environment, {n: "false" if n.endswith(".required") else "" for n in names})


def shown(text: str | Path, limit: int = 100) -> str:
    """A text as one line that is cut at ``limit``; a path is whole, as its end says which it is."""
    return line(str(text), None if isinstance(text, Path) else limit)


def failed(said: str, hint: str) -> RecipeError:
    return RecipeError(Diagnostic(FAILED, said, hint))
