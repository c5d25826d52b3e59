"""What a run read: every road on which something outside decides what it does, and no other."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sqlite3
import struct
import sys
import textwrap
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch

from modelbuild.base import stat_rows
from modelbuild.machine.environment import ENVIRONMENT
from modelbuild.machine.isolate import in_child
from modelbuild.trace import facts
from modelbuild.trace.kinds import current, guards
from modelbuild.trace.recording import Found, Trace

LONG_AGO = 1_000_000_000


def write(folder: Path, name: str, text: str | bytes = "") -> Path:
    """A file that was there long before the run."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(textwrap.dedent(text).encode() if isinstance(text, str) else text)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


TESTS = str(Path(__file__).parents[1])


def run(
    base: Path,
    code: str,
    *,
    cwd: Path | None = None,
    path: tuple[Path, ...] = (),
    ignored: tuple[Path, ...] = (),
    declared: tuple[Path, ...] = (),
    meanwhile: Callable[[], object] = lambda: None,
) -> Found:
    """Import ``code`` as the module ``main`` in ``base``, in a process of its own, and see."""
    write(base, "main.py", code)
    time.sleep(0.03)  # two ticks: what was written just before it is read is another test's

    def traced() -> Found:
        os.chdir(cwd or base)
        sys.path[:] = [p for p in sys.path if not p.startswith(TESTS)]  # pytest's doing
        for folder in (*path, cwd or base, base):
            sys.path.insert(0, str(folder))
        trace = Trace(base, ignored)
        __import__("main")
        meanwhile()
        return trace.found(declared)

    ended = in_child(traced)
    assert ended.ok, ended
    found: Found = ended.value
    return found


def of_kind(found: Found, *kinds: str) -> dict[str, str | None]:
    """The facts of these kinds, but for the module that the test itself imports."""
    return {n: v for n, v in found.facts.items() if n.partition(" ")[0] in kinds and n != "file main.py"}


def names(found: Found, *kinds: str) -> set[str]:
    return {n.partition(" ")[2] for n in of_kind(found, *kinds)}


# ---- files ----


def _needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


HDF5, TOKENIZERS, OPENCV = _needs("h5py"), _needs("tokenizers"), _needs("cv2")
BOTH = {"vocab.json", "merges.txt"}

