"""Builds and their lock files: ``--lock`` writes what is reviewed, ``--locked`` holds to it."""

from __future__ import annotations

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from modelbuild import lockfile
from modelbuild.lockfile import Lock
from tests.conftest import TINY, VARIANTS, Answer, Project

FP32_BOUNDS = "rtol 0.001, atol 0.0001, relative_l2 0.001, mismatch 0.001"
FP32, FP16 = "net.fp32.onnx", "net.fp16.onnx"
ALL = [FP32, FP16, "net.fp32.batch1.onnx", "net.fp16.batch1.onnx"]
ENGINE = "engines: [{precision: fp32, backend: tensorrt}]"


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory, built: Project) -> Project:
    """A project that is built, with its lock file. Not to be touched: ``locked`` is a copy of it."""
    made = Project(tmp_path_factory.mktemp("reviewed"))
    made.write("net.py", TINY)
    made.recipe(*VARIANTS)
    made.take_cache(built)
    answer = made.build("--lock")
    assert answer.code == 0, answer.stdout
    assert answer.said("lock-written") == "wrote net.lock.yaml"
    return made


@pytest.fixture
def locked(reviewed: Project, tmp_path: Path) -> Project:
    """The project, its cache and its lock file in another folder."""
    shutil.copytree(reviewed.folder, tmp_path / "copy")
    return Project(tmp_path / "copy")


def _place(project: Project) -> Path:
    return project.folder / "net.lock.yaml"


def _lock(project: Project) -> Lock:
    return lockfile.load(_place(project))


def _edit(project: Project, old: str, new: str, name: str = "net.lock.yaml") -> None:
    text = (project.folder / name).read_text()
    assert old in text
    project.write(name, text.replace(old, new))


def _differs(answer: Answer) -> str:
    """What a build that differs from its lock file says of the whole."""
    assert answer.code == 1, answer.stdout
    assert answer.recipe["status"] == "failed"
    (said,) = (d for d in answer.recipe["diagnostics"] if d["code"] == "lock-mismatch")
    assert said["where"] == "net.lock.yaml"
    assert said["hint"] == "`modelbuild build --lock` writes the new one, to be reviewed"
    message: str = said["message"]
    return message.removeprefix("the build differs from its lock file: ")


def _without_measurements(text: str) -> str:
    return re.sub(r"worst: .*", "", text)


# ---- written -----------------------------------------------------------------------------------


def test_the_lock_file_says_what_was_published(reviewed: Project) -> None:
    lock = _lock(reviewed)
    assert list(lock.onnx) == ALL
    for name, row in lock.onnx.items():
        published = reviewed.output(name).read_bytes()
        assert row.sha256 == hashlib.sha256(published).hexdigest()
        assert (row.bytes, row.opset, row.data) == (len(published), 18, None)
        assert row.worst is not None
        assert row.worst.output == "y"
        assert row.worst.headroom == "exact" or float(row.worst.headroom) > 1
    assert lock.onnx[FP32].nodes == {"float32": 3}
    assert lock.onnx[FP16].nodes == {"float16": 3, "other": 2}
    assert lock.onnx[FP32].tolerance == FP32_BOUNDS
    assert list(lock.files) == ["net.py"]
    assert {"torch", "onnx", "python"} <= set(lock.toolchain)


def test_the_text_names_nothing_of_this_machine(reviewed: Project) -> None:
    text = _place(reviewed).read_text()
    assert str(reviewed.folder) not in text
    assert str(Path.home()) not in text


def test_a_lock_file_that_says_so_already_is_not_written_again(locked: Project) -> None:
    before = _place(locked).stat()
    answer = locked.build("--lock")
    assert (answer.code, answer.diagnostics) == (0, [])
    assert set(answer.statuses.values()) == {"cached"}
    after = _place(locked).stat()
    assert (after.st_mtime_ns, after.st_ino) == (before.st_mtime_ns, before.st_ino)


