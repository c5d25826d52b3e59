"""The lock file: written for people, compared for machines."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modelbuild import lockfile
from modelbuild.errors import RecipeError
from modelbuild.lockfile import Engine, Lock, Onnx, Worst, compose, differences, mismatch, read, render, row
from modelbuild.results import ArtifactResult
from tests.conftest import Project

FP32 = Onnx("a" * 64, 819, 18, {"float32": 3}, "rtol 0.001, atol 0.0001", Worst("y", 1.24e-7, 1e-7, 3750.0))
FP16 = Onnx(
    "b" * 64, 438_000_123, 18, {"float16": 53, "float32": 2, "other": 7}, "relative_l2 0.01",
    Worst("y", 4.05e-4, 0.0, "exact"), "c" * 64, 2,
)  # fmt: skip
ROWS = {
    "net.fp32.onnx": FP32,
    "net.fp16.onnx": FP16,
    "net.fp16.tensorrt.engine": Engine("sha256:" + "d" * 64),
}
TOOLS = {"torch": "2.12.1", "onnx-ir": "1.1.0", "python": "3.11.7", "machine": "x86_64", "tensorrt": None}
FACTS = {
    "file net.py": "sha256:" + "1" * 64,
    "file ../models/blocks.py": "sha256:" + "2" * 64,
    "file /home/ann/data/w.bin": "sha256:" + "3" * 64,
    "absent net.json": None,
    "absent /home/ann/.config/net": None,
    "modules .": "net:net.py",
    "modules ..": "models:models/",
    "env WIDTH": "8",
    "env DEPTH": None,
    "env DATA": "/home/ann/data",
    "package onnx_ir": "1.1.0",
    "package transformers": "5.0",
}
OUTLINES = {"net.py": {"Net": "12ab", "": "34cd"}}
TEXT = f"""\
# Written by `modelbuild build --lock`; `modelbuild build --locked` holds to it. Not edited by hand.
lock: 1
recipe: net
onnx:
  net.fp32.onnx:
    sha256: {"a" * 64}
    bytes: 819
    opset: 18
    nodes: {{float32: 3}}
    tolerance: "rtol 0.001, atol 0.0001"
    worst: {{output: y, relative_l2: 1.24e-07, max_abs: 1e-07, headroom: 3750}}
  net.fp16.onnx:
    sha256: {"b" * 64}
    bytes: 438000123
    opset: 18
    nodes: {{float16: 53, float32: 2, other: 7}}
    tolerance: relative_l2 0.01
    worst: {{output: y, relative_l2: 0.000405, max_abs: 0, headroom: exact}}
    data: {"c" * 64}
    kept_fp32: 2
engines:
  net.fp16.tensorrt.engine: sha256:{"d" * 64}
toolchain:
  machine: x86_64
  onnx-ir: 1.1.0
  python: "3.11"
  torch: 2.12.1
  transformers: "5.0"
environment:
  DATA: "(a path)"
  DEPTH: null
  WIDTH: "8"
files:
  .../w.bin: sha256:{"3" * 64}
  ../models/blocks.py: sha256:{"2" * 64}
