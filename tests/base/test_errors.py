"""What a diagnostic looks like on a terminal."""

from __future__ import annotations

from modelbuild.base.errors import Diagnostic


def test_what_a_model_said_cannot_drive_the_terminal() -> None:
    said = Diagnostic("reference-failed", "ValueError: \x1b[31mred\x1b]0;title\x07\r\x9b2J", "a\tb\nc")
    assert said.render() == (
        "error[reference-failed]: ValueError: \\x1b[31mred\\x1b]0;title\\x07\\r\\x9b2J\nhint: a\tb\nc"
    )
