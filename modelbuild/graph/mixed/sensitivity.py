"""How much each rounding adds to the error, measured group by group.

Roundings are independent of each other, so their squared errors add up: a group's is that of its
members together. Groups of alike uses are measured first, and only those that matter are halved.
A BERT-base has 560 roundings and takes a tenth of that in runs.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Strain = npt.NDArray[np.float64]
Measure = Callable[[frozenset[int]], Strain]


def shares(
    groups: Sequence[Sequence[int]], measure: Measure, *, runs: int, smallest: float
) -> Mapping[int, Strain]:
    """The strain that each member's rounding adds, as measured in its group and divided by its size.

    ``measure`` gives the strain (squared error over squared tolerance, per bound) of rounding just
    these. The group that adds most is halved first; those that break (infinite) before all others.
    It ends when no group of several adds more than ``smallest``, or after ``runs`` measurements,
    of which each group takes one whatever the number is.
    """
    queue: list[tuple[float, int, tuple[int, ...], Strain]] = []
    done: dict[int, Strain] = {}
    taken = 0

    def add(members: tuple[int, ...]) -> None:
        nonlocal taken
        found = measure(frozenset(members))
        taken += 1
        if len(members) == 1:
            done[members[0]] = found
        else:
            heapq.heappush(queue, (-float(found.max(initial=0.0)), members[0], members, found))

    for group in groups:
        add(tuple(group))
    while queue and taken + 2 <= max(runs, taken) and -queue[0][0] > smallest:
        _, _, members, _ = heapq.heappop(queue)
        middle = len(members) // 2
        add(members[:middle])
        add(members[middle:])
    for _, _, members, found in queue:
        for member in members:
            done[member] = found / len(members)
    return done
