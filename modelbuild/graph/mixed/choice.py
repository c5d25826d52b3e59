"""In which order nodes are best kept: pure arithmetic over what was measured."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from modelbuild.graph.mixed.reduction import Needs


def additions(
    needs: Needs, gains: Mapping[int, float], kept: Collection[str]
) -> Iterator[tuple[tuple[str, ...], float]]:
    """Nodes to keep beyond ``kept``, a few at a time, those that pay most per node first.

    ``needs[i]`` are the nodes that must all be kept so that use ``i`` reads an unrounded value
    (None: none can help), and ``gains[i]`` is the strain that this takes away. A lone node gains
    next to nothing, since its neighbours round what it reads and what it makes; so each step adds
    what completes one use, and counts all uses that are complete then. Yields the nodes and the
    strain that they take away, until there is nothing to gain.
    """
    open_ = {i: n - frozenset(kept) for i, n in enumerate(needs) if n is not None and gains.get(i, 0.0) > 0}
    open_ = {i: n for i, n in open_.items() if n}
    touching: defaultdict[str, set[int]] = defaultdict(set)
    for i, nodes in open_.items():
        for node in nodes:
            touching[node].add(i)

    def worth(nodes: frozenset[str]) -> float:
        near = set().union(*(touching[n] for n in nodes))
        return sum(gains[i] for i in sorted(near) if open_[i] <= nodes)

    # What a step is worth changes only where it shares a node with the step taken.
    known = {i: worth(n) / len(n) for i, n in open_.items()}
    while open_:
        best = max(open_, key=lambda i: (known[i], -i))
        nodes = open_[best]
        gained = worth(nodes)
        yield tuple(sorted(nodes)), gained
        touched = {i for n in nodes for i in touching[n]}
        for i in touched:
            open_[i] -= nodes
        for i in [i for i in touched if not open_[i]]:
            for node in needs[i] or ():
                touching[node].discard(i)
            del open_[i]
        around = {j for i in touched if i in open_ for n in open_[i] for j in touching[n]}
        for i in around:
            known[i] = worth(open_[i]) / len(open_[i])
