"""What is told of a file, and that nothing but a model gets that far."""

from __future__ import annotations

import hashlib
import json
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from modelbuild.base.errors import Diagnostic, RecipeError
from modelbuild.graph import files
from modelbuild.graph.precision import HalfOptions, convert
from modelbuild.inspection import inspect_file, render
from modelbuild.machine import toolchain
from modelbuild.machine.isolate import in_child
from modelbuild.steps.engine import BuildRtxEngine
from modelbuild.wording.phrases import size

missing = toolchain.missing_backend("tensorrt-rtx")
needs_rtx = pytest.mark.skipif(missing is not None, reason=str(missing))
without_gpu = pytest.mark.skipif(toolchain.gpu() is not None, reason="this machine has a GPU")

# Two precisions, a graph inside a node, an operator of nobody, an axis without a name.
GRAPH = """
<ir_version: 10, opset_import: ["" : 18, "my" : 1], producer_name: "hand", producer_version: "7">
g (float[batch, 64] x, bool flag) => (float16[batch, 64] y, float[?, 64] z) {
    h = MatMul(x, weight)
    z = If (flag) <
        then_branch = a () => (float[batch, 64] t) { t = Relu(h) },
        else_branch = b () => (float[batch, 64] e) { e = my.Twist(h) }
    >
    c = Cast <to = 10> (h)
    y = Add(c, bias)
}
"""


@pytest.fixture
def model() -> onnx.ModelProto:
    proto = onnx.parser.parse_model(GRAPH)
    weight = np.random.default_rng(0).standard_normal((64, 64), np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(64, np.float16), "bias"))
    return proto


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# ---- ONNX ------------------------------------------------------------------------------------


def test_an_onnx_file_is_told_from_its_structure(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))

    assert inspect_file(path) == {
        "file": str(path),
        "bytes": path.stat().st_size,
        "sha256": digest(path),
        "kind": "onnx",
        "ir_version": 10,
        "opset": {"ai.onnx": 18, "my": 1},
        "producer": "hand 7",
        "inputs": [
            {"name": "x", "dtype": "float32", "shape": ["batch", 64]},
            {"name": "flag", "dtype": "bool", "shape": []},
        ],
        "outputs": [
            {"name": "y", "dtype": "float16", "shape": ["batch", 64]},
            {"name": "z", "dtype": "float32", "shape": ["?", 64]},
        ],
        "nodes": 6,
        "operators": {"Add": 1, "Cast": 1, "If": 1, "MatMul": 1, "Relu": 1, "my.Twist": 1},
        "node_precisions": {"float32": 4, "float16": 2},
        "half": {
            "nodes": {"half": 1, "all": 4, "share": 0.25},
            "weight_bytes": {"half": 128, "all": 16512, "share": 128 / 16512},
        },
        "kept_nodes": [
            {"name": "h", "op_type": "MatMul"},
            {"name": "t", "op_type": "Relu"},
            {"name": "e", "op_type": "my.Twist"},
        ],
        "casts": {"float32 -> float16": 1},
        "weights": {
            "float32": {"tensors": 1, "bytes": 64 * 64 * 4},
            "float16": {"tensors": 1, "bytes": 64 * 2},
        },
        "external_data": [],
        "provenance": None,
    }


def test_weights_beside_the_file_are_counted_and_named(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.onnx.data")
    data = tmp_path / "m.onnx.data"

    info = inspect_file(path)

    assert info["weights"]["float32"] == {"tensors": 1, "bytes": 64 * 64 * 4}
    assert info["external_data"] == [
        {"file": "m.onnx.data", "bytes": data.stat().st_size, "sha256": digest(data)}
    ]


def test_weights_are_not_loaded(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[n] x) => (float[n] y) { y = Add(x, w) }'
    )
    proto.graph.initializer.append(
        onnx.TensorProto(name="w", data_type=1, dims=[2**34], data_location="EXTERNAL")
    )
    for key, value in {"location": "w.data", "offset": "0", "length": str(2**36)}.items():
        proto.graph.initializer[0].external_data.add(key=key, value=value)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    with open(tmp_path / "w.data", "wb") as file:
        file.truncate(2**36)  # 64 GiB of hole

    def run() -> str:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("modelbuild.inspection.hash_file", _Size.of)
            return render(inspect_file(path))

    start = time.perf_counter()
    said = in_child(run).value

    assert "weights     float32: 64.0 GiB in 1 tensor" in said
    assert time.perf_counter() - start < 5