FILES: list[Any] = [
    pytest.param("import part", {"part.py"}, id="module"),
    pytest.param("import pack.part", {"pack/__init__.py", "pack/part.py"}, id="package"),
    pytest.param("def f():\n    import part\nf()", {"part.py"}, id="late"),
    pytest.param("import importlib; importlib.import_module('part')", {"part.py"}, id="import_module"),
    pytest.param("import part, sys; del sys.modules['part']", {"part.py"}, id="removed-again"),
    pytest.param(
        "from importlib.util import *; s = spec_from_file_location('q', 'odd/part.src.py');"
        "m = module_from_spec(s); s.loader.exec_module(m)",
        {"odd/part.src.py"},
        id="from-location",
    ),
    pytest.param("exec(open('part.py').read())", {"part.py"}, id="exec"),
    pytest.param("import runpy; runpy.run_path('part.py')", {"part.py"}, id="runpy"),
    pytest.param("open('data.bin', 'rb').read()", {"data.bin"}, id="open"),
    pytest.param("open(b'data.bin').read()", {"data.bin"}, id="bytes"),
    pytest.param("from pathlib import Path; Path('data.bin').read_bytes()", {"data.bin"}, id="pathlib"),
    pytest.param("import os; os.open('data.bin', os.O_RDONLY)", {"data.bin"}, id="os-open"),
    pytest.param("open('data.bin', 'r+').read()", {"data.bin"}, id="read-and-write"),
    pytest.param("open('data.bin', 'a+').read()", {"data.bin"}, id="append-and-read"),
    pytest.param("open('data.bin', 'a').close()", set(), id="append"),
    pytest.param("open('data.bin', 'w').close(); open('data.bin').read()", set(), id="overwritten"),
    pytest.param("import os; os.chdir('pack'); open('part.py')", {"pack/part.py"}, id="other-folder"),
    pytest.param("open('pack/../data.bin')", {"data.bin"}, id="dot-dot"),
    pytest.param("import numpy as np; np.load('data.npy')", {"data.npy"}, id="numpy"),
    pytest.param("import numpy as np; np.load('data.npy', mmap_mode='r')", {"data.npy"}, id="memmap"),
    pytest.param("import numpy as np; np.fromfile('data.npy')", {"data.npy"}, id="fromfile"),
    pytest.param(
        "from safetensors.torch import load_file; load_file('data.st')", {"data.st"}, id="safetensors-torch"
    ),
    pytest.param(
        "from safetensors import safe_open; safe_open('data.st', framework='np')",
        {"data.st"},
        id="safe_open",
    ),
    pytest.param(
        "from safetensors.numpy import load_file; load_file(filename='data.st')",
        {"data.st"},
        id="safetensors-numpy",
    ),
    pytest.param("import torch; torch.load('data.pt')", {"data.pt"}, id="torch-load"),
    pytest.param("import torch; torch.load('data.pt', mmap=True)", {"data.pt"}, id="torch-mmap"),
    pytest.param("import torch; torch.jit.load('data.ts')", {"data.ts"}, id="torchscript"),
    pytest.param("import torch; torch.from_file('data.npy', size=1)", {"data.npy"}, id="from_file"),
    pytest.param(
        "import torch; torch.UntypedStorage.from_file('data.npy', False, 4)", {"data.npy"}, id="storage"
    ),
    pytest.param(
        "import torch; torch.FloatStorage.from_file('data.npy', False, 1)", {"data.npy"}, id="typed-storage"
    ),
    pytest.param("import torch; torch._C.PyTorchFileReader('data.pt')", {"data.pt"}, id="archive"),
    pytest.param(
        "import torch; torch._C.import_ir_module(torch._C.CompilationUnit(), 'data.ts', None, {}, False)",
        {"data.ts"},
        id="torchscript-below",
    ),
    pytest.param("import onnx; onnx.load('m.onnx')", {"m.onnx", "m.data"}, id="onnx"),
    pytest.param("import onnx; onnx.load('m.onnx', load_external_data=False)", {"m.onnx"}, id="onnx-graph"),
    pytest.param("import onnx; onnx.checker.check_model('m.onnx')", {"m.onnx", "m.data"}, id="onnx-checker"),
    pytest.param(
        "import onnxruntime as o; o.InferenceSession('m.onnx', providers=['CPUExecutionProvider'])",
        {"m.onnx", "m.data"},
        id="onnxruntime",
    ),
    pytest.param("import h5py; h5py.File('data.h5')['x'][:]", {"data.h5"}, id="hdf5", marks=HDF5),
    pytest.param("import h5py; h5py.File('data.h5', mode='w').close()", set(), id="hdf5-anew", marks=HDF5),
    *(
        pytest.param(
            f"from tokenizers import *; from tokenizers.models import *\n{code}",
            files,
            id=name,
            marks=TOKENIZERS,
        )
        for name, code, files in (
            ("tokenizer", "Tokenizer.from_file('tok.json').encode('a').ids", {"tok.json"}),
            ("tokenizer-named", "Tokenizer.from_file(path='tok.json')", {"tok.json"}),
            ("tokenizer-made", "Tokenizer(BPE()).save('new.json'); Tokenizer.from_file('new.json')", set()),
            ("vocabulary", "BPE('vocab.json', 'merges.txt')", BOTH),
            ("vocabulary-named", "WordLevel(vocab='vocab.json', unk_token='a')", {"vocab.json"}),
            ("vocabulary-in-memory", "BPE({'a': 0}, []); WordPiece({'a': 0})", set()),
            (
                "vocabulary-from-file",
                "BPE.from_file('vocab.json', 'merges.txt')",
                {"vocab.json", "merges.txt"},
            ),
            ("vocabulary-read", "WordLevel.read_file('vocab.json')", {"vocab.json"}),
            ("corpus", "Tokenizer(BPE()).train(['merges.txt'])", {"merges.txt"}),
            ("corpus-named", "Tokenizer(BPE()).train(files=['merges.txt'])", {"merges.txt"}),
        )
    ),
    *(
        pytest.param(f"import cv2, numpy\n{code}", files, id=name, marks=OPENCV)
        for name, code, files in (
            ("image", "assert cv2.imread('image.png').shape == (4, 4, 3)", {"image.png"}),
            ("image-named", "cv2.imread(filename='image.png', flags=0)", {"image.png"}),
            ("image-by-name", "from cv2 import imread\nimread('image.png')", {"image.png"}),
            (
                "image-made",
                "cv2.imwrite('new.png', numpy.zeros((4, 4))); cv2.imread('new.png')",
                set(),
            ),
            ("images", "cv2.imreadmulti('image.png')", {"image.png"}),
            ("video", "cv2.VideoCapture('image.png')", {"image.png"}),
            ("storage-cv", "cv2.FileStorage('cv.yml', cv2.FILE_STORAGE_READ).getNode('x')", {"cv.yml"}),
            ("storage-cv-opened", "cv2.FileStorage().open('cv.yml', flags=0)", {"cv.yml"}),
            ("storage-cv-anew", "cv2.FileStorage('cv.yml', cv2.FILE_STORAGE_WRITE).release()", set()),
            ("storage-cv-in-memory", "cv2.FileStorage('%YAML:1.0\\nx: 1', 4)", set()),
            ("net", "try: cv2.dnn.readNetFromONNX('m.onnx')\nexcept cv2.error: pass", {"m.onnx", "m.data"}),
        )
    ),
    pytest.param("import sqlite3; sqlite3.connect('data.db')", {"data.db"}, id="sqlite"),
    pytest.param(
        "import sqlite3; sqlite3.connect('file:data.db?mode=ro', uri=True)", {"data.db"}, id="sqlite-uri"
    ),
    pytest.param(
        "import pkgutil; pkgutil.get_data('pack', 'part.py')",
        {"pack/__init__.py", "pack/part.py"},
        id="get_data",
    ),
    pytest.param(
        "import importlib.resources as r; r.files('pack').joinpath('part.py').read_text()",
        {"pack/__init__.py", "pack/part.py"},
        id="resources",
    ),
    pytest.param("import linecache; linecache.getline('part.py', 1)", {"part.py"}, id="linecache"),
    pytest.param(
        "import threading as t; w = t.Thread(target=open, args=('data.bin',)); w.start(); w.join()",
        {"data.bin"},
        id="thread",
    ),
    pytest.param(
        "import os\nif not (pid := os.fork()):\n  open('data.bin')\n  os._exit(0)\nos.waitpid(pid, 0)",
        {"data.bin"},
        id="fork",
    ),
    pytest.param(
        "import ctypes\ntry: ctypes.CDLL('./data.bin')\nexcept OSError: pass", {"data.bin"}, id="library"
    ),
    pytest.param(
        "import torch\ntry: torch.ops.load_library('data.bin')\nexcept OSError: pass",
        {"data.bin"},
        id="torch-library",
    ),
    pytest.param("import sys; sys.path.insert(0, 'lib.zip'); import zipped", {"lib.zip"}, id="zip"),
    pytest.param("import compiled", {"compiled.pyc"}, id="compiled-alone"),
    pytest.param(
        "import tempfile\nwith tempfile.TemporaryDirectory() as d:\n"
        "  open(d + '/x', 'w').write('1'); open(d + '/x').read()",
        set(),
        id="temporary",
    ),
    pytest.param("open('new', 'w').write('1'); open('new').read()", set(), id="made-by-the-run"),
    pytest.param(
        "import os; open('new~', 'w').write('1'); os.replace('new~', 'new'); open('new').read()",
        set(),
        id="made-and-renamed",
    ),
    pytest.param("import torch; torch.save({}, 'new.pt'); torch.load('new.pt')", set(), id="made-natively"),
    pytest.param(
        "import os; open('/proc/self/stat'); open('/etc/hosts'); open(os.__file__)", set(), id="system"
    ),
    pytest.param("import yaml, modelbuild.base.tolerance", set(), id="installed"),
    pytest.param("open('cache/x')", set(), id="ignored"),
]


