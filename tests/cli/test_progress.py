"""What is shown while something runs: lines in a log, a picture on a terminal."""

from __future__ import annotations

import io
from dataclasses import dataclass, field

import pytest
from rich.console import Console

from modelbuild import settings
from modelbuild.base.errors import Diagnostic
from modelbuild.building.scheduling.runs import Ended, Left, Silent
from modelbuild.cli.terminal import progress
from modelbuild.wording import colours

BAD = Diagnostic("export-failed", "it branches on values\nmore of it", "a hint", "net.py:7")
NOTE = Diagnostic("unused-input", "x is not used", None, level="warning")
FAILED = Ended("failed", diagnostics=(NOTE, BAD), seconds=1.25)


@dataclass
class Course:
    done: int = 7
    total: int = 18
    rest: Left | None = field(default_factory=lambda: Left(40.4, True))

    def count(self) -> tuple[int, int]:
        return self.done, self.total

    def left(self) -> Left | None:
        return self.rest


def _live(width: int = 60, height: int = 10, reasons: bool = False) -> tuple[progress.Live, io.StringIO]:
    text = io.StringIO()
    console = Console(file=text, width=width, height=height, force_terminal=True, color_system=None)
    return progress.Live(reasons, console), text


def test_progress_is_a_picture_on_a_terminal_only_and_verbosely_too(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress.reporter(settings.NORMAL), progress.Lines)
    assert isinstance(progress.reporter(settings.QUIET), Silent)
    monkeypatch.setattr(colours, "wanted", lambda _: True)
    for volume in (settings.NORMAL, settings.VERBOSE):
        live = progress.reporter(volume)
        assert isinstance(live, progress.Live)
        live.close()
    assert isinstance(progress.reporter(settings.VERBOSE, shared=True), progress.Lines)


def test_each_line_says_how_far_it_is_and_a_failure_why_at_once() -> None:
    text = io.StringIO()
    lines = progress.Lines(text)
    lines.begun(Course())
    lines.started("net.yaml", "export", "opset changed: 17 -> 18")
    lines.ended("net.yaml", "export", FAILED)
    lines.ended("net.yaml", "fp32", Ended("blocked"))
    lines.ended("net.yaml", "reference", Ended("built", seconds=2.0))
    lines.ended("net.yaml", "other", Ended("cached"))
    assert text.getvalue().splitlines() == [
        "[7/18] net.yaml: export (opset changed: 17 -> 18)",
        "[7/18] net.yaml: export FAILED in 1.2 s: error[export-failed]: net.py:7: it branches on values",
        "[7/18] net.yaml: reference done in 2.0 s",
    ]


@pytest.mark.parametrize(
    ("left", "said"),
    [
        pytest.param(Left(40.4, True), "[7/18] about 40 s left", id="known"),
        pytest.param(Left(40.4, False), "[7/18] at least 40 s left", id="in-part"),
        pytest.param(Left(0.0, True), "[7/18] about 1 s left", id="any-moment"),
        pytest.param(Left(600, True), "[7/18] about 10 min left", id="minutes"),
        pytest.param(None, "[7/18]", id="never-run"),
    ],
)
def test_the_picture_says_what_is_left_as_far_as_that_is_known(left: Left | None, said: str) -> None:
    live, _ = _live()
    live.begun(Course(rest=left))
    live.started("net.yaml", "export", None)
    live.told("net.yaml", "export", "tracing")
    assert [row.plain for row in live.picture()] == [said, "  net.yaml: export 0 s  tracing"]
    live.close()


@pytest.mark.parametrize("width", [20, 60, 200])
@pytest.mark.parametrize("height", [1, 3, 5, 24])
def test_the_picture_is_no_larger_than_the_terminal(width: int, height: int) -> None:
    live, _ = _live(width, height)
    live.begun(Course())
    for number in range(9):
        live.started(f"configs/a-model-of-a-long-name-{number}.yaml", "verify fp16.batch8-sequence128", None)
    live.started("configs/模型模型模型模型模型模型模型模型.yaml", "export", None)
    drawn = live.picture()
    live.close()
    assert max(row.cell_len for row in drawn) <= width
    assert len(drawn) <= max(2, height - 1)
    shown = len(drawn) - 1
    if shown < 10:
        assert drawn[-1].plain == f"  and {10 - shown + 1} more"


def test_what_failed_scrolls_by_with_its_reason_and_what_was_blocked_does_not() -> None:
    live, text = _live(width=100)
    live.begun(Course())
    live.ended("net.yaml", "export", FAILED)
    live.ended("net.yaml", "fp32", Ended("blocked"))
    live.close()
    said = text.getvalue()
    assert "✗ net.yaml: export 1.2 s" in said
    assert "  error[export-failed]: net.py:7: it branches on values" in said
    assert "more of it" not in said
    assert "fp32" not in said


@pytest.mark.parametrize("reasons", [False, True])
def test_verbosely_it_says_why_something_runs(reasons: bool) -> None:
    live, text = _live(reasons=reasons)
    live.started("net.yaml", "export", "net.py:Net changed")
    live.close()
    assert ("net.yaml: export (net.py:Net changed)" in text.getvalue()) is reasons