class _Size:
    """Stands for a hashed file: 64 GiB of hole take 40 s to hash."""

    def __init__(self, size: int) -> None:
        self.bytes, self.sha256 = size, "unhashed"

    @classmethod
    def of(cls, path: Path) -> _Size:
        return cls(path.stat().st_size)


def test_a_type_newer_than_this_onnx_keeps_its_number(tmp_path: Path) -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 18]> g (float[2] x) => (float[2] y) { y = Relu(x) }'
    )
    newer = onnx.TensorProto(name="w", data_type=99, dims=[2], raw_data=b"ab")
    proto.graph.initializer.append(newer)
    path = tmp_path / "m.onnx"
    path.write_bytes(proto.SerializeToString())

    assert inspect_file(path)["weights"] == {"type 99": {"tensors": 1, "bytes": 2}}


# ---- how much of it is half ------------------------------------------------------------------


def inspected(folder: Path, graph: str, *weights: onnx.TensorProto, **half: Any) -> Any:
    """What is told of a graph; of one converted to half precision if ``half`` says how."""
    opsets = '"" : 18, "my" : 1' if "my." in graph else '"" : 18'
    proto = onnx.parser.parse_model(f"<ir_version: 10, opset_import: [{opsets}]> {graph}")
    proto.graph.initializer.extend(weights)
    model = files.Model(proto)
    if half:
        model, _ = convert(model, HalfOptions(op_block_list=(), **half))
    files.write(model, folder / "m.onnx")
    return inspect_file(folder / "m.onnx")


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def names(nodes: list[dict[str, str]]) -> list[str]:
    return [node["name"] for node in nodes]


ATTENTION = """
g (float[n, 64] x) => (float[n, 64] y) {
    q = MatMul(x, w)
    [soft] s = Softmax(q)
    y = MatMul(s, v)
}
"""


def test_of_a_mixed_model_the_half_part_and_the_kept_nodes_are_told(tmp_path: Path) -> None:
    kept = {"node_block_list": ("soft", "y")}

    info = inspected(tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64), **kept)

    assert info["half"] == {
        "nodes": {"half": 1, "all": 3, "share": 1 / 3},
        "weight_bytes": {"half": 64 * 64 * 2, "all": 64 * 64 * 6, "share": 1 / 3},
    }
    assert info["kept_nodes"] == [
        {"name": "soft", "op_type": "Softmax"},
        {"name": "y", "op_type": "MatMul"},
    ]
    assert info["casts"] == {"float16 -> float32": 1, "float32 -> float16": 1}


def test_a_model_that_is_half_throughout_keeps_nothing(tmp_path: Path) -> None:
    info = inspected(tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64), keep_io_types=False)

    assert info["half"]["nodes"] == {"half": 3, "all": 3, "share": 1}
    assert info["half"]["weight_bytes"]["share"] == 1
    assert (info["kept_nodes"], info["casts"]) == ([], {})
    said = render(info)
    assert (
        "\nhalf        100.0% of computing nodes (3 of 3), 100.0% of weight bytes\ncasts       none\n" in said
    )
    assert "kept" not in said


def test_bfloat16_is_half_too(tmp_path: Path) -> None:
    info = inspected(
        tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64),
        dtype=onnx.TensorProto.BFLOAT16, node_block_list=("soft",),
    )  # fmt: skip

    assert info["half"]["nodes"] == {"half": 2, "all": 3, "share": 2 / 3}
    assert names(info["kept_nodes"]) == ["soft"]
    assert info["casts"] == {"float32 -> bfloat16": 2, "bfloat16 -> float32": 2}


def test_of_a_model_without_half_nodes_no_share_is_told(tmp_path: Path) -> None:
    graph = "g (int64[n] x) => (float[n] y) { f = Cast <to = 1> (x) y = Exp(f) }"

    info = inspected(tmp_path, graph)

    assert (info["half"], info["kept_nodes"], info["casts"]) == (None, [], {"int64 -> float32": 1})
    assert [line.split()[0] for line in render(info).splitlines()][-5:-2] == ["weights", "nodes", "operators"]


def test_arithmetic_on_shapes_and_constants_is_no_computing_of_floats(tmp_path: Path) -> None:
    graph = """
    g (float[a, b] x) => (float[a, b] y) {
        s = Shape(x)
        f = Cast <to = 1> (s)
        two = Constant <value_float = 2.0> ()
        r = Mul(f, two)
        i = Cast <to = 7> (r)
        big = Expand(one, i)
        z = Expand(zero, s)
        e = Exp(x)
        y = Add(e, z)
    }
    """

    info = inspected(tmp_path, graph, weight("one", 1), weight("zero", 1), keep_io_types=False)

    assert info["half"]["nodes"] == {"half": 2, "all": 2, "share": 1}
    assert info["kept_nodes"] == []


