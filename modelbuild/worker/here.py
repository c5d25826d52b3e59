"""The one step that runs in this process, and not in a child: for a debugger, a profiler, a traceback.

Standard input, output and error stay what they are. What else a child begins with, it begins with, too:
variables, hash seed, search path and libraries, so that it computes the same bytes and notes the same facts.
"""

from __future__ import annotations

import os
import resource
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from modelbuild.base.errors import ModelbuildError
from modelbuild.machine.environment import ENVIRONMENT
from modelbuild.worker.client import HOME, Finished
from modelbuild.worker.jobs import Done, HostModel, RunStep
from modelbuild.worker.server import preloaded

DEBUGGED = "a debugger was at it, in which values can be changed"

_STOPPING = frozenset({"builtins.breakpoint", "pdb.Pdb", "sys.settrace"})
_heard: list[str] = []


def is_seeded() -> bool:
    """Whether sets of strings come in the order in which they do in a child."""
    return sys.flags.hash_randomization == 0


def seed() -> None:
    """Start this command again with the seed that children have, which no running process can take. Not
    where a debugger has begun: what it was told would be lost. Nothing happens if there is no need."""
    begun = _is_debugged() or "bdb" in sys.modules  # pdb traces nothing while it has no breakpoint
    if is_seeded() or begun or sys.flags.ignore_environment:
        return
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**os.environ, **ENVIRONMENT})


def run(
    job: RunStep, host: HostModel | None, preload: Sequence[str], tell: Callable[[str], None], token: Any
) -> Finished:
    """Run a step, and make the model before that if it needs one: ``host`` is how.

    Raises:
        KeyboardInterrupt: Ctrl-C.
    """
    _begin(preload)
    try:
        done: Done | None = _done(job, host, tell)
    except (MemoryError, SystemExit):  # of which a child would die
        traceback.print_exc()
        done = None
    if done is not None and (_heard or _is_debugged()):
        done = replace(done, passing=(DEBUGGED, *done.passing))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Finished(token, done, None if done else 1 << 8, peak)


def _done(job: RunStep, host: HostModel | None, tell: Callable[[str], None]) -> Done:
    live = None
    if host is not None:
        try:
            live = host.live()
        except ModelbuildError as error:
            traceback.print_exc()
            return Done(None, error.diagnostics, exit_code=error.exit_code)
    return job.done(live, tell)


def _begin(preload: Sequence[str]) -> None:
    """Be as a child is."""
    os.environ.update(ENVIRONMENT)
    # A server is started with -P: neither its script's folder nor the current one is on its path.
    started_in = {"", os.getcwd(), os.path.dirname(os.path.abspath(sys.argv[0]))}
    sys.path[:] = [p for p in sys.path if sys.flags.safe_path or p not in started_in]
    if HOME not in sys.path:
        sys.path.append(HOME)
    for module in preload:
        preloaded(module)
    _heard.clear()
    sys.addaudithook(_hook)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if event in _STOPPING:
        _heard.append(event)


def _is_debugged() -> bool:
    """Whether a debugger, or another tracer, sees every line."""
    monitoring = getattr(sys, "monitoring", None)
    return sys.gettrace() is not None or (
        monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None
    )
