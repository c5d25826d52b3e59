"""``modelbuild explain``."""

from __future__ import annotations

import argparse

from modelbuild.wording import output

ABOUT = "say what a diagnostic code means, why it happens and what to do"
EXAMPLES = """\
examples:
  modelbuild explain baked-axis
  modelbuild explain            every code, one line each
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild.views import explanations

    if options.code is not None:
        output.page(explanations.explain(options.code).text)
        return 0
    every = [explanations.explain(code) for code in explanations.codes()]
    width = max(len(page.code) for page in every)
    for page in every:
        output.show(f"{page.code:{width}}  {page.about}")
    return 0