def _png(width: int, height: int) -> bytes:
    """A black picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"".join(b"\0" + b"\0\0\0" * width for _ in range(height)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of every format, by name."""
    folder = tmp_path_factory.mktemp("things")
    np.save(folder / "data.npy", np.ones(8))
    safetensors.numpy.save_file({"a": np.ones(2)}, folder / "data.st")
    torch.save({"a": torch.ones(2)}, folder / "data.pt")
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), folder / "data.ts")
    with zipfile.ZipFile(folder / "lib.zip", "w") as archive:
        archive.writestr("zipped.py", "")
    weight = onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    x, y = (onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1, 2]) for n in "xy")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [x], [y], [weight])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    if importlib.util.find_spec("h5py"):
        import h5py

        with h5py.File(folder / "data.h5", "w") as file:
            file["x"] = np.ones(2)
    (folder / "vocab.json").write_text('{"a": 0, "b": 1, "ab": 2}')
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    if importlib.util.find_spec("tokenizers"):
        import tokenizers.models

        vocabulary = tokenizers.models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])
        tokenizers.Tokenizer(vocabulary).save(str(folder / "tok.json"))
    (folder / "image.png").write_bytes(_png(4, 4))
    (folder / "cv.yml").write_text("%YAML:1.0\n---\nx: 1\n")
    with sqlite3.connect(folder / "data.db") as database:
        database.execute("create table t (x)")
    source = write(folder, "compiled.py", "x = 1")
    import py_compile

    py_compile.compile(str(source), str(folder / "compiled.pyc"))
    source.unlink()
    return {p.name: p.read_bytes() for p in folder.iterdir()}


@pytest.mark.parametrize(("code", "expected"), FILES)
def test_a_file_that_is_read_is_a_fact(
    tmp_path: Path, things: dict[str, bytes], code: str, expected: set[str]
) -> None:
    for name, data in things.items():
        write(tmp_path, name, data)
    for name in ("part.py", "pack/__init__.py", "pack/part.py", "odd/part.src.py", "data.bin", "cache/x"):
        write(tmp_path, name, "x = 1\n")
    found = run(tmp_path, code, ignored=(tmp_path / "cache", tmp_path / "out"))
    assert names(found, "file") == expected
    assert found.unstable == ()
    for name in expected:
        assert found.facts[f"file {name}"] == facts.file_digest(tmp_path / name)
    assert names(found, "absent", "present", "listing") == set()


def test_what_a_database_keeps_beside_it_is_a_fact(tmp_path: Path) -> None:
    """In WAL mode what was written last is in another file until somebody copies it over."""
    writer = sqlite3.connect(tmp_path / "data.db")
    writer.execute("pragma journal_mode=wal")
    writer.execute("create table t (x)")
    writer.commit()
    code = "import sqlite3; c = sqlite3.connect('data.db'); c.execute('select * from t').fetchall()"
    found = run(tmp_path, code)
    assert found.unstable == ()
    value = found.facts["journal data.db"]
    assert current("journal data.db", value, tmp_path) == value
    rows = _rows(guards("journal data.db", value, tmp_path))
    before = current("file data.db", None, tmp_path)
    writer.execute("insert into t values (1)")
    writer.commit()
    assert current("file data.db", None, tmp_path) == before
    assert current("journal data.db", value, tmp_path) != value
    assert _rows(guards("journal data.db", value, tmp_path)) != rows
    writer.close()
    assert current("journal data.db", value, tmp_path) is None


def test_a_source_is_compiled_again_whatever_its_compiled_file_says(tmp_path: Path) -> None:
    """Python trusts a compiled file by its source's size and whole seconds."""
    write(tmp_path, "part.py", "VALUE = 1")
    run(tmp_path, "import part; open('said', 'w').write(str(part.VALUE))")
    import py_compile

    py_compile.compile(str(tmp_path / "part.py"))
    write(tmp_path, "part.py", "VALUE = 2")
    found = run(tmp_path, "import part; open('said', 'w').write(str(part.VALUE))")
    assert (tmp_path / "said").read_text() == "2"
    assert names(found, "file") == {"part.py"}


def test_names_mean_the_same_in_another_checkout_and_lead_back_from_anywhere(tmp_path: Path) -> None:
    real = tmp_path / "real"
    write(real, "lib/blocks.py")
    write(real, "configs/near.txt", "1")
    write(real, "data.txt", "2")
    outside = write(tmp_path / "elsewhere", "far.txt", "3")
    (real / "configs/link").symlink_to(outside.parent)
    (tmp_path / "shortcut").symlink_to(real)
    opened = ("data.txt", "configs/near.txt", str(outside), "configs/link/far.txt")
    code = f"import blocks\nfor name in {opened}: open(name)"
    base = tmp_path / "shortcut/configs"
    found = run(base, code, cwd=tmp_path / "shortcut", path=(real / "lib",))
    expected = {"near.txt", "../data.txt", "../lib/blocks.py", "link/far.txt", str(outside)}
    assert names(found, "file") == expected
    for name in expected:
        assert current(f"file {name}", None, base) == found.facts[f"file {name}"]


