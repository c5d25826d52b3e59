"""The commands, one file each: ``ABOUT`` and ``EXAMPLES`` for the help, ``options`` adds what it takes
to a parser, ``run`` does it and returns the exit code.

What a command needs is imported in ``run``: the command line knows all of them each time it starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from modelbuild.commands import (
    audit,
    build,
    cache,
    check,
    init,
    inspect,
    schema,
    status,
    verify,
    why,
)

ALL: Mapping[str, ModuleType] = {
    module.__name__.rpartition(".")[2]: module
    for module in (build, verify, status, why, check, audit, cache, inspect, init, schema)
}
"""By the name that users type, in the order of the help."""
