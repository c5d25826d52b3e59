"""Builds with a remote cache: what others have built and signed is taken, and only what is needed of it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from modelbuild.store import Store
from modelbuild.store.ledger import Ledger
from tests.builds.sharing import Team
from tests.conftest import TINY, VARIANTS, Answer, Project


@pytest.fixture(scope="module")
def founded(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Team:
    team = Team.founded(tmp_path_factory.mktemp("team") / "bucket")
    team.takes(built)
    return team


@pytest.fixture
def team(founded: Team, tmp_path: Path) -> Team:
    """Of a test's own: it may spoil it."""
    shutil.copytree(founded.folder, tmp_path / "bucket")
    return Team(tmp_path / "bucket", founded.signer)


@pytest.fixture
def clone(team: Team, tmp_path: Path) -> Project:
    """The project that was built, in another folder, with nothing in its cache."""
    made = Project(tmp_path / "clone")
    made.folder.mkdir()
    made.write("net.py", TINY)
    made.recipe(*VARIANTS)
    team.joined(made)
    return made


def _ran(answer: Answer) -> set[str]:
    return set(re.findall(r"^\[\d+/\d+\] net\.yaml: (.+) done in ", answer.stderr, re.MULTILINE))


def _logs(project: Project) -> list[Path]:
    """What workers have written: they open a log for all that they do."""
    return [p for p in (project.folder / "cache").glob("logs/**/*") if p.is_file()]


def test_what_the_remote_has_is_fetched_and_nothing_runs(clone: Project, built: Project) -> None:
    answer = clone.build()
    assert answer.code == 0
    assert set(answer.statuses.values()) == {"fetched"}
    assert _ran(answer) == set()
    assert _logs(clone) == []
    for name, artifact in answer.artifacts.items():
        assert clone.output(name).read_bytes() == built.output(name).read_bytes()
        assert artifact["seconds"] > 0
        assert re.fullmatch(r"signed by ed25519:.{8}… on \d{4}-\d\d-\d\d", artifact["reason"])


def test_the_next_build_takes_the_short_way_and_asks_no_network(clone: Project, team: Team) -> None:
    assert clone.build().code == 0
    shutil.rmtree(team.folder)
    again = clone.build()
    assert set(again.statuses.values()) == {"cached"}
    assert again.diagnostics == []
    states = list(clone.folder.glob("cache/state/**/*"))
    assert [p for p in states if p.suffix == ".json"] != []
    told = clone.run("build", "net.yaml")
    assert (told.code, told.stderr) == (0, "")
    assert "cached, nothing to do" in told.stdout


def test_only_the_files_of_what_is_published_are_fetched(clone: Project, built: Project) -> None:
    assert clone.build().code == 0
    published = {p.name for p in built.folder.glob("build/net/*.onnx")}
    objects = [p for p in clone.folder.glob("cache/objects/*/*") if list(p.iterdir())]
    assert {p.name for o in objects for p in o.iterdir()} == published
    store = Store(clone.folder / "cache")
    entries = [Ledger(store.layout).entry(p, key) for key, p in store.layout.ledger_files()]
    steps = {entry.facts["step"] for entry in entries if entry is not None}
    assert steps == {"static", "half", "simplify", "verify"}


def test_a_variant_more_is_made_from_what_is_fetched_for_it(clone: Project) -> None:
    clone.recipe(VARIANTS[0], "static: [{batch: 1}, {batch: 2}]")
    answer = clone.build()
    assert answer.code == 0
    made = {name for name, status in answer.statuses.items() if status == "built"}
    assert made == {"net.fp32.batch2.onnx", "net.fp16.batch2.onnx"}
    assert answer.statuses["net.fp32.batch1.onnx"] == "fetched"
    assert not {"export", "reference"} & _ran(answer)


def test_a_tolerance_that_moves_is_judged_by_what_others_have_measured(clone: Project) -> None:
    clone.recipe("precision: {fp32: {tolerance: {rtol: 2.0e-3, atol: 2.0e-4}}}")
    answer = clone.build()
    assert answer.code == 0
    assert _ran(answer) == {"verify fp32"}
    assert _logs(clone) == []
    assert answer.statuses == {"net.fp32.onnx": "fetched"}


def test_a_blob_that_is_gone_is_made_here_and_told_once(clone: Project, team: Team, built: Project) -> None:
    (place,) = [
        p for p in team.blobs() if p.read_bytes() == built.output("net.fp32.batch1.onnx").read_bytes()
    ]
    place.unlink()
    answer = clone.build()
    assert answer.code == 0
    assert answer.statuses["net.fp32.batch1.onnx"] == "built"
    assert answer.statuses["net.fp16.onnx"] == "fetched"
    assert [d["code"] for d in answer.diagnostics if d["level"] == "warning"] == ["remote-damaged"]
    assert (
        clone.output("net.fp32.batch1.onnx").read_bytes() == built.output("net.fp32.batch1.onnx").read_bytes()
    )


