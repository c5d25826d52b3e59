"""What a processor has for sums of int8 products, as its system tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from modelbuild.machine import instructions


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("flags\t\t: fpu sse4_2 avx2 fma", ()),
        ("flags\t\t: avx2 avx_vnni avx512_vnni amx_int8", ("amx_int8", "avx512_vnni", "avx_vnni")),
        ("Features\t: fp asimd asimddp i8mm", ("i8mm", "asimddp")),
        ("model name\t: avx512_vnni", ()),
    ],
)  # fmt: skip
def test_the_instructions_are_those_that_cpuinfo_names(
    tmp_path: Path, line: str, found: tuple[str, ...]
) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor\t: 0\nvendor_id\t: x\n{line}\n\nprocessor\t: 1\n")

    assert instructions.of_int8(file) == found


def test_where_the_system_does_not_tell_there_are_none(tmp_path: Path) -> None:
    assert instructions.of_int8(tmp_path / "none") == ()


def test_only_an_x86_without_them_saturates() -> None:
    assert instructions.saturates((), "x86_64")
    assert not instructions.saturates(("avx_vnni",), "x86_64")
    assert not instructions.saturates((), "aarch64")
