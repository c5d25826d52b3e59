"""How things stand: every action judged from recorded facts. Nothing is built or written, and none of a
model's code runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelbuild.base.results import RecipeResult
from modelbuild.building.publishing import Publisher
from modelbuild.building.request import Request
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Options, Reporter, Run
from modelbuild.building.scheduling.scheduler import Scheduler
from modelbuild.store import Store


@dataclass(frozen=True)
class Standing:
    """Runs that were judged: ``run.ended`` says of each action how it stands."""

    runs: Sequence[Run]
    publisher: Publisher
    judge: Judge

    def result(self, run: Run) -> RecipeResult:
        """As a dry run answers it."""
        return self.publisher.result(run)


def judged(runs: Sequence[Run], request: Request, store: Store, reporter: Reporter) -> Standing:
    """Judge every action of these runs."""
    publisher = Publisher(store, request.out, dry_run=True)
    scheduler = Scheduler(runs, store, Options(1, dry_run=True), reporter, publisher)
    scheduler.run()
    return Standing(runs, publisher, scheduler.judge)