def test_a_project_among_the_systems_folders_is_the_users_all_the_same(tmp_path: Path) -> None:
    for cache in (tmp_path, tmp_path.parent):  # the output beside the recipe hides nothing of it
        write(tmp_path, "part.py")
        found = run(tmp_path, "import part", ignored=(cache,))
        assert names(found, "file") == {"part.py"}
    shm = Path("/dev/shm")
    if os.access(shm, os.W_OK):
        base = shm / f"modelbuild-test-{os.getpid()}"
        try:
            write(base, "part.py")
            assert names(run(base, "import part"), "file") == {"part.py"}
        finally:
            for path in base.iterdir():
                path.unlink()
            base.rmdir()


# ---- what is not there, folders ----

ABSENT: list[Any] = [
    pytest.param("try: open('no.json')\nexcept OSError: pass", {"absent no.json"}, id="open"),
    pytest.param("import os.path; os.path.exists('no.json')", {"absent no.json"}, id="exists"),
    pytest.param("from pathlib import Path; Path('no.json').is_file()", {"absent no.json"}, id="pathlib"),
    pytest.param("import os; os.access('no.json', os.R_OK)", {"absent no.json"}, id="access"),
    pytest.param("import glob; glob.glob('no/x.txt')", {"absent no/x.txt"}, id="glob-of-one"),
    pytest.param("import os\ntry: os.listdir('no')\nexcept OSError: pass", {"absent no"}, id="listing"),
    pytest.param(
        "import pkgutil\ntry: pkgutil.get_data('main', 'no.json')\nexcept OSError: pass",
        {"absent no.json"}, id="get_data",
    ),
    pytest.param("import os; os.path.exists('data')", {"present data"}, id="present"),
    pytest.param("import os; os.path.exists('data/a'); open('data/a')", {"file data/a"}, id="and-read"),
    pytest.param(
        "import os\nif not os.path.exists('w'): open('w', 'w').write('1')", {"made w"}, id="made-and-left"
    ),
    pytest.param(
        "import os\nif not os.path.exists('w'): open('w', 'w').close()\nos.remove('w')",
        set(),
        id="made-and-gone",
    ),
    pytest.param("import os; os.makedirs('data/new/deep', exist_ok=True)", set(), id="makedirs"),
    pytest.param("from pathlib import Path; Path(__file__).resolve()", set(), id="resolve"),
    pytest.param("import importlib.metadata as m; m.version('torch')", set(), id="metadata"),
    pytest.param("import torch, shutil; shutil.which('no'); torch.hub.get_dir()", set(), id="libraries"),
    pytest.param("import os; os.listdir('data')", {"listing data"}, id="listdir"),
    pytest.param("import os; list(os.scandir('data'))", {"listing data"}, id="scandir"),
    pytest.param("import glob; glob.glob('data/*')", {"listing data"}, id="glob"),
    pytest.param("from pathlib import Path; list(Path('data').iterdir())", {"listing data"}, id="iterdir"),
    pytest.param("import os; os.listdir()", {"listing ."}, id="here"),
    pytest.param("import os; os.listdir(os.path.dirname(os.__file__))", set(), id="installed-folder"),
    pytest.param("import data", set(), id="import"),
]  # fmt: skip


LOOKS: list[Any] = [
    # the code, which facts it makes, and an edit that moves one of them
    pytest.param("import os; os.path.getsize('a.pt')", {"size a.pt": "1"}, "grow", id="getsize"),
    pytest.param(
        "from pathlib import Path; Path('a.pt').stat()", {"size a.pt": "1", "executable a.pt": "no"}, "grow",
        id="stat",
    ),
    pytest.param(
        "import os; [e.stat().st_size for e in os.scandir('runs') if e.name == 'a.pt']",
        {"size runs/a.pt": "1", "executable runs/a.pt": "no"}, "grow-run", id="scandir-stat",
    ),
    pytest.param(
        "import os; max(['a.pt', 'b.pt'], key=os.path.getmtime)",
        {"order of-times": '["a.pt", "b.pt"]'}, "older", id="newest-of-names",
    ),
    pytest.param(
        "import os; max(os.scandir('runs'), key=lambda e: e.stat().st_mtime)",
        {"order of-times": '["runs/a.pt", "runs/b.pt"]'}, "older-run", id="newest-of-entries",
    ),
    pytest.param("import os; os.path.getmtime('a.pt')", {}, None, id="the-time-of-one"),
    pytest.param("import os; os.path.islink('a.pt')", {"link a.pt": None}, "link", id="islink"),
    pytest.param(
        "from pathlib import Path; Path('a.pt').is_symlink()", {"link a.pt": None}, "link", id="is_symlink"
    ),
    pytest.param(
        "import os; [e.is_symlink() for e in os.scandir('.') if e.name == 'a.pt']", {"link a.pt": None},
        "link", id="scandir-is_symlink",
    ),
    pytest.param("import os; os.access('a.pt', os.X_OK)", {"executable a.pt": "no"}, "chmod", id="access"),
    pytest.param(
        "from concurrent.futures import ThreadPoolExecutor as T; import os\n"
        "with T() as pool: list(pool.map(os.path.exists, ['no.pt']))",
        {"absent no.pt": None}, "create", id="exists-in-a-pool",
    ),
    pytest.param(
        "import threading, os; t = threading.Thread(target=os.path.exists, args=('no.pt',))\n"
        "t.start(); t.join()",
        {"absent no.pt": None}, "create", id="exists-in-a-thread",
    ),
    pytest.param(
        "import lib; lib.find('no.pt')", {"absent no.pt": None, "absent ../no.pt": None}, "create-above",
        id="upwards-by-a-library",
    ),
    pytest.param("import lib", {}, None, id="by-a-library-for-itself"),
    pytest.param("import gettext; gettext.find('net', 'locale', ['xx'])",
                 {"absent locale/xx/LC_MESSAGES/net.mo": None}, "translate", id="catalogue"),
    pytest.param("import shutil; shutil.which('frobnicate')", {"which frobnicate": None}, "install",
                 id="program"),
]  # fmt: skip


