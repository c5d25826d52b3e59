"""From an exporter's stack trace to the line of the model, and from there into what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.graph import sources

PACKAGES = "/env/lib/python3.11/site-packages"
LIBRARY = Path(f"{PACKAGES}/torch")
BASE = Path("/home/ann/project")


def dynamo(*frames: tuple[str, int, str]) -> str:
    """As dynamo writes it: innermost last."""
    return "\n".join(f'  File "{path}", line {line}, in {name}\n    x = y' for path, line, name in frames)


def torchscript(*frames: tuple[str, int, str]) -> str:
    """As torchscript writes it: innermost first."""
    return "".join(f"{path}({line}): {name}\n" for path, line, name in reversed(frames))


LINEAR = (f"{PACKAGES}/torch/nn/modules/linear.py", 134, "forward")


@pytest.mark.parametrize("written", [dynamo, torchscript])
@pytest.mark.parametrize(
    ("frames", "line"),
    [
        pytest.param([(f"{BASE}/net.py", 42, "forward"), LINEAR], "net.py:42 in forward", id="not-torchs"),
        pytest.param(
            [(f"{BASE}/net.py", 42, "forward"), (f"{BASE}/nets/norm.py", 7, "rms"), LINEAR],
            "nets/norm.py:7 in rms", id="the-innermost",
        ),
        pytest.param(
            [(f"{BASE}/net.py", 42, "forward"), (f"{PACKAGES}/transformers/models/bert.py", 9, "f"), LINEAR],
            "transformers/models/bert.py:9 in f", id="a-package",
        ),
        pytest.param(
            [(f"{BASE}/.venv/lib/python3.11/site-packages/timm/layers.py", 9, "f"), LINEAR],
            "timm/layers.py:9 in f", id="a-package-inside-the-project",
        ),
        pytest.param([LINEAR], "torch/nn/modules/linear.py:134 in forward", id="nothing-but-torch"),
        pytest.param(
            [("/srv/shared/net.py", 3, "f"), ("<eval_with_key>.1", 5, "forward")], "shared/net.py:3 in f",
            id="beside-the-project",
        ),
        pytest.param([("/elsewhere/deep/net.py", 3, "f")], "net.py:3 in f", id="nowhere-that-is-known"),
    ],
)  # fmt: skip
def test_a_node_comes_from_the_innermost_line_of_the_model_and_no_machines_path_is_told(
    monkeypatch: pytest.MonkeyPatch, written: Any, frames: list[tuple[str, int, str]], line: str
) -> None:
    inside = f"{BASE}/.venv/lib/python3.11/site-packages"
    monkeypatch.setattr("sys.path", ["", "/srv", str(BASE), PACKAGES, inside])
    assert sources.compact({"n": written(*frames)}, BASE, LIBRARY) == {line: ["n"]}


def test_lines_are_kept_once_however_many_nodes_they_make() -> None:
    one, two = (dynamo((f"{BASE}/net.py", line, "forward")) for line in (1, 2))
    found = sources.compact({"a": one, "b": two, "c": one, "d": "no frames"}, BASE, LIBRARY)
    assert found == {"net.py:1 in forward": ["a", "c"], "net.py:2 in forward": ["b"]}
    assert sources.lines(found)["c"] == "net.py:1 in forward"
    assert "d" not in sources.lines(found)


def test_a_node_without_a_line_has_that_of_the_nearest_before_it() -> None:
    rows = [
        {"node": "mul", "upstream": ["linear"]},
        {"node": "mul_to_fp16", "upstream": ["folded", "mul", "linear"]},
        {"node": "x_to_fp16", "upstream": []},
    ]
    known = {"mul": "net.py:2 in forward", "linear": "net.py:1 in forward"}
    assert sources.located(rows, known) == [
        {"node": "mul", "source": "net.py:2 in forward"},
        {"node": "mul_to_fp16", "source": "net.py:2 in forward"},
        {"node": "x_to_fp16", "source": None},
    ]
    assert sources.located(None, known) is None


def test_a_message_gets_the_lines_of_the_nodes_that_it_names() -> None:
    said = Diagnostic("fp16-overflow", "too large at `mul_to_fp16` (Cast), `x` (Cast), `add` (Add)")
    rows = [{"node": "mul_to_fp16", "source": "net.py:2 in forward"}, {"node": "x", "source": None}]
    told = sources.told(said, {"add": "net.py:3 in forward"}, rows)
    assert told.message == (
        "too large at `mul_to_fp16` from net.py:2 (Cast), `x` (Cast), `add` from net.py:3 (Add)"
    )
    assert told.where == "net.py:2"
    assert sources.told(said, {}) == said


def test_other_messages_are_left_alone() -> None:
    said = Diagnostic("unused-input", "input `add` does not influence any output")
    assert sources.told(said, {"add": "net.py:3 in forward"}) == said
    placed = Diagnostic("not-finite", "first at `add`", where="here")
    assert sources.told(placed, {"add": "net.py:3 in forward"}).where == "here"


def test_the_line_of_a_squeeze_that_drops_an_axis_is_told() -> None:
    said = Diagnostic("baked-axis", "output `y` has shape (1, 6), at batch=1: `squeeze` drops an axis")
    known = {
        "node_squeeze": "net.py:3 in forward", "node_unsqueeze": "net.py:4 in forward",
        "/head/Squeeze_1": "net.py:5 in head", "node_squeeze_2": "net.py:3 in forward",
    }  # fmt: skip
    told = sources.told(said, known).message
    assert told == "output `y` has shape (1, 6), at batch=1: `squeeze` (net.py:3, net.py:5) drops an axis"
    assert sources.told(said, {"node_unsqueeze": "net.py:4 in forward"}) == said
    other = Diagnostic("baked-axis", "output `y` has shape (1, 6), PyTorch (2, 6)")
    assert sources.told(other, known) == other