def test_nodes_and_weights_inside_if_loop_and_scan_count(tmp_path: Path) -> None:
    graph = """
    g (float[n, 4] x, bool flag, int64 m) => (float[n, 4] z) {
        a = If (flag) <
            then_branch = a () => (float[n, 4] t) { r = Exp(x) t = Tanh(r) },
            else_branch = b () => (float[n, 4] e) <float[4] c = {1, 2, 3, 4}> { e = Sub(x, c) }
        >
        z = Loop (m, flag, a) <body = body (int64 i, bool go, float[n, 4] s) => (bool on, float[n, 4] o) {
            on = Identity(go)
            k = Sqrt(s)
            o = Add(k, x)
        }>
    }
    """

    info = inspected(tmp_path, graph, keep_io_types=False, node_block_list=("t", "k"))

    assert info["half"]["nodes"] == {"half": 3, "all": 5, "share": 3 / 5}
    assert info["kept_nodes"] == [{"name": "t", "op_type": "Tanh"}, {"name": "k", "op_type": "Sqrt"}]
    assert info["casts"] == {"float16 -> float32": 2, "float32 -> float16": 2}
    assert info["weights"] == {"float16": {"tensors": 1, "bytes": 8}}


def test_a_weight_in_a_body_is_not_taken_for_one_of_the_same_name_outside(tmp_path: Path) -> None:
    graph = """
    g (float[2] x, bool flag) => (float[2] z, float[32, 32] y) {
        z = If (flag) <
            then_branch = a () => (float[2] t) <float[2] w = {1, 2}> { t = Add(x, w) },
            else_branch = b () => (float[2] e) { e = Exp(x) }
        >
        y = Neg(w)
    }
    """

    info = inspected(tmp_path, graph, weight("w", 32, 32))

    assert info["weights"] == {"float32": {"tensors": 2, "bytes": 8 + 4 * 32 * 32}}


def test_a_node_without_float_outputs_computes_in_what_it_looks_at(tmp_path: Path) -> None:
    graph = """
    g (float[n, 4] x, int64[n, 4] k) => (int64[n] best, bool[n, 4] more, int64[n, 4] sum) {
        e = Exp(x)
        best = ArgMax <axis = 1, keepdims = 0> (e)
        [cmp] more = Greater(e, x)
        sum = Add(k, k)
    }
    """

    info = inspected(tmp_path, graph, keep_io_types=False, node_block_list=("cmp",))

    assert info["half"]["nodes"] == {"half": 2, "all": 3, "share": 2 / 3}
    assert info["kept_nodes"] == [{"name": "cmp", "op_type": "Greater"}]


def test_a_person_sees_the_first_kept_nodes_and_how_many_there_are(tmp_path: Path) -> None:
    chain = " ".join(f"[n{i}] t{i + 1} = Exp(t{i})" for i in range(9))
    graph = f"g (float[n] t0) => (float16[n] y) {{ {chain} c = Cast <to = 10> (t9) y = Exp(c) }}"

    info = inspected(tmp_path, graph)

    assert names(info["kept_nodes"]) == [f"n{i}" for i in range(9)]
    assert """
half        10.0% of computing nodes (1 of 10)
kept        9 nodes in float32:
            n0 (Exp)
            n1 (Exp)
            n2 (Exp)
            n3 (Exp)
            n4 (Exp)
            and 4 more
casts       float32 -> float16 1
""" in render(info)


def test_all_and_nothing_are_said_of_nothing_less(tmp_path: Path) -> None:
    info = inspected(tmp_path, ATTENTION, weight("w", 64, 64), weight("v", 64, 64), keep_io_types=False)
    info["half"] = {
        "nodes": {"half": 9999, "all": 10000, "share": 0.9999},
        "weight_bytes": {"half": 1, "all": 10000, "share": 0.0001},
    }

    assert "99.9% of computing nodes (9999 of 10000), 0.1% of weight bytes" in render(info)


# ---- what is no model ------------------------------------------------------------------------

REBUILD = "build or download it again; .onnx, .engine and .plan files can be inspected"


def put(content: bytes, name: str = "m.onnx") -> Any:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


