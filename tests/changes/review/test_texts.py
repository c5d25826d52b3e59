"""A review as text and as a comment: short, whole, and with nothing of a stranger's that GitHub obeys."""

from __future__ import annotations

import re

import pytest

from modelbuild.base.errors import Diagnostic
from modelbuild.changes.review import markdown, plain
from modelbuild.changes.review.values import Effect, RecipeReview, Review, Revision
from modelbuild.recipe.differing import Change

SAID = Diagnostic(
    "proof-weakened", "a tolerance is loosened: fp16 relative_l2 0.01 -> 0.02", "ask", "a", "warning"
)
ONE = RecipeReview(
    "configs/net.yaml", "net", "changed", None,
    (Change("opset", "opset: 18 -> 20", 18, 20),), (Change("net.py", "net.py:Net changed"),),
    (
        Effect("net.fp32.onnx", "rebuild", ("export", "fp32"), 3.25),
        Effect("net.fp16.onnx", "prove", ("v",)), Effect("net.bf16.onnx", "added", ("bf16",)),
        Effect("net.old.onnx", "removed"), Effect("same", "same"),
    ),
    3.25, 2, (Change("net.fp32.onnx", "net.fp32.onnx: size 1.0 KiB -> 2.0 KiB"),), (SAID,),
)  # fmt: skip
REVIEW = Review(
    Revision("main", "a" * 40), Revision("working tree", None), (ONE,), {"old.yaml": "new.yaml"}, ("x.yaml",)
)


def test_the_text_says_everything() -> None:
    assert (
        plain.render(REVIEW)
        == """\
main (aaaaaaaaaa) -> working tree: 1 recipe changed

configs/net.yaml: net
  net.py:Net changed
  opset: 18 -> 20
  rebuilds: net.fp32.onnx
  new: net.bf16.onnx
  proves again: net.fp16.onnx
  gone: net.old.onnx
  last time: at least 3.2 s
  lock file:
    net.fp32.onnx: size 1.0 KiB -> 2.0 KiB

moved, and nothing else:
  old.yaml -> new.yaml

written otherwise, and the same recipe:
  x.yaml

warning[proof-weakened]: a: a tolerance is loosened: fp16 relative_l2 0.01 -> 0.02
hint: ask"""
    )


def test_the_comment_is_a_table_with_its_details_folded() -> None:
    assert (
        markdown.render(REVIEW)
        == """\
<!-- modelbuild diff -->
### modelbuild: 1 recipe changed

<code>main (aaaaaaaaaa)</code> → <code>working tree</code>

| recipe | what changed | rebuilds | last time | warnings |
|---|---|---|--:|--:|
| <code>configs/net.yaml</code> | <code>net.py:Net changed</code><br><code>opset: 18 -&gt; 20</code> \
| 1 of 3 artifacts, 1 new, 1 proven again | at least 3.2 s | 1 |

- **warning** <code>net</code>: <code>a tolerance is loosened: fp16 relative_l2 0.01 -&gt; 0.02</code> \
(<code>proof-weakened</code>)

<details><summary>details</summary>

**<code>configs/net.yaml</code>**

Rebuilds:

- <code>net.fp32.onnx (3.2 s last time)</code>

New:

- <code>net.bf16.onnx</code>

Proves again:

- <code>net.fp16.onnx</code>

Gone:

- <code>net.old.onnx</code>

Lock file:

- <code>net.fp32.onnx: size 1.0 KiB -&gt; 2.0 KiB</code>

**Moved, and nothing else: 1 recipe**

- <code>old.yaml</code> → <code>new.yaml</code>

**Written otherwise, and the same: 1 recipe**

- <code>x.yaml</code>

</details>"""
    )


def test_nothing_changed_is_said_in_one_line() -> None:
    nothing = Review(Revision("HEAD", "b" * 40), Revision("working tree", None), (), {}, ())
    assert plain.render(nothing) == "HEAD (bbbbbbbbbb) -> working tree: no recipe changes"
    assert "no recipe changes" in markdown.render(nothing)
    assert "<details>" not in markdown.render(nothing)


@pytest.mark.parametrize(
    "text",
    [
        "@team", "#12", "user/repo#12", "GH-1 `x` **b** _i_ ~~s~~", "[a](javascript:x)", "![a](b)",
        "http://evil.example", "https://evil.example", "www.evil.example", "WWW.evil.example", "a@b.example",
        "</code></td></table><script>x</script>", "<img src=x onerror=y>", "a | b \\| c \\\\| d", "-->",
        "<!-- x", "$x$", "&lt;b&gt;", "`` ` ``", "a\nb\r\n| c |", "\u202eabc\x1b[1m", "__init__", "x" * 5000,
    ],
)  # fmt: skip
def test_text_of_others_stays_text(text: str) -> None:
    shown = markdown.code(text)
    inner = shown.removeprefix("<code>").removesuffix("</code>")
    assert shown == f"<code>{inner}</code>"
    assert len(shown) < 1000
    assert not re.search(
        r"[<>\n\r|`@#*\[\]~\\!$\x00-\x1f\u202e]", re.sub("&#[0-9]+;|&(lt|gt|amp);", "", inner)
    )
    assert not re.search(r"(?i)://|www\.|&(?!#[0-9]+;|lt;|gt;|amp;)", inner)


def test_the_code_says_warnings_only_where_asked() -> None:
    assert (REVIEW.exit_code(), REVIEW.exit_code(strict=True)) == (0, 1)