"""


def locked(
    rows: Mapping[str, Any] = ROWS,
    tools: Mapping[str, str | None] = TOOLS,
    facts: Mapping[str, str | None] = FACTS,
    outlines: Mapping[str, Mapping[str, str]] = OUTLINES,
    name: str = "net",
) -> Lock:
    return compose(name, rows, tools, facts, outlines)


def with_fp32(**changes: Any) -> dict[str, Any]:
    return {**ROWS, "net.fp32.onnx": dataclasses.replace(FP32, **changes)}


def test_the_text_is_for_review_and_comes_back_as_it_was() -> None:
    lock = locked()
    text = render(lock)
    assert text.startswith(TEXT)
    assert [line.split(":")[:2] for line in text[len(TEXT) :].splitlines()] == [
        ["  net.py", " outline"],
        ["facts", " sha256"],
    ]
    assert read(text, "net.lock.yaml") == lock
    assert render(read(text, "net.lock.yaml")) == text


def test_the_order_in_which_things_were_found_does_not_show() -> None:
    shuffled = locked(tools=dict(reversed(TOOLS.items())), facts=dict(reversed(FACTS.items())))
    assert render(shuffled) == render(locked())


def test_another_machine_writes_the_same_file() -> None:
    there = {name.replace("/home/ann", "/Users/bob"): value for name, value in FACTS.items()}
    there["env DATA"] = "/Users/bob/data"
    there["modules .."] = "models:models/ tools:tools/"
    assert render(locked(facts=there, tools={**TOOLS, "python": "3.11.9"})) == render(locked())


@pytest.mark.parametrize(
    "odd",
    [
        "null",
        "1e5",
        "0x10",
        "on",
        "a: b",
        "- a",
        "*a",
        "#",
        "a #b",
        "{",
        'say "x"',
        "back\\slash",
        " lead",
        "",
        "line\nbreak",
        "tab\t",
        "\x7f\x85\u2028\ufeff",
        "\udcff",
        "naïve ☃ 語",
        "<<",
        "..",
        "---",
        "=",
        "?",
        "x" * 3000,
        '"' * 3000,
    ],
)
def test_any_name_and_any_setting_can_be_read_back(odd: str) -> None:
    lock = locked(
        facts={f"file {odd}": "sha256:1", f"env {odd}": odd, f"file d/{odd}.py": "sha256:2"},
        rows={"net.fp32.onnx": dataclasses.replace(FP32, tolerance=lockfile._visible(odd))},
        outlines={},
    )
    assert read(render(lock).encode(), "x") == lock


def test_outside_files_of_one_name_are_told_apart_by_their_content() -> None:
    here = {"file /a/config.json": "sha256:2", "file /b/config.json": "sha256:1"}
    there = {"file /z/config.json": "sha256:1", "file /y/config.json": "sha256:2"}
    assert locked(facts=here).files == {".../config.json": "sha256:1", ".../config.json (1)": "sha256:2"}
    assert render(locked(facts=here)) == render(locked(facts=there))


def test_many_files_are_one_line_per_folder() -> None:
    facts = {f"file samples/{i}.npz": f"sha256:{i}" for i in range(20_000)}
    lock = locked(facts={**facts, "file top.json": "sha256:0"})
    assert list(lock.files) == ["*", "samples/*"]
    assert read(render(lock), "x") == lock
    changed = locked(facts={**facts, "file top.json": "sha256:0", "file samples/7.npz": "sha256:x"})
    assert differences(lock, changed) == ["samples/* changed"]


NET = "net.fp32.onnx"
A_TO_E = "sha256 aaaaaaaaaaaa… -> eeeeeeeeeeee…"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param(locked(), [], id="nothing"),
        pytest.param(
            locked(
                {n: dataclasses.replace(r, opset=19) if isinstance(r, Onnx) else r for n, r in ROWS.items()}
            ),
            ["opset 18 -> 19"],
            id="opset-of-all",
        ),
        pytest.param(locked(with_fp32(opset=19)), [f"{NET}: opset 18 -> 19"], id="opset-of-one"),
        pytest.param(
            locked(with_fp32(tolerance="atol 1")),
            [f"{NET}: tolerance rtol 0.001, atol 0.0001 -> atol 1"],
            id="tolerance",
        ),
        pytest.param(
            locked(with_fp32(sha256="e" * 64, bytes=7, nodes={"float32": 4, "other": 1})),
            [f"{NET}: other bytes ({A_TO_E}); nodes: float32 3 -> 4, other 0 -> 1"],
            id="bytes",
        ),
        pytest.param(
            locked({**ROWS, "net.fp16.onnx": dataclasses.replace(FP16, data=None)}),
            ["net.fp16.onnx.data: other bytes (sha256 cccccccccccc… -> none)"],
            id="weights-beside-it",
        ),
        pytest.param(
            locked({**ROWS, "net.fp16.batch1.onnx": FP16}),
            ["net.fp16.batch1.onnx is not in the lock file"],
            id="new-artifact",
        ),
        pytest.param(
            locked({NET: FP32}),
            ["net.fp16.onnx is in the lock file alone", "net.fp16.tensorrt.engine is in the lock file alone"],
            id="gone",
        ),
        pytest.param(
            locked({**ROWS, "net.fp16.tensorrt.engine": Engine("sha256:" + "e" * 64)}),
            ["net.fp16.tensorrt.engine: another key (dddddddddddd… -> eeeeeeeeeeee…)"],
            id="engine",
        ),
        pytest.param(
            locked({**ROWS, "net.fp16.tensorrt.engine": Engine(None)}), [], id="engine-not-built-here"
        ),
        pytest.param(locked(tools={**TOOLS, "torch": "2.13.0"}), ["torch 2.12.1 -> 2.13.0"], id="upgrade"),
        pytest.param(locked(tools={**TOOLS, "tensorrt": "10.1"}), [], id="installed-here-alone"),
        pytest.param(
            locked(facts={**FACTS, "package transformers": "5.1"}), ["transformers 5.0 -> 5.1"], id="package"
        ),
        pytest.param(
            locked(facts={**FACTS, "file ../models/blocks.py": "sha256:4"}),
            ["../models/blocks.py changed"],
            id="file",
        ),
        pytest.param(locked(facts={**FACTS, "file net.py": "sha256:4"}), [], id="comment-in-a-file"),
        pytest.param(
            locked(outlines={"net.py": {"Net": "new", "": "34cd"}}), ["net.py changed"], id="definition"
        ),
        pytest.param(locked(outlines={}), [], id="a-file-that-one-side-could-not-outline"),
        pytest.param(
            locked(tools={**TOOLS, "python": "3.13.1"}, outlines={"net.py": {"Net": "other"}}),
            ["python 3.11 -> 3.13"],
            id="each-python-outlines-in-its-own-way",
        ),
        pytest.param(
            locked(facts={**FACTS, "file new.json": "sha256:4"}),
            ["new.json is read, and not in the lock file"],
            id="new-file",
        ),
        pytest.param(
            locked(facts={n: v for n, v in FACTS.items() if "w.bin" not in n}),
            [".../w.bin is in the lock file, and not read"],
            id="file-no-more-read",
        ),
        pytest.param(
            locked(facts={n.replace("../models", "/repo/models"): v for n, v in FACTS.items()}),
            [],
            id="built-from-another-folder",
        ),
        pytest.param(locked(facts={**FACTS, "env WIDTH": "16"}), ["WIDTH 8 -> 16"], id="environment"),
        pytest.param(locked(facts={**FACTS, "env WIDTH": None}), ["WIDTH 8 -> unset"], id="unset"),
        pytest.param(locked(facts={**FACTS, "env WIDTH": "sha256:12"}), ["WIDTH changed"], id="secret"),
        pytest.param(
            locked(facts={**FACTS, "env X": "1"}),
            ["X is read from the environment, and not in the lock file"],
            id="new-variable",
        ),
        pytest.param(
            locked(facts={**FACTS, "absent other.json": None}),
            ["the model's code finds other files, folders or modules than it did"],
            id="looks-for-more",
        ),
        pytest.param(locked(name="other"), ["recipe net -> other"], id="name"),
        pytest.param(locked(with_fp32(worst=Worst("y", 2e-7, 2e-7, 1000.0))), [], id="measured-elsewhere"),
    ],
)
def test_what_differs_is_said_in_words(now: Lock, said: list[str]) -> None:
    assert differences(locked(), now) == said


def test_the_most_telling_difference_is_said_first() -> None:
    rows = {NET: dataclasses.replace(FP32, opset=19, sha256="e" * 64), "net.bf16.onnx": FP16}
    facts = {**FACTS, "file ../models/blocks.py": "sha256:4"}
    old = locked({NET: FP32})
    assert [line.split()[0] for line in differences(old, locked(rows, {**TOOLS, "torch": "3"}, facts))] == [
        "opset", "../models/blocks.py", "torch", f"{NET}:", "net.bf16.onnx",
    ]  # fmt: skip


def test_a_build_of_some_artifacts_is_held_to_their_part() -> None:
    assert differences(locked().only([NET]), locked({NET: FP32})) == []


@pytest.mark.parametrize(
    ("name", "files", "said"),
    [
        pytest.param(NET, {NET: "a" * 64}, None, id="same"),
        pytest.param(NET, {NET: "e" * 64}, f"{NET}: other bytes ({A_TO_E})", id="other"),
        pytest.param(
            NET,
            {NET: "a" * 64, NET + ".data": "c" * 64},
            f"{NET}.data: other bytes (sha256 none -> cccccccccccc…)",
            id="weights-came-out",
        ),
        pytest.param(
            "net.bf16.onnx", {"net.bf16.onnx": "a" * 64}, "net.bf16.onnx is not in the lock file", id="new"
        ),
    ],
)
def test_an_artifact_is_held_to_its_digests(name: str, files: dict[str, str], said: str | None) -> None:
    assert mismatch(locked(), name, files) == said


GOOD = render(locked())


@pytest.mark.parametrize(
    ("text", "where", "message"),
    [
        pytest.param("", "1:1", "the lock file is empty", id="empty"),
        pytest.param("lock: 1\n" + "#" * (1 << 20), "1:1", "a lock file is at most 1 MiB", id="huge"),
        pytest.param("[1, 2]", "1:1", "a lock file begins with `lock: 1`", id="list"),
        pytest.param(
            GOOD.replace("lock: 1", "", 1), "3:1", "a lock file begins with `lock: 1`", id="no-version"
        ),
        pytest.param(
            GOOD.replace("lock: 1", "lock: 2", 1),
            "2:7",
            "the lock file has version 2, and this modelbuild reads 1: it is too old",
            id="newer",
        ),
        pytest.param(
            GOOD.replace("lock: 1", "lock: true", 1), "2:7", "`lock` must be 1, not `true`", id="odd-version"
        ),
        pytest.param(
            GOOD.replace("bytes: 819", "bytes: many"),
            "7:12",
            "`onnx.net.fp32.onnx.bytes`: input should be a valid integer, "
            "unable to parse string as an integer",
            id="wrong-type",
        ),
        pytest.param(
            GOOD.replace("    opset: 18\n", "", 1), "5:3", "missing `onnx.net.fp32.onnx.opset`", id="missing"
        ),
        pytest.param(
            GOOD.replace("    opset: 18\n", "    opset: 18\n    colour: red\n", 1),
            "9:5",
            "unknown key `onnx.net.fp32.onnx.colour`",
            id="unknown-key",
        ),
        pytest.param(
            GOOD.replace("headroom: 3750", "headroom: [1]"),
            "11:73",
            "`onnx.net.fp32.onnx.worst.headroom`: input should be a valid number",
            id="one-of-two-types",
        ),
        pytest.param(
            GOOD.replace("engines:", "<<<<<<< HEAD\nengines:"),
            "21:1",
            "an unresolved merge conflict",
            id="conflict",
        ),
        pytest.param(
            "<<<<<<< HEAD\n" + GOOD, "1:1", "an unresolved merge conflict", id="conflict-at-the-top"
        ),
        pytest.param(GOOD + "facts: again\n", "38:1", "duplicate key `facts`", id="twice"),
        pytest.param(
            "lock: 1\nrecipe: !!python/object/apply:os.system [x]\n",
            "2:9",
            "YAML tags are not supported: `!!python/object/apply:os.system`",
            id="code",
        ),
        pytest.param(
            "lock: {",
            "2:1",
            "not valid YAML: while parsing a flow node, did not find expected node content",
            id="syntax",
        ),
        pytest.param(b"lock: 1\nrecipe: \xff\n", "2:9", "not UTF-8 text", id="bytes"),
    ],
)
def test_a_damaged_file_is_told_with_its_place(text: str | bytes, where: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        read(text, "configs/net.lock.yaml")
    (found,) = caught.value.diagnostics
    assert found.where == f"configs/net.lock.yaml:{where}"
    assert (found.code, found.message) == ("lock-invalid", message)
    assert found.hint is not None
    assert "`modelbuild build --lock`" in found.hint


def test_the_file_lies_beside_its_recipe_and_is_written_only_if_it_moved(tmp_path: Path) -> None:
    path = lockfile.place(tmp_path / "resnet50.v2.yaml")
    assert path == tmp_path / "resnet50.v2.lock.yaml"
    assert lockfile.save(locked(), path)
    before = path.stat()
    assert not lockfile.save(locked(), path)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    assert lockfile.load(path) == locked()
    assert lockfile.save(locked({NET: FP32}), path)
    assert lockfile.load(path) == locked({NET: FP32})
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_damaged_file_is_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "net.lock.yaml"
    path.write_bytes(b"\xff")
    assert lockfile.save(locked(), path)
    assert lockfile.load(path) == locked()


def test_a_file_that_is_not_there_or_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        lockfile.load(tmp_path / "net.lock.yaml")
    (told,) = caught.value.diagnostics
    assert (told.code, told.message) == ("lock-missing", "there is no lock file")
    assert (told.hint, caught.value.exit_code) == ("`modelbuild build --lock` writes it", 2)
    with pytest.raises(RecipeError) as caught:
        lockfile.load(tmp_path)
    assert caught.value.diagnostics[0].message == "cannot read the lock file: Is a directory"


LINES = (
    "precision: {fp32: {}, fp16: {method: convert, node_block_list: [node_linear]}}",
    "static: [{batch: 1}]",
)


def of_a_build(project: Project) -> Lock:
    """The lock of what a project has published."""
    rows = {}
    answer = project.build()
    assert answer.code == 0, answer.stdout
    for name, found in answer.artifacts.items():
        result = ArtifactResult.from_json(found)
        digests = {
            p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in project.output(name).parent.iterdir()
        }
        rows[name] = row(result, project.output(name), digests)
    return compose("net", rows, {}, {"file net.py": "sha256:1"}, {})


def test_a_build_in_another_folder_after_a_comment_has_the_same_lock(
    project: Project, tmp_path: Path
) -> None:
    project.recipe(*LINES)
    first = of_a_build(project)
    again = Project(tmp_path / "elsewhere")
    again.write("net.py", "# a comment\n" + (project.folder / "net.py").read_text())
    again.write("net.yaml", (project.folder / "net.yaml").read_text())
    assert render(of_a_build(again)) == render(first)
    assert list(first.onnx) == [
        "net.fp32.onnx",
        "net.fp16.onnx",
        "net.fp32.batch1.onnx",
        "net.fp16.batch1.onnx",
    ]
    fp32, fp16 = first.onnx["net.fp32.onnx"], first.onnx["net.fp16.onnx"]
    assert (fp32.opset, fp32.tolerance, fp32.data) == (18, "rtol 0.001, atol 0.0001", None)
    assert fp32.nodes == {"float32": 3}
    assert sum(fp16.nodes.values()) > fp16.nodes["float16"] >= 2
    assert fp32.worst is not None
    assert fp32.worst.output == "y"
    assert len(f"{fp32.worst.relative_l2:.15g}".partition("e")[0]) <= 4
    again.recipe("opset: 19", *LINES)
    assert differences(first, of_a_build(again))[0] == "opset 18 -> 19"