def test_another_folder_home_cache_and_hash_seed_give_the_same_text(
    reviewed: Project, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    there = Project(tmp_path / "a" / "b", {"HOME": str(home), "PYTHONHASHSEED": "7", "USER": "bob"})
    there.write("net.py", TINY)
    there.recipe(*VARIANTS)
    assert there.build("--lock", "-j", "1", "--cache-dir", str(home / "cache")).code == 0
    # On one machine what was measured is the same to the last digit, with any number of threads.
    assert _place(there).read_text() == _place(reviewed).read_text()


def test_what_was_measured_on_another_cpu_stays_as_it_was_reviewed(locked: Project) -> None:
    headroom = _lock(locked).onnx[FP16].worst
    assert headroom is not None
    _edit(locked, f"headroom: {headroom.headroom}", f"headroom: {float(headroom.headroom) * 1.1:.3g}")
    elsewhere = _place(locked).read_text()
    assert locked.build("--lock").code == 0
    assert _place(locked).read_text() == elsewhere


def test_a_build_that_is_not_all_good_leaves_the_lock_file(locked: Project) -> None:
    before = _place(locked).read_text()
    locked.recipe("precision: {fp32: {}, fp16: {tolerance: {relative_l2: 1.0e-9}}}")
    answer = locked.build("--lock")
    assert answer.code == 3
    assert answer.said("lock-unwritten") == (
        "net.lock.yaml is not written: not everything is built and proven"
    )
    assert _place(locked).read_text() == before


def test_a_lock_file_that_cannot_be_written_is_told_and_the_build_stands(locked: Project) -> None:
    _place(locked).unlink()
    _place(locked).mkdir()
    locked.output(FP32).unlink()
    answer = locked.build("--lock")
    assert answer.code == 1
    assert answer.said("system-error") == "net.lock.yaml cannot be written: Is a directory"
    assert answer.statuses == dict.fromkeys(ALL, "cached")
    assert locked.output(FP32).is_file()


@pytest.mark.parametrize("option", ["--dry-run", "--only=*fp16*"])
def test_a_lock_of_a_part_or_of_nothing_is_refused(project: Project, option: str) -> None:
    answer = project.build("--lock", option)
    assert answer.code == 2
    assert answer.said("recipe-invalid") == (
        "--lock goes with neither --only nor --dry-run: it is about all that is built"
    )
    assert not _place(project).exists()


def test_writing_and_holding_at_once_is_refused(project: Project) -> None:
    answer = project.build("--lock", "--locked")
    assert answer.code == 2
    assert answer.said("recipe-invalid") == "argument --locked: not allowed with argument --lock"


# ---- held --------------------------------------------------------------------------------------


def test_what_is_as_it_was_reviewed_passes(locked: Project) -> None:
    before = _place(locked).read_text()
    shutil.rmtree(locked.folder / "build")
    answer = locked.build("--locked")
    assert (answer.code, answer.diagnostics) == (0, [])
    assert set(answer.statuses.values()) == {"cached"}
    assert locked.output(FP16).is_file()
    _edit(locked, "import torch\n", "# a comment\nimport torch\n", "net.py")
    assert (locked.build("--locked").code, locked.build("--lock").code) == (0, 0)
    assert _place(locked).read_text() == before


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("torch.relu", "torch.tanh", "net.py changed; net.fp32.onnx: other bytes", id="model"),
        pytest.param("verify:", "opset: 19\nverify:", "opset 18 -> 19; net.fp32.onnx: other", id="opset"),
    ],
)
def test_what_has_other_bytes_is_not_published(locked: Project, old: str, new: str, said: str) -> None:
    published = {name: locked.output(name).read_bytes() for name in ALL}
    _edit(locked, old, new, "net.py" if "torch" in old else "net.yaml")
    answer = locked.build("--locked")
    assert _differs(answer).startswith(said)
    assert answer.statuses == dict.fromkeys(ALL, "failed")
    for name in ALL:
        assert locked.output(name).read_bytes() == published[name]
        (told,) = answer.artifacts[name]["diagnostics"]
        assert told["code"] == "lock-mismatch"
        assert told["message"].startswith(f"not published: {name}: other bytes (sha256 ")
    assert locked.build("--locked").code == 1


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        pytest.param(
            ("precision: {fp32: {tolerance: {rtol: 0.01}}, fp16: {method: convert}}", VARIANTS[1]),
            f"net.fp32.onnx: tolerance {FP32_BOUNDS} -> rtol 0.01, atol 0; "
            f"net.fp32.batch1.onnx: tolerance {FP32_BOUNDS} -> rtol 0.01, atol 0",
            id="tolerance",
        ),
        pytest.param(
            (VARIANTS[0], "static: [{batch: 1}, {batch: 2}]"),
            "net.fp32.batch2.onnx is not in the lock file; net.fp16.batch2.onnx is not in the lock file",
            id="new-variant",
        ),
        pytest.param(
            VARIANTS[:1],
            "net.fp32.batch1.onnx is in the lock file alone; net.fp16.batch1.onnx is in the lock file alone",
            id="dropped-variant",
        ),
        pytest.param(
            (*VARIANTS, ENGINE), "net.fp32.tensorrt.engine is not in the lock file", id="new-engine"
        ),
    ],
)
def test_a_recipe_that_asks_for_something_else_differs(
    locked: Project, lines: tuple[str, ...], said: str
) -> None:
    locked.recipe(*lines)
    answer = locked.build("--locked")
    assert _differs(answer) == said
    new = [name for name in answer.statuses if "batch2" in name]
    assert all(answer.statuses[name] == "failed" and not locked.output(name).exists() for name in new)