def test_what_a_stranger_has_signed_is_not_used(clone: Project, team: Team, tmp_path: Path) -> None:
    stranger = Team.founded(tmp_path / "elsewhere")
    team.joined(clone, trust=stranger.signer.public)
    answer = clone.build()
    assert answer.code == 0
    assert set(answer.statuses.values()) == {"built"}
    assert "signed by a key that is not in `trust`" in answer.said("remote-untrusted")


def test_what_would_be_fetched_is_told_as_remote(clone: Project) -> None:
    dry = clone.build("--dry-run")
    assert set(dry.statuses.values()) == {"remote"}
    standing = clone.run("status", "net.yaml")
    assert re.search(r"remote   net\.fp32\.onnx +signed by ed25519:", standing.stdout), standing.stdout
    assert not (clone.folder / "cache/objects").exists()
    drawn = clone.run("graph", "net.yaml", "--format", "json").report["recipes"][0]
    assert {a["status"] for a in drawn["actions"]} == {"remote"}
    why = clone.run("why", "net.fp32.onnx", "net.yaml")
    assert why.stdout.startswith("net.fp32.onnx is in the remote cache: signed by ed25519:"), why.stdout
    told = clone.run("why", "net.fp32.onnx", "net.yaml", "--format", "json").report
    assert {a["signed"]["by"] for a in told["actions"]} == {_key(clone)}


def _key(project: Project) -> str:
    found = re.search(r'trust = \["(.+)"\]', (project.folder / "pyproject.toml").read_text())
    assert found is not None
    return found[1]


def test_without_the_remote_it_is_not_asked(clone: Project) -> None:
    dry = clone.build("--dry-run", "--remote", "off")
    assert set(dry.statuses.values()) == {"stale"}


def test_a_remote_that_is_off_costs_a_warning_and_no_build(clone: Project, team: Team) -> None:
    shutil.rmtree(team.folder)
    answer = clone.build()
    assert answer.code == 0
    assert set(answer.statuses.values()) == {"built"}
    assert [d["code"] for d in answer.diagnostics if d["level"] == "warning"] == ["remote-failed"]


@pytest.mark.parametrize("command", ["build", "status", "graph"])
def test_a_required_remote_that_is_off_is_an_error(clone: Project, team: Team, command: str) -> None:
    shutil.rmtree(team.folder)
    answer = clone.run(command, "net.yaml", "--require-remote")
    assert answer.code == 4
    assert re.fullmatch(r"error\[remote-failed\]: --require-remote: .+\nhint: .+\n", answer.stderr), (
        answer.stderr
    )
    assert not (clone.folder / "build").exists()


def test_a_required_remote_that_nobody_names_is_an_error(project: Project) -> None:
    answer = project.run("build", "net.yaml", "--require-remote")
    assert answer.code == 4
    assert "the project file names no remote cache" in answer.stderr


def test_a_build_does_not_run_with_a_key_to_sign_with(clone: Project) -> None:
    clone.environment["MODELBUILD_SIGNING_KEY"] = "/etc/key.pem"
    answer = clone.run("build", "net.yaml")
    assert answer.code == 2
    assert (
        "MODELBUILD_SIGNING_KEY is in the environment, where the model's code could read it" in answer.stderr
    )


def test_what_rots_here_is_fetched_again(clone: Project) -> None:
    assert clone.build().code == 0
    (place,) = list(clone.folder.glob("cache/objects/*/*/net.fp32.onnx"))
    size = place.stat().st_size
    place.chmod(0o644)
    place.write_bytes(b"x" * size)
    shutil.rmtree(clone.folder / "build")
    answer = clone.build()
    assert answer.code == 0
    assert answer.statuses["net.fp32.onnx"] == "fetched"
    assert _ran(answer) == set()
    assert "it was set aside and fetched again" in answer.said("cache-corrupt")


@pytest.mark.cold
def test_fetching_all_imports_no_heavy_library_and_starts_no_child(clone: Project) -> None:
    clone.cold = True
    clone.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    answer = clone.build()
    assert set(answer.statuses.values()) == {"fetched"}
    loaded = {row.rpartition("|")[2].strip() for row in answer.stderr.splitlines() if "|" in row}
    assert "modelbuild.remote.reading" in loaded
    assert not loaded & {"torch", "onnx", "numpy", "onnxruntime", "onnxsim"}
    assert answer.stderr.count("import time: self [us]") == 1  # of one process