def _installs(base: Path) -> None:
    program = write(base, "bin/frobnicate")
    program.chmod(0o755)


EDITS: dict[str, Callable[[Path], object]] = {
    "grow": lambda base: write(base, "a.pt", "11"),
    "grow-run": lambda base: write(base, "runs/a.pt", "11"),
    "older": lambda base: os.utime(base / "b.pt", (1, 1)),
    "older-run": lambda base: os.utime(base / "runs/b.pt", (1, 1)),
    "link": lambda base: [(base / "a.pt").rename(base / "c.pt"), (base / "a.pt").symlink_to("c.pt")],
    "chmod": lambda base: (base / "a.pt").chmod(0o755),
    "create": lambda base: write(base, "no.pt"),
    "create-above": lambda base: write(base.parent, "no.pt"),
    "translate": lambda base: write(base, "locale/xx/LC_MESSAGES/net.mo"),
    "install": _installs,
}

FIND = """\
import os
os.path.exists('no.pt')

def find(name):
    return [os.path.isfile(os.path.join(folder, name)) for folder in ('.', '..')]
"""


@pytest.mark.parametrize(("code", "expected", "edit"), LOOKS)
def test_what_was_looked_at_and_not_opened_is_a_fact_of_what_was_seen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    expected: dict[str, str | None],
    edit: str | None,
) -> None:
    base, site = tmp_path / "base", tmp_path / "site-packages"
    write(site, "lib.py", FIND)
    for number, name in enumerate(("a.pt", "b.pt", "runs/a.pt", "runs/b.pt"), 1):
        os.utime(write(base, name, "1"), (LONG_AGO + number,) * 2)
    write(base, "bin/other")
    monkeypatch.setenv("PATH", f"{base / 'bin'}:/usr/bin")
    for name in ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    read = run(base, code, path=(site,)).facts
    kinds = ("size", "executable", "order", "link", "absent", "which")
    seen = {n: v for n, v in read.items() if n.startswith(kinds)}
    if edit in ("older", "older-run"):
        seen = {n: v for n, v in seen.items() if n.startswith("order")}
    assert seen == expected
    monkeypatch.chdir(base)
    before = {n: _rows(guards(n, v, base)) for n, v in expected.items()}
    assert {n for n, v in expected.items() if current(n, v, base) != v} == set()
    if edit is not None:
        EDITS[edit](base)
        moved = {n for n, v in expected.items() if current(n, v, base) != v}
        assert len(moved) == 1
        for name in moved:
            assert _rows(guards(name, expected[name], base)) != before[name]


def _rows(paths: list[str]) -> list[str]:
    return [stat_rows.row(path) for path in paths]


@pytest.mark.parametrize(("code", "expected"), ABSENT)
def test_what_was_looked_for_is_a_fact(tmp_path: Path, code: str, expected: set[str]) -> None:
    write(tmp_path, "data/a")
    (tmp_path / "cache").mkdir()
    found = run(tmp_path, code, ignored=(tmp_path / "cache", tmp_path / "out"))
    seen = of_kind(found, "file", "absent", "present", "listing", "made")
    assert set(seen) == expected
    for name, value in seen.items():
        assert current(name, value, tmp_path) == value
    if "listing ." in expected:
        assert str(seen["listing ."]).endswith("/cache/out")


def test_a_folder_that_the_run_leaves_is_looked_at_by_the_next_run(tmp_path: Path) -> None:
    found = run(tmp_path, "import os\nif not os.path.isdir('w'): os.mkdir('w')")
    assert of_kind(found, "absent", "made") == {"absent w": None}


def test_what_the_run_leaves_in_a_folder_does_not_count_among_its_names(tmp_path: Path) -> None:
    """A cache that the model makes for itself must not call for another build."""
    write(tmp_path, "data/a")
    code = """\
    import os
    open('data/first', 'w').close()
    os.listdir('data')
    open('data/second', 'w').close()
    """
    value = run(tmp_path, code).facts["listing data"]
    assert value is not None
    assert value.endswith("/first/second")
    assert current("listing data", value, tmp_path) == value
    write(tmp_path, "data/b")
    assert current("listing data", value, tmp_path) != value


