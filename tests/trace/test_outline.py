"""Which definition of a Python file changed."""

from __future__ import annotations

import pytest

from modelbuild.trace.outline import changed, imported, outline, parsed

SOURCE = b"""\
import torch

WIDTH = 8
a, b = 1, 2

def helper(x):
    return x + 1

class Net(torch.nn.Module):
    def forward(self, x):
        return helper(x)
"""


@pytest.mark.parametrize(
    ("old", "new", "names"),
    [
        pytest.param(b"return x + 1", b"return x + 2", ["helper"], id="function"),
        pytest.param(b"return helper(x)", b"return helper(x) * 2", ["Net"], id="class"),
        pytest.param(b"WIDTH = 8", b"WIDTH = 9", ["WIDTH"], id="variable"),
        pytest.param(b"a, b = 1, 2", b"a, b = 1, 3", ["a", "b"], id="two-at-once"),
        pytest.param(b"import torch\n", b"import torch, os\n", ["top level"], id="import"),
        pytest.param(b"def helper", b"def helped", ["helped", "helper"], id="renamed"),
        pytest.param(b"x + 1", b"x  +  1  # one", [], id="comment-and-layout"),
        pytest.param(b"\nclass", b"\n\n\n# a comment\nclass", [], id="moved-down"),
    ],
)
def test_an_edit_is_named_after_what_it_defines(old: bytes, new: bytes, names: list[str]) -> None:
    before, after = outline(SOURCE), outline(SOURCE.replace(old, new))
    assert before is not None
    assert after is not None
    assert changed(before, after) == names


@pytest.mark.parametrize(
    "text",
    [b"def (", b"\0", b"\xff\xfe\xfd", b"(" * 5000, b"-" * 200_000 + b"1", b"x = " + b"a." * 100_000 + b"a"],
    ids=["syntax", "null", "encoding", "nested", "deep", "chain"],
)
def test_what_does_not_parse_has_no_outline(text: bytes) -> None:
    assert outline(text) is None


def test_imports_are_found_in_every_statement_and_relative_ones_are_not() -> None:
    tree = parsed(
        b"import a.b, c\nfrom d.e import f\nfrom . import g\n"
        b"def x():\n  try:\n    import h\n  except E:\n    import i\n  finally:\n    import j\n"
        b"match 1:\n  case 1:\n    import k\nif y: pass\nelse: import m\n"
    )
    assert tree is not None
    assert imported(tree) == {"a", "c", "d", "h", "i", "j", "k", "m"}
