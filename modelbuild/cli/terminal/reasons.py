"""Why an artifact is fresh or stale, for people."""

from __future__ import annotations

from modelbuild.base.escaping import line
from modelbuild.base.keys import canonical
from modelbuild.base.results import BuildResult
from modelbuild.building.explaining import Because, Why
from modelbuild.cli.terminal import summary


def render(why: Why, facts: bool = False) -> str:
    """What moved, action by action; with ``facts`` every fact of their keys."""
    lines = [_headline(why)]
    own = [a for a in why.actions if a.changes or a.wrong]
    width = max((len(a.action) for a in own), default=0)
    for action in own:
        for i, told in enumerate((*action.changes, *action.wrong)):
            lines.append(f"  {(action.action if i == 0 else '').ljust(width)}  {line(told)}")
    waiting = [a.action for a in why.actions if a.status == "stale" and not a.changes]
    if waiting:
        lines.append(f"  then, unless the same bytes come out: {', '.join(waiting)}")
    signed = {f"{a.signed['by']} on {a.signed['when']}": a for a in why.actions if a.signed is not None}
    lines += [f"  signed by {line(who)}" for who in signed]
    if facts:
        lines += [row for action in why.actions for row in _facts(action)]
    lines += [d.render() for d in why.diagnostics]
    return "\n".join(lines)


def standing(result: BuildResult, verbose: bool = False) -> str:
    """Fresh or stale, artifact by artifact; if ``verbose`` also what was said of those that are fresh."""
    parts = []
    for recipe in result.recipes:
        lines = [d.render() for d in recipe.diagnostics if verbose or not d.again]
        if recipe.artifacts:
            lines.append(f"{line(recipe.recipe)}: {recipe.name}")
        wide = max((len(a.name) for a in recipe.artifacts), default=0)
        for a in recipe.artifacts:
            said = [a.reason] if a.reason else [d.message for d in a.diagnostics if a.status != "fresh"]
            lines.append(f"  {a.status:7}  {a.name.ljust(wide)}  {line('; '.join(said))}".rstrip())
            if verbose:
                lines += [f"    {row}" for d in a.diagnostics for row in d.render().split("\n")]
        parts.append("\n".join(lines))
    if len(result.recipes) > 1:
        parts.append(summary.summed(result.recipes))
    return "\n\n".join(parts)


def _headline(why: Why) -> str:
    if why.status == "remote":
        return f"{why.artifact} is in the remote cache: {line(why.reason or '')}; a build fetches it"
    if why.status == "fresh":
        return f"{why.artifact} is fresh: nothing moved since it was built"
    own = any(a.changes for a in why.actions)
    return f"{why.artifact} is {why.status}" + (f": {line(why.reason)}" if why.reason and not own else "")


def _facts(action: Because) -> list[str]:
    lines = ["", f"{action.action}: {action.status}" + (f", {action.key}" if action.key else "")]
    for name, value in action.facts.items():
        lines.append(line(f"  {name} = {value if isinstance(value, str) else canonical(value)}"))
    return lines