def test_a_link_that_is_followed_by_name_is_a_fact(tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        write(tmp_path, f"{version}/k.txt", version)
    (tmp_path / "current").symlink_to("v1")
    found = run(tmp_path, "from pathlib import Path; (Path('current').resolve() / 'k.txt').read_text()")
    assert of_kind(found, "file", "link") == {
        "link current": "v1",
        "file v1/k.txt": facts.file_digest(tmp_path / "v1/k.txt"),
    }
    (tmp_path / "current").unlink()
    (tmp_path / "current").symlink_to("v2")
    assert current("link current", "v1", tmp_path) == "v2"


RELATIVE: list[Any] = [
    pytest.param("open('data.txt')", True, id="open"),
    pytest.param("import os; os.path.exists('no')", True, id="exists"),
    pytest.param("import os; os.path.abspath('data.txt')", True, id="abspath"),
    pytest.param("from pathlib import Path; Path.cwd()", True, id="cwd"),
    pytest.param("import sys; sys.path.insert(0, 'lib')", True, id="search-path"),
    pytest.param(
        "from pathlib import Path; (Path(__file__).resolve().parent / 'data.txt').read_text()",
        False,
        id="beside-the-source",
    ),
    pytest.param("import torch; torch.tanh(torch.ones(1))", False, id="library"),
]


@pytest.mark.parametrize(("code", "counts"), RELATIVE)
def test_the_commands_folder_is_a_fact_if_it_matters(tmp_path: Path, code: str, counts: bool) -> None:
    base, cwd = tmp_path / "base", tmp_path / "cwd"
    write(cwd, "data.txt")
    write(base, "data.txt")
    assert of_kind(run(base, code, cwd=cwd), "cwd") == ({"cwd": "../cwd"} if counts else {})


# ---- environment ----

VARIABLES: list[Any] = [
    pytest.param("import os; os.environ['SIZE']", {"SIZE": "8"}, id="item"),
    pytest.param("import os; os.environ.get('NOPE')", {"NOPE": None}, id="get"),
    pytest.param("import os; os.getenv('NOPE', '3')", {"NOPE": None}, id="getenv"),
    pytest.param("import os; 'SIZE' in os.environ", {"SIZE": "8"}, id="in"),
    pytest.param("import os; os.environb[b'SIZE']", {"SIZE": "8"}, id="bytes"),
    pytest.param("import os; os.environ.setdefault('NOPE', '3')", {"NOPE": None}, id="setdefault"),
    pytest.param("import os; os.path.expandvars('$SIZE/x')", {"SIZE": "8"}, id="expandvars"),
    pytest.param("from helper import size; size()", {"SIZE": "8"}, id="first-party-helper"),
    pytest.param("import lib; lib.read('SIZE')", {"SIZE": "8"}, id="library-on-behalf"),
    pytest.param("import lib_reads", {}, id="library-for-itself"),
    pytest.param("import tempfile; tempfile.mkdtemp()", {}, id="standard"),
    pytest.param("import os; os.path.expanduser('~/data')", {"HOME": "/home/me"}, id="home"),
    pytest.param("from pathlib import Path; Path.home()", {"HOME": "/home/me"}, id="pathlib-home"),
    pytest.param("from pathlib import Path; Path('~/x').expanduser()", {"HOME": "/home/me"}, id="expanduser"),
    pytest.param(
        "import gettext; gettext.find('net', 'locale')",
        {"LANGUAGE": None, "LC_ALL": None, "LC_MESSAGES": None, "LANG": None},
        id="language",
    ),
    pytest.param("import os; os.environ['SIZE'] = '9'; os.environ['SIZE']", {}, id="set-by-the-run"),
    pytest.param("import os; os.environ.get('PYTHONHASHSEED')", {}, id="set-by-modelbuild"),
    pytest.param("import os; dict(os.environ); os.environ.copy(); {**os.environ}", {}, id="copied"),
    pytest.param("import os; list(os.environ.items()); list(os.environ.values())", {}, id="all-of-them"),
    pytest.param("import os; dict(os.environ); os.environ['SIZE']", {"SIZE": "8"}, id="copied-and-read"),
    pytest.param(
        "import os\nfor name in os.environ:\n  if name.startswith('SIZ'): os.environ[name]",
        {"SIZE": "8", "SIZ": None},
        id="searched",
    ),
    pytest.param("import os; os.environ.copy().get('SIZE')", {"SIZE": "8"}, id="in-a-copy"),
    pytest.param("import os; dict(os.environ).get('NOPE', '3')", {"NOPE": None}, id="not-in-a-copy"),
    pytest.param("import os; {**os.environ}['SIZE']; 'Word'; 'TWO WORDS'", {"SIZE": "8"}, id="words"),
    pytest.param("import os; os.environ['SIZE'] = '9'; dict(os.environ)['SIZE']", {}, id="set-and-copied"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "expected"), VARIABLES)
def test_a_variable_that_the_users_code_reads_is_a_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, expected: dict[str, str | None]
) -> None:
    monkeypatch.setenv("SIZE", "8")
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("NOPE", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    base, site = tmp_path / "base", tmp_path / "site-packages"
    write(base, "helper.py", "import os\ndef size(): return os.environ['SIZE']")
    write(site, "lib.py", "import os\ndef read(name): return os.environ[name]")
    write(site, "lib_reads.py", "import lib; lib.read('SIZE')")
    monkeypatch.syspath_prepend(str(site))
    found = run(base, code)
    assert {n.partition(" ")[2]: v for n, v in of_kind(found, "env").items()} == expected


@pytest.mark.parametrize("name", ENVIRONMENT)
def test_no_variable_that_modelbuild_sets_is_a_fact(tmp_path: Path, name: str) -> None:
    found = run(tmp_path, f"import os; os.environ.get({name!r}); os.environ.get('OTHER')")
    assert list(of_kind(found, "env")) == ["env OTHER"]


@pytest.mark.parametrize("strict", [False, True])
def test_a_variable_that_forward_reads_is_seen_while_it_is_exported(tmp_path: Path, strict: bool) -> None:
    found = run(
        tmp_path,
        f"""\
        import os, torch
        class Net(torch.nn.Module):
            def forward(self, x):
                if "NOPE" in os.environ:
                    return x
                return x * int(os.getenv("FACTOR", "2"))
        out = torch.export.export(Net(), (torch.ones(2),), strict={strict}).module()(torch.ones(2))
        assert out.tolist() == [2, 2]
        """,
    )
    assert {"NOPE", "FACTOR"} <= names(found, "env")


# ---- modules and packages ----


def test_how_names_resolve_is_a_fact_of_each_folder_on_the_way(tmp_path: Path) -> None:
    base, cwd, site = tmp_path / "base", tmp_path / "cwd", tmp_path / "site-packages"
    write(cwd, "blocks/__init__.py")
    write(cwd, "blocks/deep.py")
    write(cwd, "space/part.py")
    write(site, "library.py", "import inner")
    write(site, "inner.py")
    code = """\
    import blocks.deep, space.part, library, numpy, importlib
    try:
        import not_there
    except ImportError:
        pass
    """
    found = run(base, code, cwd=cwd, path=(site,))
    assert of_kind(found, "modules") == {
        "modules .": "blocks importlib inner library main:main.py not_there numpy space",
        "modules ../cwd": "blocks:blocks/__init__.py importlib inner library not_there numpy space:space/",
        "modules ../cwd/blocks": "deep:deep.py",
        "modules ../cwd/space": "part:part.py",
    }
    for name, value in of_kind(found, "modules").items():
        assert current(name, value, base) == value


def test_the_distributions_behind_the_imports_are_facts(tmp_path: Path) -> None:
    base, site = tmp_path / "base", tmp_path / "site-packages"
    for name, module in (("Py-Wobble", "wobble"), ("inner", "inner"), ("unused", "unused")):
        info = site / f"{name.replace('-', '_')}-1.0.dist-info"
        write(info, "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        write(info, "RECORD", f"{module}.py,sha256=abc,3\n")
    write(site, "wobble.py", "import inner, safetensors")
    write(site, "inner.py", "import torch")
    write(site, "unused.py")
    code = "import wobble, json\ntry: import wibble\nexcept ImportError: pass\n"
    found = run(base, code + "def late():\n    import unused, numpy\n", path=(site,))
    versions = of_kind(found, "package")
    assert set(versions) == {
        f"package {n}" for n in ("inner", "numpy", "safetensors", "torch", "wibble", "wobble")
    }
    assert versions["package wobble"] == "py-wobble 1.0"
    assert versions["package wibble"] is None


def test_a_module_in_the_commands_folder_or_on_pythonpath_counts_if_it_is_found_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, cwd, more = tmp_path / "base", tmp_path / "cwd", tmp_path / "more"
    write(cwd, "blocks.py")
    write(base, "near.py")
    more.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(more))
    found = run(base, "import near, blocks, json, numpy", cwd=cwd, path=(more,))
    value = found.facts["search"]
    assert value == "blocks:../cwd/blocks.py json numpy sitecustomize usercustomize"
    monkeypatch.chdir(cwd)
    assert current("search", value, base) == value
    write(more, "numpy/__init__.py")
    assert current("search", value, base) == value.replace("numpy", "numpy:../more/numpy/__init__.py")
    monkeypatch.chdir(base)
    assert current("search", value, base) != value


def test_an_early_import_from_a_checkout_is_known_by_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that the server has imported before anybody watched."""
    write(tmp_path, "lib/early/__init__.py")
    write(tmp_path, "lib/early/inner.py")
    write(tmp_path, "lib/other.py")
    write(tmp_path, "lib/sitecustomize.py")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    for name in ("early", "early.inner", "other", "sitecustomize"):
        monkeypatch.setitem(sys.modules, name, sys)  # so that it is taken out again
        del sys.modules[name]
        importlib.import_module(name)
    found = run(tmp_path, "import early")
    assert names(found, "file") == {"lib/early/__init__.py", "lib/early/inner.py", "lib/sitecustomize.py"}


def test_the_version_of_a_checkout_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An egg-info folder beside the recipe: only the workers have that folder on their search path."""
    write(tmp_path, "foo/__init__.py")
    write(tmp_path, "foo.egg-info/PKG-INFO", "Metadata-Version: 2.1\nName: foo\nVersion: 0.3\n")
    found = run(tmp_path, "import foo, importlib.metadata; importlib.metadata.version('foo')")
    assert names(found, "package") == set()  # its files are facts
    value = found.facts["distribution foo"]
    assert value == "0.3"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert current("distribution foo", value, tmp_path) == value


def _distribution(site: Path, name: str, version: str, module: str, points: str = "") -> None:
    info = site / f"{name}-{version}.dist-info"
    write(info, "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    write(info, "RECORD", f"{module}.py,sha256=abc,3\n")
    write(info, "entry_points.txt", points)
    write(site, f"{module}.py", "def hook():\n    return 1\n")


CATALOGUE = """
    import importlib.metadata as metadata
    {}
"""


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("metadata.version('wobble')", {"distribution wobble": "1.0"}),
        ("metadata.requires('wobble'); metadata.metadata('wobble')", {"distribution wobble": "1.0"}),
        ("try: metadata.version('wibble')\n    except metadata.PackageNotFoundError: pass",
         {"distribution wibble": None}),
        ("[p.load() for p in metadata.entry_points(group='my.hooks')]",
         {"entry-points my.hooks": "sha256:", "package plugin": "plug-in 2.0"}),
        ("metadata.packages_distributions()", {"installed distributions": "sha256:"}),
        ("import asks", {}),  # what a library asks while it is imported, it asks for itself
        ("import asks; asks.later()", {"distribution wobble": "1.0"}),
        *(
            pytest.param(f"import pkg_resources as p; {code}", read, marks=_needs("pkg_resources"))
            for code, read in (
                ("p.get_distribution('wobble').version", {"distribution wobble": "1.0"}),
                ("p.require('wobble >= 1')", {"distribution wobble": "1.0"}),
                ("p.working_set.find(p.Requirement('wobble'))", {"distribution wobble": "1.0"}),
                ("\n    try: p.require('wibble')\n    except p.DistributionNotFound: pass",
                 {"distribution wibble": None}),
                ("[e.load() for e in p.iter_entry_points('my.hooks')]",
                 {"entry-points my.hooks": "sha256:", "package plugin": "plug-in 2.0"}),
                ("{d.key for d in p.working_set}", {"installed distributions": "sha256:"}),
                ("p.parse_version('1.0')", {}),
            )
        ),
    ],
    ids=["version", "requires", "missing", "plug-ins", "all", "library-on-import", "library-for-the-user",
         "old-version", "old-requires", "old-find", "old-missing", "old-plug-ins", "old-all", "old-nothing"],
)  # fmt: skip
def test_what_the_model_asks_of_what_is_installed_is_a_fact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, found: dict[str, str | None]
) -> None:
    base, site = tmp_path / "base", tmp_path / "site-packages"
    _distribution(site, "wobble", "1.0", "wobble")
    _distribution(site, "plug_in", "2.0", "plugin", "[my.hooks]\na = plugin:hook\n")
    _distribution(site, "asks", "1.0", "asks")
    asking = "import importlib.metadata as m\nm.version('wobble')\ndef later():\n    m.version('wobble')\n"
    write(site, "asks.py", asking)
    kinds = ("distribution", "entry-points", "installed", "package plugin")
    read = run(base, CATALOGUE.format(code), path=(site,)).facts
    mine = {n: v for n, v in read.items() if n.startswith(kinds)}
    assert {n: v[:7] if v and v.startswith("sha256:") else v for n, v in mine.items()} == found
    monkeypatch.setattr(sys, "path", ["", str(site), *sys.path])
    monkeypatch.chdir(base)
    for name, value in mine.items():
        assert current(name, value, base) == value
    _distribution(site, "third", "3.0", "third", "[my.hooks]\nb = third:hook\n")
    moved = {n for n, v in mine.items() if current(n, v, base) != v}
    assert moved == {n for n in found if n.startswith(("entry-points", "installed"))}


