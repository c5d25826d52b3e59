"""A page of Markdown on a terminal: readable at any width, and nothing of its meaning lost."""

from __future__ import annotations

import re

import pytest

from modelbuild.views import explanations
from modelbuild.wording.markdown import rendered

PAGE = """\
# a-code

warning

## What to do

Call `forward(x)` with
a [list](list.md), see [the docs](https://example.org/a).

- One thing, which is told in some more
  words than a line has.
- Another.

<!-- prints -->
```
error[a-code]: a line that is too long for what there is
hint: none
```

```yaml
static: [{batch: 1}, {batch: 4}]  # stays as it is
```
"""


def test_a_page_is_headings_paragraphs_lists_and_blocks() -> None:
    assert rendered(PAGE, 40, styled=False) == (
        "a-code\n\n"
        "warning\n\n"
        "WHAT TO DO\n\n"
        "Call `forward(x)` with a list, see the\n"
        "docs (https://example.org/a).\n\n"
        "- One thing, which is told in some more\n"
        "  words than a line has.\n"
        "- Another.\n\n"
        "    error[a-code]: a line that is too\n"
        "      long for what there is\n"
        "    hint: none\n\n"
        "    static: [{batch: 1}, {batch: 4}]  # stays as it is"
    )


def test_where_there_is_colour_code_is_bold_and_has_no_backticks() -> None:
    shown = rendered(PAGE, 40, styled=True)

    assert "\033[1mWHAT TO DO\033[22m" in shown
    assert "Call \033[1mforward(x)\033[22m with" in shown
    assert "`" not in shown


@pytest.mark.parametrize("code", explanations.codes())
@pytest.mark.parametrize("room", [60, 80, 120, None])
def test_every_page_fits_and_keeps_its_words(code: str, room: int | None) -> None:
    text = explanations.explain(code).text

    shown = rendered(text, room, styled=False)

    filled = [line for line in shown.splitlines() if not line.startswith("    ")]
    assert max(map(len, filled)) <= min(room or 80, 100)
    assert not [line for line in filled if line.startswith(("#", "```"))]
    told = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    words = re.sub(r"\]\([^)]*\)|^#+ |[\[\]]", "", told, flags=re.MULTILINE).lower().split()
    assert re.sub(r"[\[\]]", "", "\n".join(filled)).lower().split() == words
