"""Proven files to where users look for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from modelbuild.base.errors import Diagnostic, first_line
from modelbuild.building.answering import Delivery
from modelbuild.building.scheduling.runs import Run
from modelbuild.lockfile import Lock, mismatch
from modelbuild.plan.actions import Artifact
from modelbuild.store import Store, Tree, hash_file, publish_all


@dataclass(frozen=True)
class Publisher:
    """Puts them there; ``delivery`` says what was there instead, and what could not be done."""

    store: Store
    out: Path
    locked: Mapping[str, Lock] = field(default_factory=dict)  # by recipe: what may be published
    delivery: Delivery = field(default_factory=Delivery)

    def lacks(self, run: Run, artifact: Artifact) -> bool:
        """Whether the artifact will be copied in any case, if it is proven: users have no such file yet."""
        tree = run.tree_of(artifact)
        if tree is None or not run.is_good(artifact) or self._unlike(run, artifact, tree) is not None:
            return False
        return not all((self.out / run.name / name).is_file() for name in _files(artifact, tree))

    def publish(self, run: Run, artifact: Artifact, folder: Callable[[], Path | None]) -> bool:
        """Copy the artifact out of the store's ``folder``, if it is proven and not there already.

        False if the store's bytes are not what was proven: nothing is published.
        """
        tree = run.tree_of(artifact)
        if tree is None or not run.is_good(artifact):
            return True
        if (other := self._unlike(run, artifact, tree)) is not None:
            self.delivery.problems[run.path, artifact.name] = other
            return True
        try:
            why = _missing(self.out / run.name, artifact, tree)
            if why is None:
                return True
            self.delivery.moved[run.path, artifact.name] = why
            return self._copied(run, artifact, tree, folder())
        except OSError as error:
            self.delivery.problems[run.path, artifact.name] = _unwritten(artifact, self.out / run.name, error)
        return True

    def _unlike(self, run: Run, artifact: Artifact, tree: Tree) -> Diagnostic | None:
        """How an artifact differs from the lock file, if it is held to one."""
        if run.path not in self.locked:
            return None
        files = {name: file.sha256 for name, file in tree.files.items()}
        other = mismatch(self.locked[run.path], artifact.name, files, run.ended[artifact.action].key)
        return None if other is None else Diagnostic(
            "lock-mismatch",
            f"not published: {other}",
            "what moved is told with the lock file; `modelbuild build --lock` writes a new one",
        )  # fmt: skip

    def _copied(self, run: Run, artifact: Artifact, tree: Tree, folder: Path | None) -> bool:
        if folder is None:
            return False
        publish_all([(folder / name, self.out / run.name / name) for name in _files(artifact, tree)])
        return True


def foreseen(runs: Iterable[Run], out: Path) -> Delivery:
    """What a build would find there, of what is proven."""
    delivery = Delivery()
    for run in runs:
        for artifact in run.plan.artifacts:
            tree = run.tree_of(artifact)
            if tree is None or not run.is_good(artifact):
                continue
            try:
                why = _missing(out / run.name, artifact, tree)
            except OSError as error:
                delivery.problems[run.path, artifact.name] = _unwritten(artifact, out / run.name, error)
                continue
            if why is not None:
                delivery.moved[run.path, artifact.name] = why
    return delivery


def _unwritten(artifact: Artifact, folder: Path, error: OSError) -> Diagnostic:
    return Diagnostic(
        "publish-failed",
        f"{artifact.name} cannot be written to {folder}: {first_line(error)}",
        "check the folder and the disk; the proven file is in the cache",
    )


def _files(artifact: Artifact, tree: Tree) -> list[str]:
    """What is published of an object: the artifact and what it names, which comes first."""
    return [name for name in (f"{artifact.name}.data", artifact.name) if name in tree.files]


def _missing(target: Path, artifact: Artifact, tree: Tree) -> str | None:
    """Why what users find there is not this object's files; None if it is."""
    for name in _files(artifact, tree):
        place, file = target / name, tree.files[name]
        if not place.is_file():
            return "its file was missing"
        if place.stat().st_size != file.bytes or hash_file(place) != file:
            return "its file was changed"
    return None
