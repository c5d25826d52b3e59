"""What is said of a run: a result for each artifact and for the recipe, from how its actions ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from modelbuild.base.catalogue import EXIT_STEP_FAILED
from modelbuild.base.errors import Diagnostic
from modelbuild.base.results import GOOD, ArtifactResult, RecipeResult
from modelbuild.building.placing import ErrorPlaces
from modelbuild.building.scheduling import words
from modelbuild.building.scheduling.repeats import repeated
from modelbuild.building.scheduling.runs import Ended, Run
from modelbuild.graph import sources
from modelbuild.plan.actions import Artifact
from modelbuild.plan.rerouting import road
from modelbuild.store import File, hash_file


@dataclass(frozen=True)
class Delivery:
    """What a command found where users look for its files, by recipe and artifact: why a file there is not
    the proven one, and what it could not do about it."""

    moved: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: dict[tuple[str, str], Diagnostic] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """Of a build."""

    out: Path
    delivery: Delivery = field(default_factory=Delivery)

    def result(self, run: Run) -> RecipeResult:
        again = repeated(run.ended)
        lines = SourceLines(run)
        places = ErrorPlaces(run)
        artifacts = tuple(self._artifact(run, a, again, lines, places) for a in run.plan.artifacts)
        told = again.union(*run.plan.owned.values())
        shared = [
            d for a in run.plan.actions if a.id not in told and a.id in run.ended
            for d in places.said(run.ended[a.id], a.about)
        ]  # fmt: skip
        host = [run.host_lost] if run.host_lost is not None else []
        shared[:0] = [d for ended in host for d in places.said(ended, ("model", "import"))]
        codes = [e.exit_code for e in (*host, *run.ended.values())]
        codes += [EXIT_STEP_FAILED for p in self.delivery.problems if p[0] == run.path]
        code = max(codes, default=0)
        return RecipeResult(
            run.path,
            run.name,
            "failed" if code else "ok",
            (*shared, *_exported(run, artifacts)),
            artifacts,
            code,
        )

    def place(self, run: Run, artifact: Artifact) -> Path:
        """Where users look for it."""
        return self.out / run.name / artifact.name

    def _artifact(
        self,
        run: Run,
        artifact: Artifact,
        again: Collection[str],
        source: SourceLines,
        places: ErrorPlaces,
    ) -> ArtifactResult:
        """``again`` are the actions whose failure is told elsewhere."""
        ended = {i: run.ended[i] for i in run.plan.owned[artifact.name] if i in run.ended}
        made = run.ended.get(artifact.action)
        proof = run.ended.get(artifact.proof) if artifact.proof else None
        status = self._status(run, artifact)
        export = source.export(artifact)
        lines = source.of(artifact)
        ranges = sources.located(_measured("ranges", made, proof), lines)
        said = [
            places.of(sources.told(d, lines, ranges), run.actions[i].about, e.data)
            for i, e in ended.items() if i not in again
            for d in e.said()
        ]  # fmt: skip
        problem = self.delivery.problems.get((run.path, artifact.name))
        if problem is not None:
            about = run.actions[artifact.action].about
            status, said = "failed", [*said, places.of(problem, about, {})]
        if status in GOOD and artifact.kind == "engine" and proof is None:
            said.append(
                Diagnostic(
                    "engine-unproven",
                    "built, and not run: no GPU here that it is for; the ONNX file it comes from is proven",
                    "run `modelbuild verify` on a machine with such a GPU",
                    level="info",
                )
            )
        base = ArtifactResult(
            artifact.name, artifact.kind, artifact.precision, dict(artifact.axes), status,
            reason=self._reason(run, artifact, status),
            key=made.key if made else None,
            seconds=sum(run.ended[i].seconds for i in artifact.needed if i in run.ended),
            parity=_measured("parity", made, proof),
            conversion=_conversion(made, lines),
            ranges=ranges,
            static_by=road(run.plan, artifact),
            not_proven=export.data.get("not_proven", ()) if export is not None else (),
            diagnostics=tuple(said),
        )  # fmt: skip
        file = self._file(run, artifact, status)
        if file is None:
            return base
        place = str(self.place(run, artifact))
        return replace(base, path=place, sha256=file.sha256, bytes=file.bytes)

    def _status(self, run: Run, artifact: Artifact) -> str:
        states = _states(run, artifact)
        owned = [run.ended[i].status for i in run.plan.owned[artifact.name] if i in run.ended]
        if "failed" in owned:
            return "failed"
        for status in ("blocked", "skipped", "stale"):
            if status in states:
                return status
        if states[0] in ("fetched", "remote") and (run.path, artifact.name) not in self.delivery.moved:
            return "cached"  # users have the file that the remote cache knows of
        return states[0]

    def _reason(self, run: Run, artifact: Artifact, status: str) -> str | None:
        made = run.ended.get(artifact.action)
        proof = run.ended.get(artifact.proof) if artifact.proof else None
        if made is not None and made.reason:
            return made.reason
        if proof is not None and proof.reason:
            return f"{'to prove' if status == 'stale' else 'proven'} again: {proof.reason}"
        if status in ("fetched", "remote") and made is not None and made.signed is not None:
            return words.signed(made.signed)
        return self.delivery.moved.get((run.path, artifact.name)) if status in ("cached", "stale") else None

    def _file(self, run: Run, artifact: Artifact, status: str) -> File | None:
        """The digest of the file that users get, with the bytes of all that belongs to it."""
        tree = run.tree_of(artifact)
        if status not in GOOD or tree is None:
            return None
        return replace(tree.files[artifact.name], bytes=sum(f.bytes for f in tree.files.values()))


class ForeseenAnswers(Answers):
    """Of a walk: a file that a build would put back is stale."""

    def _status(self, run: Run, artifact: Artifact) -> str:
        status = super()._status(run, artifact)
        moved = (run.path, artifact.name) in self.delivery.moved
        return "stale" if moved and status in GOOD and status != "remote" else status


class MeasuredAnswers(Answers):
    """Of published files that were measured, and not made: a proof is all that became of them."""

    def _status(self, run: Run, artifact: Artifact) -> str:
        status = _states(run, artifact)[-1]
        return "built" if status in GOOD else status

    def _reason(self, run: Run, artifact: Artifact, status: str) -> str | None:
        return None

    def _file(self, run: Run, artifact: Artifact, status: str) -> File | None:
        place = self.place(run, artifact)
        return hash_file(place) if place.is_file() else None


def _states(run: Run, artifact: Artifact) -> list[str]:
    """How the action of an artifact ended, and its proof."""
    return [run.ended[i].status if i in run.ended else "blocked" for i in artifact.needed]


def _measured(what: str, made: Ended | None, proof: Ended | None) -> Any:
    """What the proof measured, or what was measured before there was a file to prove."""
    of = proof if proof is not None and what in proof.data else made
    return of.data.get(what) if of is not None else None


def _conversion(made: Ended | None, lines: Mapping[str, str]) -> Mapping[str, Any] | None:
    """With the lines of the model: of each int8 node, and of the nodes that were kept out."""
    found = made.data.get("conversion") if made is not None else None
    if found is None:
        return None
    told = dict(found)
    out = (*found["kept"], *found.get("kept_fp32", ()))
    if known := {node: lines[node] for node in out if node in lines}:
        told["sources"] = known
    if "nodes" in found:
        told["nodes"] = sources.located(found["nodes"], lines)
    return told


class SourceLines:
    """Of a run's artifacts: the export that each comes from, and the lines that its nodes come from."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._known: dict[str, dict[str, str]] = {}

    def of(self, artifact: Artifact) -> dict[str, str]:
        """Node -> line of the model's source."""
        export = self._exporting(artifact.action)
        if export is None:
            return {}
        if export not in self._known:  # of a graph that a thousand variants may share
            self._known[export] = sources.lines(self.run.ended[export].data["sources"])
        return self._known[export]

    def export(self, artifact: Artifact) -> Ended | None:
        """How the export ended, if it is from PyTorch and came to an end."""
        action = self._exporting(artifact.action)
        return self.run.ended[action] if action is not None else None

    def _exporting(self, action: str) -> str | None:
        todo = [action]
        for one in todo:
            ended = self.run.ended.get(one)
            if ended is not None and "sources" in ended.data:
                return one
            known = self.run.plan.by_id.get(one)
            todo += known.needs.values() if known is not None else ()
        return None


def _exported(run: Run, artifacts: Sequence[ArtifactResult]) -> tuple[Diagnostic, ...]:
    """A word on variants that were made in another way than is usual."""
    recipe = run.plan.recipe
    names = [
        recipe.variant_suffix(a.axes)
        for a in artifacts
        if a.static_by == "export" and a.status in (*GOOD, "stale")
    ]
    if recipe.static_by == "export" or not names:
        return ()
    return (
        Diagnostic(
            "variants-exported",
            "the dynamic model is refused, so that these static variants are exported from PyTorch, each at "
            f"its own sizes: {', '.join(dict.fromkeys(names))}",
            "`static_by: export` asks for that in any case",
            level="info",
        ),
    )