def vtrt(size: int) -> bytes:
    """The first bytes of an engine of TensorRT-RTX 1.7.1 that says it has this size."""
    head = b"vtrt" + bytes(4) + (2).to_bytes(8, "little") + size.to_bytes(8, "little")
    return head + bytes([1, 7, 1, 116]) + b"vtrt" + bytes([12, 0, 0, 0])


@pytest.mark.parametrize(
    ("make", "message", "hint"),
    [
        pytest.param(
            lambda folder: folder / "nope.onnx",
            "there is no file {path}", "`modelbuild build` writes its files to build/",
            id="missing",
        ),
        pytest.param(
            lambda folder: folder,
            "{path} is a folder", "name a file in it: an .onnx or an .engine",
            id="a-folder",
        ),
        pytest.param(put(b""), "{path} is empty", "build or download it again", id="empty"),
        pytest.param(
            put(b"hello world" * 10),
            "{path} cannot be inspected: not an ONNX model (wire type 4 at byte 2)", REBUILD,
            id="text",
        ),
        pytest.param(
            put(b"version https://git-lfs.github.com/spec/v1\n"),
            "{path} is a Git LFS pointer, not the file", "run `git lfs pull`",
            id="a-git-lfs-pointer",
        ),
        pytest.param(
            put(onnx.ModelProto(ir_version=10).SerializeToString()),
            "{path} cannot be inspected: not an ONNX model", REBUILD,
            id="a-message-without-a-graph",
        ),
        pytest.param(
            put(b"hello world", "m.engine"),
            "{path} cannot be inspected: not an engine", REBUILD,
            id="text-called-an-engine",
        ),
        pytest.param(
            put(b"vtrt12345", "m.plan"),
            "{path} cannot be inspected: the engine is truncated", REBUILD,
            id="an-engine-cut-in-its-header",
        ),
        pytest.param(
            put(vtrt(1000), "m.engine"),
            "{path} cannot be inspected: 36 bytes are there of 1000", REBUILD,
            id="an-engine-cut-later",
        ),
    ],
)  # fmt: skip
def test_what_is_no_model_is_an_error_that_says_so(
    make: Any, message: str, hint: str, tmp_path: Path
) -> None:
    path = make(tmp_path)

    with pytest.raises(RecipeError) as refused:
        inspect_file(path)

    expected = Diagnostic("recipe-invalid", message.format(path=path), hint)
    assert refused.value.diagnostics == (expected,)


