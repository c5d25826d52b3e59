"""What this processor multiplies whole numbers of 8 bits with."""

from __future__ import annotations

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
# Those that add products of 8 bits in 32, by the word for each in /proc/cpuinfo.
_PRODUCTS = ("amx_int8", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "i8mm", "asimddp")
_X86 = frozenset({"x86_64", "AMD64", "i686", "i386"})


def of_int8(cpuinfo: Path = _CPUINFO) -> tuple[str, ...]:
    """The instructions for sums of int8 products; none where the system does not tell."""
    try:
        lines = cpuinfo.read_text(errors="replace").splitlines()
    except OSError:
        return ()
    for line in lines:  # all cores are told with the same
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            known = set(value.split())
            return tuple(word for word in _PRODUCTS if word in known)
    return ()


def saturates(found: tuple[str, ...], machine: str | None = None) -> bool:
    """Whether int8 kernels add two products in 16 bits here, so that large ones do not fit.

    That is what x86 has without such instructions; elsewhere products are added in 32 bits.
    """
    return (machine or platform.machine()) in _X86 and not found
