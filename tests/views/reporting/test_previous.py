"""What a report says of the last one, which it reads out of the file that it replaces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from modelbuild.views.reporting import previous
from modelbuild.views.reporting.page import render
from modelbuild.views.reporting.values import ShownModel
from tests.views.reporting.samples import artifact, hostile, parity

TITLE = "Changed since the last report"


def made(*artifacts: Any, name: str = "net", built: float = 1_795_000_000.0) -> ShownModel:
    return ShownModel(name, f"{name}.yaml", "ok", artifacts, built=built)


def fp16(headroom: float = 16.8, **more: Any) -> Any:
    return artifact("net.fp16.onnx", **{"parity": parity(("y", {}, headroom)), **more})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "report.html"


def written(file: Path, *models: ShownModel) -> str:
    """The report of these models, over what is in the file."""
    file.write_text(render(models, previous.read(file)))
    return file.read_text()


def told(file: Path, *models: ShownModel) -> Sequence[tuple[str | None, str, bool]]:
    carried = previous.following(models, previous.read(file))
    return [(c.artifact or c.model, c.told, c.bad) for c in previous.changes(carried)]


def test_the_first_report_says_nothing_of_another(file: Path) -> None:
    assert TITLE not in written(file, made(fp16()))


def test_what_moved_is_told_with_both_values(file: Path) -> None:
    written(file, made(fp16(), artifact("net.fp32.onnx")))
    page = written(file, made(fp16(4.9, bytes=60 << 20), artifact("net.fp32.onnx"), built=1_795_100_000.0))
    assert TITLE in page
    assert "That was of builds up to 2026-11-18 11:06 UTC." in page
    assert "50.0 MiB -&gt; 60.0 MiB, headroom x16.8 -&gt; x4.9" in page


def test_each_kind_of_change_has_its_words(file: Path) -> None:
    gone, other = artifact("net.fp32.batch1.onnx"), artifact("net.fp32.onnx")
    written(file, made(fp16(), gone, other), made(name="old"))
    failed = fp16(0.5, status="failed", bytes=None, sha256=None)
    new = artifact("net.bf16.onnx", parity=parity(("y", {}, 3.0)))
    moved = other.model_copy(update={"sha256": "sha256:" + "ab" * 32})
    assert told(file, made(failed, new, moved), made(name="young")) == [
        ("net.fp16.onnx", "built -> failed, headroom x16.8 -> x0.5", True),
        ("net.bf16.onnx", "new: built, 50.0 MiB, headroom x3", False),
        ("net.fp32.onnx", "other bytes of the same size", False),
        ("net.fp32.batch1.onnx", "gone", False),
        ("young", "new, with 0 artifacts", False),
        ("old", "not in this report any more", False),
    ]
    few = other.model_copy(update={"bytes": (50 << 20) - 12})
    assert told(file, made(fp16(), gone, few), made(name="old")) == [("net.fp32.onnx", "-12 bytes", False)]


def test_a_cached_artifact_is_as_good_as_a_built_one(file: Path) -> None:
    written(file, made(fp16()))
    assert told(file, made(fp16(status="cached"), built=1_795_100_000.0)) == []


def test_a_report_that_is_written_again_has_the_same_bytes_and_keeps_what_it_compared_with(
    file: Path,
) -> None:
    first = written(file, made(fp16()))
    assert written(file, made(fp16())) == first
    second = written(file, made(fp16(4.9)))
    assert written(file, made(fp16(4.9))) == second
    assert "x16.8 -&gt; x4.9" in second


def test_names_of_others_come_back_as_they_were(file: Path) -> None:
    own = '</script><script id="modelbuild-report" type="application/json">{}'
    written(file, made(name=own), hostile())
    assert next(iter(previous.read(file).now)) == own  # type: ignore[union-attr]
    assert told(file, made(name=own), hostile()) == []
    page = written(file, hostile(), made(fp16()))
    assert page.count('<script id="modelbuild-report"') == 1
    assert "<img src=x" not in page


START = b'<script id="modelbuild-report" type="application/json">'


def carrying(**parts: Any) -> bytes:
    """A page that carries this beside what a report writes."""
    row = {"status": "built", "bytes": 5, "sha256": None, "headroom": "x3"}
    known = {"version": 1, "now": {"net": {"built": 1.0, "artifacts": {"a": row}}}, "before": None}
    return START + json.dumps(known | parts).encode() + b"</script>"


def net(**parts: Any) -> dict[str, Any]:
    row = {"status": "built", "bytes": 5, "sha256": None, "headroom": "x3"}
    return {"net": {"built": parts.pop("built", 1.0), "artifacts": {"a": row | parts}}}


def test_what_a_report_writes_is_read(file: Path) -> None:
    file.write_bytes(carrying())
    assert previous.read(file) == previous.Carried(net())


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"<html>no report</html>", id="another page"),
        pytest.param(b"\xff\xfe", id="no text"),
        pytest.param(carrying()[:90], id="cut off"),
        pytest.param(carrying(version=2), id="of a later version"),
        pytest.param(carrying(now=[]), id="a list for a mapping"),
        pytest.param(carrying(more=1), id="another key"),
        pytest.param(carrying(before=1), id="a number for figures"),
        pytest.param(carrying(now=net(bytes=-5)), id="a size below zero"),
        pytest.param(carrying(now=net(bytes=10**400)), id="a size beyond all numbers"),
        pytest.param(carrying(now=net(bytes=True)), id="a flag for a size"),
        pytest.param(carrying(now=net(headroom=3.0)), id="a number for words"),
        pytest.param(carrying(now=net(headroom="\ud800")), id="half of a character"),
        pytest.param(carrying(now=net(built=1e300)), id="a year that no calendar has"),
        pytest.param(carrying(now=net(built=float("nan"))), id="not a number"),
        pytest.param(carrying().replace(b"1.0", b"1e999"), id="infinite"),
        pytest.param(START + b"[" * 100_000 + b"</script>", id="deep"),
    ],
)
def test_a_file_that_is_damaged_or_of_others_says_nothing(file: Path, page: bytes) -> None:
    file.write_bytes(page)
    assert previous.read(file) is None
    assert TITLE not in written(file, made(fp16()))


def test_a_file_that_is_not_there_or_no_file_says_nothing(tmp_path: Path) -> None:
    assert previous.read(tmp_path / "none.html") is None
    assert previous.read(tmp_path) is None


def test_of_very_many_artifacts_less_is_carried_and_then_nothing(file: Path) -> None:
    def many(count: int, size: int) -> ShownModel:
        return made(*(artifact(f"net.fp32.batch{i}.onnx", bytes=size) for i in range(count)))

    written(file, many(1800, 5))
    assert len(told(file, many(1800, 6))) == 1800
    assert "and 1600 more" in written(file, many(1800, 6))
    assert previous.read(file).before is None  # type: ignore[union-attr]
    assert START.decode() not in written(file, many(4000, 6))
