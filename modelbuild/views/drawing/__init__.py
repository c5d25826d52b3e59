"""The action graph of a recipe as a picture: ``modelbuild graph``.

What is fresh and what is stale is judged from recorded facts, as ``status`` does it: none of the
model's code runs, and nothing is built or written.
"""

from __future__ import annotations

from modelbuild.base.results import RecipeResult
from modelbuild.building import request as requests
from modelbuild.building.request import Request
from modelbuild.building.scheduling.runs import Reporter, Run
from modelbuild.building.standing import judged
from modelbuild.views.drawing.dot import dot
from modelbuild.views.drawing.mermaid import mermaid
from modelbuild.views.drawing.tree import tree
from modelbuild.views.drawing.values import Drawing, DrawnFile, DrawnNode, Graph

__all__ = ["Drawing", "File", "Graph", "Node", "dot", "draw", "mermaid", "tree"]


def draw(request: Request, reporter: Reporter) -> Drawing:
    """The graph of each recipe, every action and artifact in it judged.

    Raises:
        RecipeError: a path or ``only`` names nothing, or two recipes have one name.
    """
    recipes = requests.read(request)
    store = request.store()
    stands = judged(requests.runs(request, recipes, store), request, store, reporter)
    results = stands.results()
    graphs = {run.path: _graph(run, result) for run, result in zip(stands.runs, results, strict=True)}
    graphs |= {r.recipe: Graph(r.recipe, r.name, diagnostics=r.diagnostics, exit_code=r.exit_code)
               for r in recipes.broken}  # fmt: skip
    return Drawing(tuple(graphs[str(path)] for path in recipes.paths))


def _graph(run: Run, result: RecipeResult) -> Graph:
    nodes: dict[str, DrawnNode] = {}
    for action in run.plan.actions:
        ended = run.ended[action.id]
        status = "fresh" if ended.good and ended.status != "remote" else ended.status
        told = ended.changes or tuple(d.message for d in ended.diagnostics)
        waits = tuple(i for i in dict.fromkeys(action.before) if nodes[i].status not in ("fresh", "remote"))
        nodes[action.id] = DrawnNode(
            action.id, action.step.kind, status, told if status not in ("fresh", "remote") else (),
            dict(action.needs), action.gates, waits,
        )  # fmt: skip
    files = []
    for artifact, told_of in zip(run.plan.artifacts, result.artifacts, strict=True):
        stands = "fresh" if told_of.status == "cached" else told_of.status
        files.append(
            DrawnFile(artifact.name, artifact.kind, artifact.action, artifact.proof, stands, told_of.reason)
        )
    return Graph(
        run.path, run.name, tuple(nodes.values()), tuple(files), result.diagnostics, result.exit_code
    )
