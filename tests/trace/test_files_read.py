"""Which file that is read is a fact, on every road on which one is read."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sqlite3
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch

from modelbuild.trace import facts
from modelbuild.trace.kinds import current, guards
from tests.trace.running import names, needs, run, stat_rows_of, write

# ---- files ----


HDF5, TOKENIZERS, OPENCV = needs("h5py"), needs("tokenizers"), needs("cv2")
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
    rows = stat_rows_of(guards("journal data.db", value, tmp_path))
    before = current("file data.db", None, tmp_path)
    writer.execute("insert into t values (1)")
    writer.commit()
    assert current("file data.db", None, tmp_path) == before
    assert current("journal data.db", value, tmp_path) != value
    assert stat_rows_of(guards("journal data.db", value, tmp_path)) != rows
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
