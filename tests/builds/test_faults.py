"""What must not go wrong when things go wrong: interrupts, crashes, full disks, missing tools."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builds.test_kills import Growing
from tests.conftest import RECIPE, TINY, Project

SLOW = TINY.replace("def forward(self, x):", "def forward(self, x):\n        import time; time.sleep(60)")


@pytest.fixture
def growing(project: Project) -> Growing:
    return Growing(project)


def _children(session: int) -> list[int]:
    """The processes whose session was started by a child of ``session``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def _start(project: Project, *arguments: str) -> subprocess.Popen[str]:
    return project.start("build", "net.yaml", *arguments)


def _server_of(pid: int, timeout: float = 30) -> int:
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        time.sleep(0.05)
    raise AssertionError("no child was started")


def _wait_for(line: str, process: subprocess.Popen[str]) -> None:
    assert process.stderr is not None
    for said in process.stderr:
        if line in said:
            return
    raise AssertionError(f"never said {line!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminated"])
@pytest.mark.slow
def test_an_interrupt_ends_every_child_at_once_and_leaves_nothing_half_written(
    project: Project, number: signal.Signals
) -> None:
    project.write("net.py", SLOW)
    process = _start(project)
    server = _server_of(process.pid)
    _wait_for("reference", process)
    time.sleep(0.3)
    start = time.monotonic()
    process.send_signal(number)
    process.communicate(timeout=10)
    assert time.monotonic() - start < 2
    assert process.returncode == 130
    assert _children(server) == []
    assert not list((project.folder / "cache/work").iterdir())
    assert not (project.folder / "build").exists()


@pytest.mark.slow
def test_killing_the_command_takes_its_children_along(project: Project) -> None:
    project.write("net.py", SLOW)
    process = _start(project)
    server = _server_of(process.pid)
    _wait_for("reference", process)
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 5
    while _children(server) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _children(server) == []
    project.write("net.py", TINY)
    assert project.build().code == 0
    assert not list((project.folder / "cache/work").iterdir())


@pytest.mark.slow
def test_a_model_process_that_is_killed_fails_its_recipe_and_hangs_nothing(project: Project) -> None:
    project.write("net.py", SLOW)
    process = _start(project, "-j", "1")
    server = _server_of(process.pid)
    _wait_for("export", process)
    time.sleep(0.3)
    (host,) = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    os.kill(int(host), signal.SIGKILL)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 1
    assert "killed by SIGKILL (out of memory?)" in out


DYING = """\
import os, signal, sys
from pathlib import Path

here = os.path.dirname(__file__)
sys.path.remove(here)
del sys.modules["onnxsim"]
import onnxsim
sys.path.insert(0, here)
simplify = onnxsim.simplify


def dying(*arguments, **options):
    if Path(here, "once").exists():
        Path(here, "once").unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return simplify(*arguments, **options)


onnxsim.simplify = dying
"""


@pytest.mark.slow
def test_a_simplifier_that_was_killed_once_is_asked_again(project: Project) -> None:
    project.write("lib/onnxsim.py", DYING)
    once = project.write("lib/once", "")
    project.environment["PYTHONPATH"] = str(project.folder / "lib")
    first = project.build("--lock")
    assert not once.exists()
    assert first.code == 0
    assert "the next build may give other bytes" in first.said("lock-unwritten")
    assert "onnxsim: killed by SIGKILL (out of memory?); the unsimplified graph goes on" in (
        first.said("simplify-failed")
    )
    assert first.said("not-kept").startswith("`fp32` went on after what may be gone the next time: killed")
    assert project.run("why", "net.fp32.onnx", "net.yaml").stdout.count("killed by SIGKILL") == 1
    again = project.build()
    assert again.diagnostics == []
    assert again.statuses == {"net.fp32.onnx": "built"}
    assert project.build().statuses == {"net.fp32.onnx": "cached"}


@pytest.mark.slow
def test_two_builds_of_one_recipe_at_once_both_succeed(project: Project) -> None:
    both = [_start(project, "--format", "json") for _ in range(2)]
    assert [p.communicate(timeout=120) and p.returncode for p in both] == [0, 0]
    assert project.build().statuses == {"net.fp32.onnx": "cached"}