# ---- changes while it runs ----


def _replaced(path: Path, text: str) -> Callable[[], object]:
    return lambda: path.write_text(text)


def test_a_file_that_changes_while_it_is_read_is_told(tmp_path: Path) -> None:
    data = write(tmp_path, "data.txt", "1")
    part = write(tmp_path, "part.py", "x = 1")
    code = "import part; open('data.txt').read()"
    assert run(tmp_path, code).unstable == ()
    assert run(tmp_path, code, meanwhile=_replaced(data, "2")).unstable == ("data.txt",)
    assert run(tmp_path, code, meanwhile=_replaced(part, "x = 2")).unstable == ("part.py",)
    assert run(tmp_path, code, meanwhile=data.unlink).unstable == ("data.txt",)


def test_a_declared_file_that_changes_while_it_may_be_read_is_told(tmp_path: Path) -> None:
    table = write(tmp_path, "table.bin", "1")
    time.sleep(0.03)
    assert run(tmp_path, "", declared=(table,)).unstable == ()
    changed = run(tmp_path, "", declared=(table,), meanwhile=_replaced(table, "2"))
    assert changed.unstable == ("table.bin",)
    assert names(changed, "file") == {"table.bin"}


@pytest.mark.parametrize(
    ("size", "edit", "unstable"),
    [
        pytest.param(10, "same", False, id="small-and-as-it-was"),
        pytest.param(10, "other", True, id="small-and-edited-at-once"),
        pytest.param(2 << 20, "none", True, id="too-big-to-be-sure"),
    ],
)
def test_a_file_as_young_as_its_clock_is_known_by_its_bytes(
    tmp_path: Path, size: int, edit: str, unstable: bool
) -> None:
    """Its times would be the same after another edit within the tick."""
    code = """\
    import os
    from pathlib import Path
    path = Path('data.bin')
    os.utime(path)   # as young as can be: its change time is now
    path.open('rb').close()
    """
    data = write(tmp_path, "data.bin", b"a" * size)

    def edited() -> None:
        if edit != "none":
            data.write_bytes((b"a" if edit == "same" else b"b") * size)

    found = run(tmp_path, code, meanwhile=edited)
    assert found.unstable == (("data.bin",) if unstable else ())


