"""The commands, one file each: ``ABOUT`` and ``EXAMPLES`` for the help, ``run`` does it and returns the exit
code. What each takes is in the table of ``options``.

What a command needs is imported in ``run``: the command line knows all of them each time it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from modelbuild.cli.commands import (
    audit,
    build,
    cache,
    check,
    completion,
    diff,
    explain,
    graph,
    init,
    inspect,
    report,
    schema,
    status,
    verify,
    why,
)

_ORDER = (
    build, verify, status, why, graph, report, check, diff, audit,
    cache, inspect, explain, init, schema, completion,
)  # fmt: skip

ALL: Mapping[str, ModuleType] = {module.__name__.rpartition(".")[2]: module for module in _ORDER}
"""By the name that users type, in the order of the help."""