def test_another_toolchain_differs_although_the_bytes_are_the_same(locked: Project) -> None:
    version = _lock(locked).toolchain["torch"]
    _edit(locked, f"torch: {version}", "torch: 1.13.1")
    answer = locked.build("--locked")
    assert _differs(answer) == f"torch 1.13.1 -> {version}"
    assert set(answer.statuses.values()) == {"cached"}


def test_a_part_is_held_to_its_part(locked: Project) -> None:
    assert locked.build("--locked", "--only", FP16).code == 0
    _edit(locked, "opset: 18", "opset: 17")
    answer = locked.build("--locked", "--only", FP16)
    assert _differs(answer) == "opset 17 -> 18"
    assert answer.statuses == {FP16: "cached"}


def test_an_artifact_that_fails_its_proof_is_told_once(locked: Project) -> None:
    locked.recipe("precision: {fp32: {}, fp16: {tolerance: {relative_l2: 1.0e-9}}}", VARIANTS[1])
    answer = locked.build("--locked")
    assert (answer.code, answer.statuses[FP16]) == (3, "failed")
    assert [d["code"] for d in answer.diagnostics] == ["parity-failed", "fp16-infeasible"]


def test_an_engine_without_its_backend_is_locked_by_name(locked: Project) -> None:
    engine = "net.fp32.tensorrt.engine"
    locked.recipe(*VARIANTS, ENGINE)
    answer = locked.build("--lock")
    if answer.statuses[engine] != "skipped":
        pytest.skip("TensorRT is here")
    assert answer.code == 0
    assert _lock(locked).engines == {engine: None}
    assert locked.build("--locked").code == 0
    # Where the backend is, its key was written, and stays.
    _edit(locked, f"{engine}: null", f"{engine}: sha256:12")
    assert (locked.build("--locked").code, locked.build("--lock").code) == (0, 0)
    assert _lock(locked).engines == {engine: "sha256:12"}


# ---- lock files that cannot be used ------------------------------------------------------------


def test_a_lock_file_that_is_not_there_is_told_before_anything_is_built(project: Project) -> None:
    answer = project.build("--locked")
    assert answer.code == 2
    (said,) = answer.diagnostics
    assert (said["code"], said["message"]) == ("lock-missing", "there is no lock file")
    assert (said["where"], said["hint"]) == ("net.lock.yaml", "`modelbuild build --lock` writes it")
    assert not (project.folder / "build").exists()


def test_a_merge_conflict_is_told_with_its_line_and_a_new_build_may_write_it_anew(locked: Project) -> None:
    good = _place(locked).read_text()
    _edit(locked, "toolchain:", "<<<<<<< HEAD\ntoolchain:")
    answer = locked.build("--locked")
    assert answer.code == 2
    assert answer.said("lock-invalid") == "an unresolved merge conflict"
    line = good[: good.index("toolchain:")].count("\n") + 1
    assert [d["where"] for d in answer.diagnostics] == [f"net.lock.yaml:{line}:1"]
    assert locked.build("--lock").code == 0
    assert _place(locked).read_text() == good


def test_recipes_of_a_folder_have_their_lock_files_beside_them(locked: Project) -> None:
    locked.recipe(name="other.yaml")
    locked.write("wrong.yaml", "name: wrong\n")

    def build(*arguments: str) -> tuple[int, dict[str, str]]:
        answer = locked.run("build", ".", "--keep-going", "--format", "json", *arguments)
        return answer.code, {r["recipe"]: r["status"] for r in answer.report["recipes"]}

    statuses = {"net.yaml": "ok", "other.yaml": "ok", "wrong.yaml": "failed"}
    assert build("--lock") == (2, statuses)
    names = sorted(p.name for p in locked.folder.glob("*.yaml"))
    assert names == ["net.lock.yaml", "net.yaml", "other.lock.yaml", "other.yaml", "wrong.yaml"]
    assert build("--locked") == (2, statuses)
    (locked.folder / "wrong.yaml").unlink()
    _edit(locked, "bytes: ", "bytes: 1")  # for people: not compared
    _edit(locked, "opset: 18", "opset: 17", "other.lock.yaml")
    assert build("--locked") == (1, {"net.yaml": "ok", "other.yaml": "failed"})


def test_a_lock_file_is_no_recipe(locked: Project) -> None:
    answer = locked.run("build", "net.lock.yaml")
    assert answer.code == 2
    assert "lock file" in answer.stderr
    assert "net.yaml" in answer.stderr
