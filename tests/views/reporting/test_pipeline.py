"""The picture of a pipeline."""

from __future__ import annotations

import re

from modelbuild.views.reporting.pipeline import MARKS, arranged, pictures
from tests.views.reporting.samples import ACTIONS, HOSTILE, action


def test_what_comes_of_a_box_stands_to_its_right_and_a_proof_below_it() -> None:
    places = {p.id: p for p in arranged(ACTIONS)}
    assert {n: (p.column, p.row) for n, p in places.items()} == {
        "model": (0, 0),
        "reference": (1, 0),
        "export": (1, 1),
        "fp32": (2, 1),
        "fp16": (3, 1),
        "fp16.tensorrt-rtx": (4, 1),
        "fp32.batch1": (3, 2),
    }
    assert places["fp16"].proof == ACTIONS[5]
    assert places["fp16.tensorrt-rtx"].proof is None


def test_no_two_boxes_are_in_one_place() -> None:
    many = [action(f"a{i}", "static", f"a{i // 3}" if i else None) for i in range(60)]
    places = [(p.column, p.row) for p in arranged(many)]
    assert len(set(places)) == len(places) == 61


def test_every_status_is_told_by_a_mark_and_a_word() -> None:
    drawn = str(pictures([action(s, "half", None, s) for s in MARKS], "net"))
    for status, mark in MARKS.items():
        assert f"{mark} {status} · 1.5 s</text>" in drawn


def test_a_step_says_its_reason_where_one_points_at_it() -> None:
    drawn = str(pictures([action("fp16", "half", None, "stale", reason="opset changed: 18 -> 20")], "net"))
    assert "<title>fp16 (half): stale\nopset changed: 18 -&gt; 20\n1.50 s when it ran</title>" in drawn


def test_actions_that_need_each_other_in_a_circle_are_left_out() -> None:
    """No plan makes them; a manifest that somebody wrote may."""
    loop = [action("a", "half", "b"), action("b", "half", "a"), action("c", "half", "c")]
    assert [p.id for p in arranged(loop)] == ["model", "c"]


def test_names_of_actions_are_text() -> None:
    drawn = str(pictures([action(HOSTILE, HOSTILE)], HOSTILE))
    assert set(re.findall(r"</?([a-z]+)", drawn)) == {"svg", "title", "path", "g", "rect", "text"}


def test_nothing_is_drawn_of_nothing() -> None:
    assert pictures([], "net") is None
