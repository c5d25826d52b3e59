"""What may be gone the next time, and that nobody goes on after it in silence."""

from __future__ import annotations

import ast
import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import modelbuild
from modelbuild.base import passing
from modelbuild.base.errors import Elsewhere
from modelbuild.machine.isolate import in_child


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passing, "_met", [])


def _caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (ConnectionError("the hub does not answer"), True),
        (
            RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
            True,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (Exception("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"), True),
        (Elsewhere("MemoryError: "), True),
        (_caused(ValueError("it failed"), MemoryError()), True),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), False),
        (OSError("could not get source code"), False),
        (RuntimeError("unsupported memory format option Preserve"), False),
        (ValueError("it failed"), False),
    ],
    ids=repr,
)
def test_an_error_is_passing_where_another_run_may_not_meet_it(error: Exception, expected: bool) -> None:
    assert passing.is_passing(error) is expected


def _raises() -> None:
    raise MemoryError("no room")


def _goes_on() -> str:
    with passing.gone_on_after():
        _raises()
    return "gone on"


def _terminated() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whatever ran in this process before
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    ("function", "met"),
    [
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGKILL), ("killed by SIGKILL (out of memory?)",),
                     id="killed"),
        pytest.param(_terminated, ("killed by SIGTERM",), id="terminated"),
        pytest.param(lambda: os.kill(os.getpid(), signal.SIGTRAP), (), id="its own fault"),
        pytest.param(_raises, ("MemoryError: no room",), id="raised"),
        pytest.param(_goes_on, ("MemoryError: no room",), id="gone on after in the child"),
        pytest.param(lambda: 1 // 0, (), id="an error of its own"),
    ],
)  # fmt: skip
def test_how_a_child_ended_is_noted_for_whoever_goes_on(
    function: Callable[[], object], met: tuple[str, ...]
) -> None:
    in_child(function)
    assert passing.noted() == met


def _handlers() -> Iterator[tuple[str, ast.ExceptHandler | ast.With]]:
    root = Path(modelbuild.__file__).parent
    for room in ("steps", "graph", "mixed", "engines"):
        for path in sorted((root / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                caught = isinstance(node, ast.ExceptHandler) and _is_broad(node.type)
                if caught or (isinstance(node, ast.With) and _suppresses(node)):
                    yield f"{path.relative_to(root)}:{node.lineno}", node


def _suppresses(node: ast.With) -> bool:
    return any("suppress(Exception" in ast.unparse(item) for item in node.items)


def _is_broad(of: ast.expr | None) -> bool:
    return of is None or any(
        isinstance(n, ast.Name) and n.id in ("Exception", "BaseException") for n in ast.walk(of)
    )


# These catch what a model's own code raises, and fail the proof for it: nothing is kept.
_FAIL = {"steps/proof.py"}
# It compares what a model has kept: two values that cannot be compared differ.
_COMPARE = {"steps/state.py"}


def test_whoever_catches_everything_and_goes_on_says_what_may_be_gone_the_next_time() -> None:
    silent = []
    for where, handler in _handlers():
        does = "".join(ast.unparse(line) for line in handler.body)
        raises = isinstance(handler.body[-1], ast.Raise)
        if where.partition(":")[0] not in _FAIL | _COMPARE and not raises and "passing.met(" not in does:
            silent.append(where)
    assert silent == []
