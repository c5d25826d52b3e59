"""``modelbuild graph``."""

from __future__ import annotations

import argparse

from modelbuild.cli.commands import answers
from modelbuild.cli.commands import options as taken
from modelbuild.wording import output

ABOUT = "draw the actions behind a recipe's artifacts, fresh and stale"
EXAMPLES = """\
examples:
  modelbuild graph configs/resnet50.yaml
  modelbuild graph configs/resnet50.yaml --format dot | dot -Tsvg > resnet50.svg
  modelbuild graph configs/*.yaml --format mermaid --only '*.fp16.*'
"""


def run(options: argparse.Namespace) -> int:
    from modelbuild.building.scheduling.runs import Silent
    from modelbuild.views import drawing

    found = drawing.draw(taken.request(options), Silent())
    if options.format == "json":
        answers.as_json(found.as_json())
    else:
        text = {"text": drawing.tree, "dot": drawing.dot, "mermaid": drawing.mermaid}[options.format](found)
        output.say(text)
    for graph in found.graphs:
        for said in graph.diagnostics:
            if said.level == "error":
                output.tell(said.render())
    return found.exit_code
