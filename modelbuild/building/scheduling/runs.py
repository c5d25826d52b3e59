"""What the loop works on: one run per recipe, and what became of each action."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import GOOD
from modelbuild.plan.actions import Action, Artifact, Plan
from modelbuild.plan.freshness import Verdict
from modelbuild.plan.rerouting import rerouted
from modelbuild.steps.base import Outcome
from modelbuild.store import Entry, HeldLock, Tree
from modelbuild.worker.client import Link
from modelbuild.worker.jobs import Surroundings

HOST = "model"  # the name under which a model's process is reported and logged
Status = Literal["cached", "built", "fetched", "remote", "stale", "failed", "blocked", "skipped"]


@dataclass(frozen=True)
class Options:
    jobs: int
    force: bool = False
    require_engines: bool = False
    in_process: str | None = None  # the action that runs in this process, fresh or not
    require_remote: bool = False  # a remote cache that cannot be asked is an error


class Origin(Protocol):
    """An entry of the remote cache, whose signature was found good."""

    @property
    def entry(self) -> Entry: ...
    @property
    def by(self) -> str: ...  # the public key, as text
    @property
    def when(self) -> str: ...  # ISO 8601


class RemoteCache(Protocol):
    """The remote cache, as a build reads it: whatever goes wrong there is as if it had nothing."""

    @property
    def off(self) -> str | None: ...  # why it is not asked any more

    def entries(self, lookup_key: str, step: str) -> Sequence[Origin]: ...
    def fetch(self, tree: Tree) -> bool: ...
    def said(self) -> tuple[Diagnostic, ...]: ...


@dataclass(frozen=True)
class Ended:
    """What became of an action. ``entry`` is its result; ``seconds`` were spent now.

    ``changes`` are the facts that moved since it was last built, in words; ``reason`` is the first. Of one
    that is from the remote cache, ``signed`` says by whom, and its files may not be here yet.
    """

    status: Status
    entry: Entry | None = None
    reason: str | None = None
    changes: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    exit_code: int = 0
    signed: Origin | None = None

    @property
    def tree(self) -> Tree | None:
        return self.entry.tree if self.entry is not None else None

    @property
    def key(self) -> str | None:
        return self.entry.key if self.entry is not None else None

    @property
    def good(self) -> bool:
        return self.status in GOOD

    def said(self) -> tuple[Diagnostic, ...]:
        """What there is to say of it; of a result that was there, what was said when it was made."""
        if self.status != "cached":
            return self.diagnostics
        return tuple(replace(d, again=True) for d in self.diagnostics)


@dataclass(frozen=True)
class Left:
    """Seconds to the end; without ``whole``, of what is known: there is more."""

    seconds: float
    whole: bool


class Course(Protocol):
    """How far a command has come, whenever it is asked."""

    def count(self) -> tuple[int, int]:
        """How many actions have come to an end, and of how many."""
        ...

    def left(self) -> Left | None:
        """None where nothing is known."""
        ...


class Reporter(Protocol):
    """Who wants to know what happens."""

    def begun(self, course: Course) -> None: ...
    def started(self, recipe: str, action: str, why: str | None) -> None: ...
    def ended(self, recipe: str, action: str, ended: Ended) -> None: ...
    def told(self, recipe: str, action: str, word: str) -> None: ...
    def tick(self) -> None: ...


class Silent:
    """A reporter for who asks in Python: nothing is printed."""

    def begun(self, course: Course) -> None:
        pass

    def started(self, recipe: str, action: str, why: str | None) -> None:
        pass

    def ended(self, recipe: str, action: str, ended: Ended) -> None:
        pass

    def told(self, recipe: str, action: str, word: str) -> None:
        pass

    def tick(self) -> None:
        pass


class Publishing(Protocol):
    """Who takes an artifact as soon as its proof is in."""

    def lacks(self, run: Run, artifact: Artifact) -> bool:
        """Whether one that is proven will be copied in any case: users have no such file yet."""
        ...

    def publish(self, run: Run, artifact: Artifact, folder: Callable[[], Path | None]) -> bool:
        """``folder`` fetches its files, if need be, and says where they are. False if what the store holds
        of it cannot be used, and has to be made again."""
        ...


class Nowhere:
    """Who takes no artifact: nothing is published."""

    def lacks(self, run: Run, artifact: Artifact) -> bool:
        return False

    def publish(self, run: Run, artifact: Artifact, folder: Callable[[], Path | None]) -> bool:
        return True


class Run:
    """One recipe's plan on its way."""

    def __init__(self, plan: Plan, path: str, around: Surroundings, identity: str) -> None:
        self.plan = plan
        self.path = path
        self.around = around
        self.identity = identity  # under which the store remembers its last build
        self.actions = {a.id: a for a in plan.actions}
        self.ended: dict[str, Ended] = {}
        self.judged: dict[str, Verdict] = {}  # wait for a free place
        self.running: dict[str, Verdict] = {}
        self.locks: dict[str, list[HeldLock]] = {}
        self.damaged: set[str] = set()  # actions whose stored result was set aside
        self.unstable: dict[str, tuple[str, ...]] = {}  # files that moved while an action read them
        self.passing: dict[str, tuple[str, ...]] = {}  # why what an action made is not to be kept
        self.proofs: dict[str, Outcome] = {}  # of what an action made, made by that action
        self.published: set[str] = set()
        self.other_weights: dict[str, str] = {}  # why an action's stored result is none of these, in words
        self.host: Link | None = None
        self.host_state: Literal["none", "starting", "ready", "failed"] = "none"
        self.host_number = 0  # of the job that became the host
        self.host_lost: Ended | None = None  # of a model that cannot be made

    @property
    def name(self) -> str:
        return self.plan.recipe.name

    def waiting(self) -> list[Action]:
        return [a for a in self.plan.actions if a.id not in self.ended and a.id not in self.running]

    def is_ready(self, action: Action) -> bool:
        """Whether all that the action waits for has come to its end."""
        return all(name in self.ended for name in action.before)

    def ended_before(self, action: Action) -> list[Ended]:
        return [self.ended[name] for name in action.before]

    def reroute(self, refused: str, data: Mapping[str, Any]) -> bool:
        """Go around an action that was refused, with these data. False if there is no way around it."""
        plan = rerouted(self.plan, refused, data, self.ended.keys() | self.running.keys())
        if plan == self.plan:
            return False
        before, self.plan = self.actions, plan
        self.actions = {a.id: a for a in plan.actions}
        for name in [n for n in self.judged if self.actions[n] != before[n]]:
            del self.judged[name]
        return True

    def all_ended(self) -> bool:
        return len(self.ended) == len(self.plan.actions)

    def discovered(self) -> Mapping[str, str | None]:
        """Every fact that an action of this recipe discovered, now or when its result was made."""
        return {
            name: value
            for ended in self.ended.values()
            if ended.entry is not None
            for name, value in ended.entry.discovered.items()
        }

    def outlines(self) -> Mapping[str, Mapping[str, str]]:
        """The definitions of each Python file that was read, with a digest each."""
        return {
            name: outline
            for ended in self.ended.values()
            for name, outline in ended.data.get("outlines", {}).items()
        }

    def tree_of(self, artifact: Artifact) -> Tree | None:
        """The files of an artifact; None if they were not made."""
        ended = self.ended.get(artifact.action)
        return ended.tree if ended is not None else None

    def is_good(self, artifact: Artifact) -> bool:
        """Whether an artifact is there and proven, published or not."""
        return all(name in self.ended and self.ended[name].good for name in artifact.needed)
