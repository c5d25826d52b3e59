"""How things stand: every action judged from recorded facts. Nothing is built or written, and none of a
model's code runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modelbuild.base.results import RecipeResult
from modelbuild.building.answering import Answers, ForeseenAnswers
from modelbuild.building.publishing import foreseen
from modelbuild.building.request import Request, with_remote
from modelbuild.building.scheduling.judging import Judge
from modelbuild.building.scheduling.runs import Reporter, Run
from modelbuild.building.scheduling.walking import walk
from modelbuild.store import Store


@dataclass(frozen=True)
class Standing:
    """Runs that were judged: ``run.ended`` says of each action how it stands."""

    runs: Sequence[Run]
    answers: Answers
    judge: Judge

    def result(self, run: Run) -> RecipeResult:
        """As a dry run answers it."""
        return self.answers.result(run)

    def results(self) -> list[RecipeResult]:
        """Of every run, with what there is to say of the remote cache."""
        return with_remote([self.result(run) for run in self.runs], self.judge.remote)


def judged(runs: Sequence[Run], request: Request, store: Store, reporter: Reporter) -> Standing:
    """Judge every action of these runs.

    Raises:
        RecipeError: what the project file says of a remote cache is wrong.
        Unreachable: it is required, and there is none, or it does not answer.
    """
    remote = request.reader(store)
    judge = Judge(store, store.folder, request.force, remote=remote, required=request.require_remote)
    for run in runs:
        for action, ended in walk(run, judge, request.require_engines):
            reporter.ended(run.path, action.id, ended)
    return Standing(runs, ForeseenAnswers(request.out, foreseen(runs, request.out)), judge)
