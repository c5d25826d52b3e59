"""What the machine has, asked of machines that have more or less than this one."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from modelbuild.machine import toolchain
from modelbuild.machine.toolchain import Gpu

ROOT = Path(toolchain.__file__).parents[1]

# A driver with one device, as far as cuda.h goes; MODE decides what it does wrong.
DRIVER = """
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static int is(const char *mode) { const char *m = getenv("MODE"); return m && !strcmp(m, mode); }
int cuInit(unsigned flags) { if (is("crash")) abort(); return is("no-device") ? 100 : 0; }
int cuDeviceGet(int *device, int ordinal) { *device = 7; return 0; }
int cuDeviceGetName(char *name, int len, int device) { strcpy(name, "NVIDIA Test 1000"); return 0; }
int cuDeviceGetAttribute(int *value, int what, int device) {
    *value = what == 75 ? 8 : what == 76 ? 9 : -1;
    return device == 7 ? 0 : 101;
}
"""


def test_asking_imports_nothing_heavy() -> None:
    code = (
        "import sys; from modelbuild.machine import toolchain as t\n"
        "assert 'importlib.metadata' not in sys.modules, 'imported too early'\n"
        "t.versions(['onnx']); t.missing_backend('tensorrt-rtx'); t.missing_runtime()\n"
        "t.gpu(); t.platform_facts()\n"
        "print(sorted({'torch', 'onnx', 'numpy', 'tensorrt_rtx', 'polygraphy'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_version_is_the_installed_one_or_none() -> None:
    import onnx

    assert toolchain.versions(["onnx", "no-such-distribution"]) == {
        "onnx": onnx.__version__,
        "no-such-distribution": None,
    }


def test_the_platform_is_named_as_python_names_it() -> None:
    facts = toolchain.platform_facts()

    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["machine"] in sysconfig.get_platform()
    assert set(facts) == {"python", "system", "machine"}


# ---- backends --------------------------------------------------------------------------------


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all there is to import from."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "path_importer_cache", {})
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    monkeypatch.setattr("ctypes.util.find_library", lambda name: None)
    for name in ("onnxruntime", "polygraphy", "tensorrt", "tensorrt_rtx", "tensorrt_rtx_libs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def install(packages: Path, *files: str) -> None:
    for file in files:
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).touch()


LIBRARY = "tensorrt_rtx_libs/libtensorrt_rtx.so.1"


@pytest.mark.parametrize(
    ("backend", "installed", "reason"),
    [
        pytest.param(
            "tensorrt", [],
            "tensorrt is not installed: pip install \"modelbuild[tensorrt]\"",
            id="no-tensorrt",
        ),
        pytest.param(
            "tensorrt-rtx", ["polygraphy/__init__.py"],
            "tensorrt-rtx is not installed: pip install \"modelbuild[rtx]\"",
            id="no-rtx",
        ),
        pytest.param(
            "tensorrt-rtx", ["tensorrt_rtx/__init__.py"],
            "polygraphy is not installed: pip install \"modelbuild[rtx]\"",
            id="no-polygraphy",
        ),
        pytest.param(
            "tensorrt-rtx", ["polygraphy/__init__.py", "tensorrt_rtx/__init__.py"],
            "tensorrt-rtx is installed without its libraries (libtensorrt_rtx): "
            "pip install \"modelbuild[rtx]\", or add their folder to LD_LIBRARY_PATH",
            id="no-libraries",
        ),
        pytest.param(
            "tensorrt-rtx",
            ["polygraphy/__init__.py", "tensorrt_rtx/__init__.py", "tensorrt_rtx_libs/__init__.py",
             LIBRARY],
            None,
            id="all-there",
        ),
    ],
)  # fmt: skip
def test_a_missing_backend_says_what_to_install(
    backend: str, installed: list[str], reason: str | None, packages: Path
) -> None:
    install(packages, *installed)

    assert toolchain.missing_backend(backend) == reason


AFRESH = (
    "pip uninstall -y onnxruntime onnxruntime-gpu, then one of "
    'pip install "modelbuild[cpu]" and pip install "modelbuild[gpu]"'
)


@pytest.mark.parametrize(
    ("installed", "reason"),
    [
        pytest.param(
            [],
            "onnxruntime is not installed, without which nothing can be proven: "
            'pip install "modelbuild[cpu]", or "modelbuild[gpu]" where there is a GPU',
            id="nothing",
        ),
        pytest.param(
            ["onnxruntime/capi/_pybind_state.py"],
            "onnxruntime is installed in part, as where one of its distributions was removed and another one "
            f"stayed: {AFRESH}",
            id="half-removed",
        ),
        pytest.param(["onnxruntime/__init__.py"], None, id="installed"),
    ],
)
def test_a_missing_runtime_says_what_to_install(
    installed: list[str], reason: str | None, packages: Path
) -> None:
    install(packages, *installed)

    assert toolchain.missing_runtime() == reason


def test_two_distributions_of_the_runtime_are_told(packages: Path) -> None:
    metadata = "Metadata-Version: 2.1\nName: {}\nVersion: {}\n"
    for name, number in (("onnxruntime", "1.32.0"), ("onnxruntime-gpu", "1.27.0")):
        assert toolchain.doubled_runtime() is None
        install(packages, f"{name.replace('-', '_')}-{number}.dist-info/METADATA")
        info = packages / f"{name.replace('-', '_')}-{number}.dist-info"
        (info / "METADATA").write_text(metadata.format(name, number))

    assert toolchain.doubled_runtime() == (
        "onnxruntime 1.32.0 and onnxruntime-gpu 1.27.0 are both installed, into one folder, and which runs "
        f"is chance: {AFRESH}"
    )


@pytest.mark.parametrize("how", ["LD_LIBRARY_PATH", "the system"])
def test_libraries_count_wherever_the_loader_finds_them(
    how: str, packages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(packages, "polygraphy/__init__.py", "tensorrt/__init__.py")
    install(packages, "elsewhere/libnvinfer.so.10")
    if how == "LD_LIBRARY_PATH":
        monkeypatch.setenv(how, f"/nowhere:{packages / 'elsewhere'}")
    else:
        monkeypatch.setattr("ctypes.util.find_library", {"nvinfer": "libnvinfer.so.10"}.get)

    assert toolchain.missing_backend("tensorrt") is None


# ---- the GPU ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a driver of one device in it."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "driver.c").write_text(DRIVER)
    command = ["cc", "-shared", "-fPIC", "-o", str(folder / "libcuda.so.1"), "driver.c"]
    try:
        subprocess.run(command, cwd=folder, check=True)
    except FileNotFoundError:
        pytest.skip("there is no C compiler to make a driver with")
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the driver of this test is for Linux")
@pytest.mark.parametrize(
    ("mode", "found"),
    [
        pytest.param("right", Gpu("NVIDIA Test 1000", "8.9"), id="one-device"),
        pytest.param("no-device", None, id="no-device"),
        pytest.param("crash", None, id="a-driver-that-crashes"),
    ],
)
def test_the_gpu_is_what_the_driver_says(mode: str, found: Gpu | None, driver: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from modelbuild.machine import toolchain; print(toolchain.gpu())"],
        cwd=ROOT,
        env={"LD_LIBRARY_PATH": str(driver), "MODE": mode},
        capture_output=True,
        text=True,
    )

    assert (done.stdout, done.stderr) == (f"{found}\n", "")


def test_without_a_driver_there_is_no_gpu_and_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(toolchain, "_driver_name", lambda: "libno-such-driver.so.1")
    toolchain.gpu.cache_clear()

    assert toolchain.gpu() is None

    toolchain.gpu.cache_clear()
