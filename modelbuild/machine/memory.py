"""How much memory this process and its children may still take."""

from __future__ import annotations

import contextlib
from pathlib import Path

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")  # version 2; in a container its own


def available(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int | None:
    """Bytes that can be used without swapping; None where the system does not say.

    The kernel's MemAvailable, or what the control group's limit leaves if that is less. Page cache
    counts as free in both: it goes when memory is asked for.
    """
    found = [b for b in (_machine(meminfo), _group(cgroup)) if b is not None]
    return min(found, default=None)


def _machine(meminfo: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _group(folder: Path) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        limit = (folder / "memory.max").read_text().strip()
        if limit != "max":
            used = int((folder / "memory.current").read_text())
            rows = dict(row.split() for row in (folder / "memory.stat").read_text().splitlines())
            return max(0, int(limit) - used + int(rows.get("inactive_file", 0)))
    return None
