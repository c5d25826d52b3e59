"""Text stays text, whoever wrote it."""

from __future__ import annotations

import json

import pytest

from modelbuild.views.reporting.html import Html, clipped, data, joined, tag
from tests.views.reporting.samples import HOSTILE


def test_what_is_no_markup_is_escaped_in_content_and_attributes() -> None:
    made = tag("p", "a < b & c", tag("b", '"'), title='"><script>')
    assert made == '<p title="&quot;&gt;&lt;script&gt;">a &lt; b &amp; c<b>&quot;</b></p>'


def test_an_attribute_that_is_none_or_false_is_left_out() -> None:
    assert tag("div", class_="a", open=True, hidden=False, id=None) == '<div class="a" open></div>'


def test_controls_and_what_turns_text_around_are_shown() -> None:
    assert joined("a\x00b\x1b[31mc\u202ed\x9b") == r"a\x00b\x1b[31mc\u202ed\x9b"


def test_half_of_a_surrogate_pair_can_be_written() -> None:
    assert str(tag("p", "\ud800")).encode() == rb"<p>\ud800</p>"


def test_data_cannot_end_its_element_and_reads_as_what_it_was() -> None:
    text = data({HOSTILE: [HOSTILE, 1, None]})
    assert not set("<>&\u2028\u2029") & set(text)
    ((name, (first, *rest)),) = json.loads(text).items()
    assert name == first == HOSTILE.encode("ascii", "backslashreplace").decode().replace("\x07", "\\x07")
    assert rest == [1, None]


def test_what_json_cannot_say_is_refused() -> None:
    with pytest.raises(ValueError, match="Out of range float values are not JSON compliant"):
        data({"a": float("inf")})


def test_a_long_text_loses_its_middle() -> None:
    assert clipped("a" * 300 + "b" * 300, 10) == "aaaaa…bbbbb"
    assert clipped("short", 10) == "short"


def test_markup_is_not_escaped_twice() -> None:
    assert tag("p", Html("<br>"), [tag("i", "x"), None, 3]) == "<p><br><i>x</i>3</p>"