def test_a_file_dated_into_the_future_is_as_good_as_another(tmp_path: Path) -> None:
    table = write(tmp_path, "table.bin", b"1" * (2 << 20))
    os.utime(table, (time.time() + 3600, time.time() + 3600))
    assert run(tmp_path, "open('table.bin')", declared=(table,)).unstable == ()
    assert run(tmp_path, "", declared=(table,)).unstable == ()


def test_a_scratch_file_of_a_child_of_the_run_is_no_fact(tmp_path: Path) -> None:
    code = """\
    import os, subprocess
    subprocess.run("echo 1 > scratch", shell=True)
    open("scratch").read()
    os.remove("scratch")
    """
    found = run(tmp_path, code)
    assert names(found, "file", "absent") == set()
    assert found.unstable == ()


def test_a_declared_file_that_cannot_be_read_is_no_crash(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    found = run(tmp_path, "", declared=(tmp_path / "folder", tmp_path / "nothing"))
    assert names(found, "file") == set()


def test_a_name_that_no_file_can_hold_is_told_and_is_no_fact(tmp_path: Path) -> None:
    name = os.fsdecode(b"data-\xff.txt")
    write(tmp_path, name)
    found = run(tmp_path, f"open({name!r})")
    assert names(found, "file") == set()
    assert found.unstable == ("data-\\udcff.txt",)


def test_each_source_has_its_outline(tmp_path: Path) -> None:
    write(tmp_path, "part.py", "def helper(): pass\nclass Net: pass\n")
    outlines = run(tmp_path, "import part\nX = 1\n").outlines
    assert set(outlines) == {"main.py", "part.py"}
    assert set(outlines["part.py"]) == {"helper", "Net"}
    assert set(outlines["main.py"]) == {"", "X"}


def test_forks_find_what_was_read_before_and_after_them(tmp_path: Path) -> None:
    write(tmp_path, "a.txt")
    write(tmp_path, "b.txt")
    code = """\
    import os
    open('a.txt')
    """

    def traced() -> list[set[str]]:
        os.chdir(tmp_path)
        sys.path.insert(0, str(tmp_path))
        trace = Trace(tmp_path)
        __import__("main")

        def beside() -> set[str]:
            (tmp_path / "b.txt").read_text()
            return names(trace.found(), "file")

        return [in_child(beside).value, names(trace.found(), "file")]

    write(tmp_path, "main.py", code)
    time.sleep(0.03)
    assert in_child(traced).value == [{"a.txt", "b.txt"}, {"a.txt", "b.txt"}]