def test_a_cache_that_cannot_be_written_is_an_error_not_a_traceback(project: Project) -> None:
    (project.folder / "file").write_text("")
    answer = project.build("--cache-dir", "file/cache")
    assert answer.code == 1
    assert f"the cache folder {project.folder}/file/cache cannot be written: Not a directory" in answer.stderr


def test_an_output_folder_that_cannot_be_written_fails_the_artifact_and_keeps_the_proof(
    project: Project,
) -> None:
    (project.folder / "file").write_text("")
    answer = project.build("--out", "file")
    assert answer.code == 1
    assert answer.statuses == {"net.fp32.onnx": "failed"}
    assert "net.fp32.onnx cannot be written to file/net" in answer.said("publish-failed")
    again = project.build()
    assert again.statuses == {"net.fp32.onnx": "cached"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
@pytest.mark.slow
def test_a_full_disk_is_said_and_the_next_build_is_right(project: Project) -> None:
    small = project.folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        project.write("net.py", TINY.replace("width=8", "width=20000"))
        answer = project.build("--cache-dir", str(small))
        assert answer.code == 1
        assert "No space left on device" in answer.stdout
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert project.build("--cache-dir", str(small)).code == 0


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small file system with these options, or mount it again with others."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mounted(options: str) -> Path:
        again = "remount," if place.is_mount() else ""
        command = ["mount", "-t", "tmpfs", "-o", again + options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
            pytest.skip("needs root, and a place where file systems can be mounted")
        return place

    yield mounted
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.parametrize("size", [4, 24, 44, 64])
def test_a_disk_that_is_full_at_any_moment_is_said_with_its_place(
    growing: Growing, mount: Callable[[str], Path], size: int
) -> None:
    small = mount(f"size={size}k")
    growing.next_model(0)
    growing.project.environment["MODELBUILD_CACHE_DIR"] = str(small / "cache")
    answer = growing.project.build()
    said = [d for d in answer.diagnostics if d["level"] != "info"]
    assert said
    assert all("No space left on device" in d["message"] for d in said)
    assert all(str(small / "cache") in d["message"] + d["hint"] for d in said)
    mount("size=20m")
    growing.finish()


def test_an_output_folder_that_is_full_is_said_with_its_place(
    growing: Growing, mount: Callable[[str], Path]
) -> None:
    small = mount("size=4k")
    growing.next_model(0)
    answer = growing.project.build("--out", str(small / "build"))
    assert answer.code == 1
    place = small / "build/net"
    assert f"manifest.json cannot be written to {place}: No space left" in answer.stderr
    assert not list(place.glob(".*"))
    mount("size=20m")
    assert growing.project.build("--out", str(small / "build")).code == 0


def test_a_cache_that_is_read_only_is_good_for_what_it_has_and_says_so_for_the_rest(
    growing: Growing, mount: Callable[[str], Path]
) -> None:
    small = mount("size=20m")
    growing.next_model(0)
    growing.project.environment["MODELBUILD_CACHE_DIR"] = str(small / "cache")
    growing.finish()
    mount("ro")
    shutil.rmtree(growing.project.folder / "build")
    growing.finish()
    growing.next_model(1)
    answer = growing.project.build()
    assert answer.code == 1
    assert f"the cache folder {small / 'cache'} cannot be written: Read-only" in answer.stderr
    assert "`--cache-dir` names another folder" in answer.stderr


def test_what_was_said_of_the_cache_is_not_said_again_by_a_build_with_nothing_to_do(
    growing: Growing,
) -> None:
    growing.next_model(0)
    growing.finish()
    for path in (growing.project.folder / "cache/objects").glob("*/*/net.fp16.onnx"):
        path.unlink()
    growing.project.output("net.fp16.onnx").unlink()
    assert "set aside" in growing.project.build().said("cache-corrupt")
    assert growing.project.build().diagnostics == []


def test_an_object_that_lost_a_file_is_built_again(warm: Project) -> None:
    first = warm.build()
    for path in (warm.folder / "cache/objects").glob("*/*/net.fp32.onnx"):
        path.unlink()
    warm.output("net.fp32.onnx").unlink()
    again = warm.build()
    assert again.statuses == {"net.fp32.onnx": "built"}
    assert again.artifacts["net.fp32.onnx"]["sha256"] == first.artifacts["net.fp32.onnx"]["sha256"]


def test_an_engine_without_its_backend_is_skipped_with_the_reason(warm: Project) -> None:
    warm.recipe("engines: [{precision: fp32, backend: tensorrt}]")
    skipped = warm.build()
    assert skipped.code == 0
    assert skipped.statuses == {"net.fp32.onnx": "cached", "net.fp32.tensorrt.engine": "skipped"}
    assert "tensorrt is not installed" in skipped.said("backend-missing")
    required = warm.build("--require-engines")
    assert required.code == 4
    assert required.statuses["net.fp32.tensorrt.engine"] == "failed"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["net.yaml", "--cache-dir"], "expected one argument"),
        (["net.yaml", "-j", "0"], "'0' is not a whole number of 1 or more"),
        (["net.yaml", "--format", "xml"], "invalid choice: 'xml'"),
        ([], "no recipe is named, and no project file says which are meant"),
    ],
)
def test_a_wrong_command_line_is_exit_2_with_a_sentence(
    project: Project, arguments: list[str], message: str
) -> None:
    answer = project.run("build", *arguments)
    assert answer.code == 2
    assert message in answer.stderr