def test_weights_that_are_not_there_are_an_error(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.onnx.data")
    (tmp_path / "m.onnx.data").unlink()

    with pytest.raises(RecipeError) as refused:
        inspect_file(path)

    message = f"{path} cannot be inspected: m.onnx: its weights in m.onnx.data cannot be read"
    assert refused.value.diagnostics == (Diagnostic("recipe-invalid", message, REBUILD),)


def test_no_damage_gets_past_as_anything_but_a_recipe_error(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    whole = model.SerializeToString()
    structure = len(whole) - 64 * 64 * 4  # damage in a weight's values is no damage
    chance = random.Random(0)
    damaged = [whole[:n] for n in range(1, structure, 7)]
    for _ in range(400):
        bytes_ = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            bytes_[chance.randrange(structure)] = chance.randrange(256)
        damaged.append(bytes(bytes_))

    def run() -> int:
        refused = 0
        for content in damaged:
            path.write_bytes(content)
            try:
                render(inspect_file(path))
            except RecipeError:
                refused += 1
        return refused

    ended = in_child(run)

    assert ended.ok, ended
    assert ended.value > len(damaged) / 2


# ---- engines ---------------------------------------------------------------------------------


NO_GPU = "inputs, outputs and profiles need the engine loaded: there is no GPU here"


def build_engine(folder: Path, **knobs: Any) -> Path:
    (folder / "given").mkdir()
    graph = "g (float[batch, 4] x) => (float[batch, 4] y) { y = Relu(x) }"
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["" : 18]> {graph}')
    onnx.save(proto, str(folder / "given" / "m.onnx"))
    profiles = ((("batch", (1, 1, 1)),), (("batch", (1, 3, 8)),))
    step = BuildRtxEngine("m.engine", (("x", ("batch", 4)),), profiles, **knobs)
    ended = in_child(lambda: step.run({"model": folder / "given"}, folder))
    assert ended.ok, ended
    return folder / "m.engine"


@needs_rtx
@pytest.mark.parametrize(
    ("asked", "told"),
    [
        pytest.param((), ["sm80", "sm86", "sm89", "sm120", "sm121"], id="none-is-ampere-and-later"),
        pytest.param(("sm89", "sm86"), ["sm86", "sm89"], id="two"),
        *(pytest.param((t,), [t], id=t) for t in ("sm75", "sm80", "sm120", "sm121")),
    ],
)
def test_the_header_of_an_engine_tells_version_and_targets(
    asked: tuple[str, ...], told: list[str], tmp_path: Path
) -> None:
    info = inspect_file(build_engine(tmp_path, targets=asked))

    version = toolchain.versions(["tensorrt-rtx"])["tensorrt-rtx"]
    assert (info["kind"], info["backend"], info["version"]) == ("engine", "tensorrt-rtx", version)
    assert info["targets"] == told


@needs_rtx
@without_gpu
def test_without_a_gpu_an_engine_says_what_cannot_be_told(tmp_path: Path) -> None:
    path = build_engine(tmp_path)

    info = inspect_file(path)

    assert set(info) == {
        "file", "bytes", "sha256", "kind", "backend", "version", "targets", "note", "provenance",
    }  # fmt: skip
    assert info["note"] == NO_GPU
    assert (info["bytes"], info["sha256"]) == (path.stat().st_size, digest(path))


def test_an_engine_of_a_backend_that_is_not_here_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = put(b"ftrt" + bytes(100), "m.fp16.tensorrt.engine")(tmp_path)
    monkeypatch.setattr(toolchain, "missing_backend", lambda backend: f"{backend} is not installed")

    info = inspect_file(path)

    assert (info["backend"], "version" in info) == ("tensorrt", False)
    assert info["note"] == ("inputs, outputs and profiles need the engine loaded: tensorrt is not installed")


@needs_rtx
@pytest.mark.gpu
@pytest.mark.skipif(toolchain.gpu() is None, reason="this machine has no GPU")
def test_with_a_gpu_an_engine_tells_its_inputs_and_profiles(tmp_path: Path) -> None:
    path = build_engine(tmp_path)

    info = in_child(lambda: inspect_file(path)).value

    assert info["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["?", 4]}]
    assert info["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["?", 4]}]
    assert info["profiles"] == [
        {"x": {"min": [1, 4], "opt": [1, 4], "max": [1, 4]}},
        {"x": {"min": [1, 4], "opt": [3, 4], "max": [8, 4]}},
    ]


# ---- provenance ------------------------------------------------------------------------------

PARITY = {
    "passed": True, "evidence": "fp16-simulated", "samples": 20,
    "outputs": {"y": {"headroom": 8.0}, "z": {"headroom": 2.5}},
}  # fmt: skip


def publish(path: Path, sha256: str | None, **entry: Any) -> None:
    artifact = {"name": path.name, "sha256": sha256, "key": "sha256:ab", "parity": PARITY, **entry}
    manifest = {
        "schema": 1, "recipe": "configs/m.yaml", "name": "m", "artifacts": [artifact],
        "toolchain": {"torch": "2.13.0", "tensorrt": None},
    }  # fmt: skip
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("sha256", "status"),
    [
        pytest.param("{}", "as published", id="same"),
        pytest.param("sha256:{}", "as published", id="same-with-prefix"),
        pytest.param("00", "changed since it was published", id="another"),
        pytest.param(None, "changed since it was published", id="never-published"),
    ],
)
def test_the_manifest_beside_a_file_tells_where_it_comes_from(
    sha256: str | None, status: str, model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    publish(path, sha256 and sha256.format(digest(path)))

    assert inspect_file(path)["provenance"] == {
        "manifest": str(tmp_path / "manifest.json"),
        "status": status,
        "recipe": "configs/m.yaml",
        "key": "sha256:ab",
        "parity": PARITY,
        "toolchain": {"torch": "2.13.0", "tensorrt": None},
    }


def test_a_file_that_stayed_when_its_successor_failed_is_still_as_published(
    model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    good = {"name": "m.onnx", "sha256": digest(path), "key": "sha256:cd", "parity": None}
    publish(path, None, published=good)

    told = inspect_file(path)["provenance"]

    assert (told["status"], told["key"]) == ("as published", "sha256:cd")
    assert told["toolchain"] is None  # the manifest knows the failed build's


@pytest.mark.parametrize(
    ("text", "status"),
    [
        pytest.param('{"artifacts": []}', "not in manifest.json", id="another-file's"),
        pytest.param(
            "{", "manifest.json is unreadable: JSONDecodeError: Expecting property name enclosed "
            "in double quotes: line 1 column 2 (char 1)", id="cut",
        ),
        *(
            pytest.param(
                text, "manifest.json is unreadable: ValueError: it is not what a build writes", id=text[:40]
            )
            for text in (
                "{}", "[]", "null", '{"artifacts": [3]}', '{"artifacts": [{"name": "../m.onnx"}]}',
                '{"artifacts": [{"name": "m.onnx", "sha256": 3}]}',
                '{"artifacts": [{"name": "m.onnx", "parity": {"outputs": {"y": {"headroom": "1"}}}}]}',
                '{"artifacts": [{"name": "m.onnx", "published": {"parity": []}}]}',
                '{"artifacts": [], "toolchain": {"torch": {}}}',
            )
        ),
        pytest.param("[" * 9999, "manifest.json is unreadable: ValueError: it is no JSON", id="deep"),
    ],
)  # fmt: skip
def test_a_manifest_that_says_nothing_is_no_reason_to_fail(
    text: str, status: str, model: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    (tmp_path / "manifest.json").write_text(text)

    info = inspect_file(path)

    assert info["provenance"]["manifest"] == str(tmp_path / "manifest.json")
    assert info["provenance"]["status"].startswith(status)
    assert f"provenance  {status}" in render(info)


# ---- for a person ----------------------------------------------------------------------------


def test_a_person_reads_an_onnx_file_as_a_table(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="m.onnx.data")
    publish(path, digest(path))
    data = tmp_path / "m.onnx.data"

    expected = f"""\
file        {path}
kind        ONNX, opset 18, my 1, IR version 10, by hand 7
size        {size(path.stat().st_size)}
inputs      x     float32  [batch, 64]
            flag  bool     []
outputs     y  float16  [batch, 64]
            z  float32  [?, 64]
weights     float32: 16.0 KiB in 1 tensor
            float16: 128 B in 1 tensor
nodes       6: float32 4, float16 2
half        25.0% of computing nodes (1 of 4), 0.8% of weight bytes
kept        3 nodes in float32:
            h (MatMul)
            t (Relu)
            e (my.Twist)
casts       float32 -> float16 1
operators   Add 1, Cast 1, If 1, MatMul 1, Relu 1, my.Twist 1
sha256      {digest(path)}
weights in  m.onnx.data, {size(data.stat().st_size)}
            {digest(data)}
provenance  as published, from configs/m.yaml
key         sha256:ab
parity      passed (fp16-simulated), headroom 2.5
toolchain   torch 2.13.0"""
    assert render(inspect_file(path)) == expected


@needs_rtx
@without_gpu
def test_a_person_reads_an_engine_as_a_table(tmp_path: Path) -> None:
    path = build_engine(tmp_path, targets=("sm86",))
    publish(path, digest(path), parity=None)
    version = toolchain.versions(["tensorrt-rtx"])["tensorrt-rtx"]

    expected = f"""\
file        {path}
kind        engine of tensorrt-rtx {version}
size        {size(path.stat().st_size)}
targets     sm86
note        {NO_GPU}
sha256      {digest(path)}
provenance  as published, from configs/m.yaml
key         sha256:ab
parity      not measured
toolchain   torch 2.13.0"""
    assert render(inspect_file(path)) == expected


def test_a_loaded_engine_shows_its_profiles() -> None:
    info = {
        "file": "m.engine", "bytes": 2_500_000_000, "sha256": "ab", "kind": "engine",
        "backend": "tensorrt", "layers": 3, "provenance": None,
        "inputs": [{"name": "x", "dtype": "float16", "shape": ["?", 4]}],
        "outputs": [{"name": "y", "dtype": "float16", "shape": None}],
        "profiles": [{"x": {"min": [1, 4], "opt": [3, 4], "max": [8, 4]}}],
    }  # fmt: skip

    expected = """\
file        m.engine
kind        engine of tensorrt
size        2.3 GiB
inputs      x  float16  [?, 4]
outputs     y  float16  any shape
profiles    0: x [1, 4] [3, 4] [8, 4]
layers      3
sha256      ab
provenance  unknown: no manifest.json beside it"""
    assert render(info) == expected


def test_a_name_cannot_steer_the_terminal(model: onnx.ModelProto, tmp_path: Path) -> None:
    model.graph.input[1].name = "flag\x1b[2J\n"
    model.graph.node[1].input[0] = model.graph.input[1].name
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))

    said = render(inspect_file(path))

    assert "flag\\x1b[2J\\n" in said
    assert "\x1b" not in said