def test_the_name_of_two_recipes_must_differ(project: Project) -> None:
    project.recipe(base="name: net\n" + RECIPE, name="other.yaml")
    answer = project.run("build", "net.yaml", "other.yaml")
    assert answer.code == 2
    assert "both have the name `net`" in answer.stderr


@pytest.mark.slow
def test_a_caller_that_blocks_or_ignores_the_end_of_children_hangs_nothing(growing: Growing) -> None:
    growing.next_model(1)
    project = growing.project
    for number, prepare in enumerate(
        (
            lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD]),
            lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
        )
    ):
        growing.next_model(number)
        done = subprocess.run(
            project.command("build", "net.yaml"), cwd=project.folder, env=project.environ(),
            preexec_fn=prepare, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("closed", ["<&- >&-", "<&- >&- 2>&-", ">&-"])
@pytest.mark.slow
def test_closed_standard_streams_are_no_streams_and_no_error(growing: Growing, closed: str) -> None:
    growing.next_model(1)
    project = growing.project
    for _ in ("built", "nothing to do"):
        line = f'"$0" -m modelbuild build net.yaml {closed}'
        done = subprocess.run(
            ["sh", "-c", line, sys.executable], cwd=project.folder, env=project.environ(),
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
        assert project.output("net.fp32.onnx").is_file()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a folder read-only")
def test_an_output_folder_that_cannot_be_written_is_no_fault_where_nothing_is_to_be_written(
    growing: Growing,
) -> None:
    growing.next_model(1)
    project = growing.project
    assert project.build().code == 0
    out = project.folder / "build"
    if subprocess.run(["mount", "--bind", out, out], capture_output=True).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", out], check=True)
        shutil.rmtree(project.folder / "cache/state")  # the slow path
        answer = project.build()
        assert (answer.code, set(answer.statuses.values())) == (0, {"cached"}), answer.stdout
        growing.next_model(2)
        answer = project.build()
        assert answer.code == 1
        assert "cannot be written" in answer.said("publish-failed")
    finally:
        subprocess.run(["umount", "--lazy", out], check=True)


def test_two_distributions_of_onnxruntime_are_told_by_the_build_that_runs_it(warm: Project) -> None:
    warm.write(
        "lib/onnxruntime_gpu-1.27.0.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: onnxruntime-gpu\nVersion: 1.27.0\n",
    )
    warm.environment["PYTHONPATH"] = str(warm.folder / "lib")

    first = warm.build()

    assert first.code == 0
    assert " and onnxruntime-gpu 1.27.0 are both installed" in first.said("runtime-doubled")
    assert [d["code"] for d in warm.build().diagnostics] == []
    checked = warm.run("check", "net.yaml", "--format", "json")
    assert (checked.code, checked.said("runtime-doubled")) == (0, first.said("runtime-doubled"))
