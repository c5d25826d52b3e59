"""Hit or miss, and the reason that is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from modelbuild import trace
from modelbuild.base.keys import digest, moved
from modelbuild.plan.actions import Action
from modelbuild.plan.freshness import World, facts, judge
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import parse
from modelbuild.store import Entry, Tree

KNOWN = {"opset": 18, "package torch": "2.13.0", "input model": "sha256:a"}
BEFORE = {
    "file net.py": "sha256:1",
    "file data.npz": "sha256:2",
    "absent net.json": None,
    "listing data": "sha256:3",
    "modules .": "net:net.py blocks:blocks.py transformers",
    "modules models": "blocks:blocks.py",
    "glob data/*.npz": "sha256:4",
    "present marker": "file",
    "made cache.bin": "sha256:6",
    "link current": "v1",
    "search": "numpy parts:../parts.py",
    "cwd": "..",
    "env WIDTH": "8",
    "env TOKEN": "sha256:5",
    "package transformers": "5.0",
    "package onnxruntime": "1.27.0",
    "package tensorrt": "tensorrt-cu13 1.6",
    "package near": "from ../near",
    "distribution torchvision": None,
    "entry-points my.hooks": "sha256:7",
    "installed distributions": "sha256:8",
}
OUTLINES = {"net.py": {"": "0", "Net": "1", "helper": "2", "other": "3"}}
LAST = {"facts": KNOWN, "discovered": BEFORE, "outlines": OUTLINES}


def _judge(
    *, known: dict[str, Any] = KNOWN, now: dict[str, str | None] | None = None, entries: int = 1,
    usable: bool = True, last: dict[str, Any] = LAST, outline: dict[str, str] | None = None,
):  # type: ignore[no-untyped-def]  # fmt: skip
    entry = Entry("k", Tree("sha256:t", {}), KNOWN, BEFORE)
    stored = [entry] * entries if known == KNOWN else []
    values = {**BEFORE, **(now or {})}
    return judge(
        known, stored, World(lambda name, _: values[name], lambda _: usable, lambda _: outline), last
    )


def test_the_same_facts_and_files_are_a_hit() -> None:
    assert _judge().entry is not None
    assert _judge().reason is None


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param({"entries": 0, "last": {}}, "never built", id="never"),
        pytest.param({"known": {**KNOWN, "opset": 17}}, "opset changed: 18 -> 17", id="knob"),
        pytest.param({"known": {**KNOWN, "package torch": "2.14.0"}}, "torch 2.13.0 -> 2.14.0", id="tool"),
        pytest.param(
            {"known": {**KNOWN, "package torch": None}}, "torch 2.13.0 -> not installed", id="tool-gone"
        ),
        pytest.param({"known": {**KNOWN, "input model": "sha256:b"}}, "input model changed", id="input"),
        pytest.param({"usable": False}, "its stored result is gone", id="object-gone"),
        pytest.param({"entries": 0}, "its stored result is gone", id="ledger-gone"),
        pytest.param(
            {"entries": 0, "last": {**LAST, "unstable": ["net.py"]}},
            "net.py was saved while the last build read it",
            id="saved-meanwhile",
        ),
        pytest.param(
            {"entries": 0, "last": {**LAST, "passing": ["killed by SIGKILL (out of memory?)"]}},
            "the last build went on after what may be gone now: killed by SIGKILL (out of memory?)",
            id="gone-on-after-a-death",
        ),
    ],
)
def test_a_miss_has_a_reason_it_can_name(given: dict[str, Any], reason: str) -> None:
    verdict = _judge(**given)
    assert verdict.entry is None
    assert verdict.reason == reason


@pytest.mark.parametrize(
    ("name", "now", "reason"),
    [
        ("file data.npz", "sha256:9", "data.npz changed"),
        ("file net.py", None, "net.py is gone"),
        ("absent net.json", "file", "new file net.json"),
        ("listing data", "sha256:9", "the files in data changed"),
        ("listing data", None, "folder data is gone"),
        (
            "modules models",
            "blocks:blocks/__init__.py",
            "new file shadows models/blocks.py: models/blocks/__init__.py",
        ),
        (
            "modules .",
            "net:net.py blocks:blocks.py transformers:transformers.py",
            "new file shadows the module `transformers`: transformers.py",
        ),
        ("modules .", "net:net.py blocks transformers", "blocks.py is gone"),
        ("glob data/*.npz", "sha256:9", "the files that `data/*.npz` matches changed"),
        ("present marker", None, "marker is gone"),
        ("made cache.bin", "sha256:9", "cache.bin changed"),
        ("link current", "v2", "link current v1 -> v2"),
        ("search", "numpy:../numpy.py parts:../parts.py", "the module `numpy` installed -> ../numpy.py"),
        ("search", "numpy parts", "the module `parts` ../parts.py -> installed"),
        ("cwd", "../..", "the command's folder .. -> ../.."),
        ("env WIDTH", "16", "environment variable WIDTH 8 -> 16"),
        ("env WIDTH", None, "environment variable WIDTH 8 -> unset"),
        ("env TOKEN", "sha256:9", "environment variable TOKEN changed"),
        ("package transformers", "5.1", "transformers 5.0 -> 5.1"),
        ("package transformers", None, "transformers 5.0 -> not installed"),
        ("package onnxruntime", "onnxruntime-gpu 1.27.0", "onnxruntime 1.27.0 -> onnxruntime-gpu 1.27.0"),
        ("package tensorrt", "tensorrt-cu13 1.7", "tensorrt-cu13 1.6 -> 1.7"),
        ("package tensorrt", "10.1", "tensorrt-cu13 1.6 -> tensorrt 10.1"),
        (
            "package tensorrt",
            "tensorrt-cu12 1.6, tensorrt-cu13 1.6",
            "tensorrt tensorrt-cu13 1.6 -> tensorrt-cu12 1.6, tensorrt-cu13 1.6",
        ),
        ("package near", "from ../other/near", "near from ../near -> from ../other/near"),
        ("package near", "1.0", "near from ../near -> 1.0"),
        ("distribution torchvision", "0.2", "torchvision not installed -> 0.2"),
        ("entry-points my.hooks", "sha256:9", "the entry points of my.hooks changed"),
        ("installed distributions", "sha256:9", "the installed distributions changed"),
    ],
)
def test_a_discovered_fact_that_moved_is_named(name: str, now: str | None, reason: str) -> None:
    assert _judge(now={name: now}).reason == reason


@pytest.mark.parametrize(
    ("outline", "reason"),
    [
        pytest.param({"": "0", "Net": "9", "helper": "2", "other": "3"}, "net.py:Net changed", id="one"),
        pytest.param({"": "0", "Net": "9", "helper": "9", "other": "3"},
                     "net.py:Net, net.py:helper changed", id="two"),
        pytest.param({"": "0", "Net": "9", "helper": "9"},
                     "net.py:Net, net.py:helper and 1 more changed", id="three-and-one-is-gone"),
        pytest.param({**OUTLINES["net.py"], "": "9"}, "net.py changed", id="top-level-statement"),
        pytest.param(OUTLINES["net.py"], "net.py changed (comments or layout)", id="comment"),
        pytest.param(None, "net.py changed", id="does-not-parse"),
    ],
)  # fmt: skip
def test_of_a_python_file_the_definition_is_named(outline: dict[str, str] | None, reason: str) -> None:
    assert _judge(now={"file net.py": "sha256:9"}, outline=outline).reason == reason


def test_everything_that_moved_is_told_and_the_knobs_come_first() -> None:
    verdict = _judge(known={**KNOWN, "opset": 17}, now={"env WIDTH": "16", "file data.npz": None})
    assert verdict.changes == (
        "opset changed: 18 -> 17",
        "data.npz is gone",
        "environment variable WIDTH 8 -> 16",
    )


def test_a_knob_turned_back_finds_the_older_entry() -> None:
    assert _judge(last={**LAST, "facts": {**KNOWN, "opset": 17}}).entry is not None


def test_digests_do_not_depend_on_the_order_of_names() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_what_moved_inside_a_fact_is_named() -> None:
    old, new = {"source": {"seed": 0, "import_": "m:A"}}, {"source": {"seed": 1, "import_": "m:A"}}
    assert moved(old, new) == ["source: seed changed: 0 -> 1"]
    assert moved({"a": 1}, {"b": 1}) == ["b is new", "a is gone"]


# ---- what is known before an action runs ------------------------------------------------------

RECIPE = """\
model: {import: "net:Net"}
inputs: {x: {shape: [batch, 6]}}
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
precision: {fp32: {}, fp16: {}, bf16: {method: half}}
engines: [{precision: fp16}]
"""
ACTIONS = plan(parse(RECIPE, "net.yaml", "net"), gpu=None).actions


class PythonVersion(NamedTuple):
    major: int
    minor: int


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.id)
def test_everything_that_decides_a_result_is_in_what_is_known(
    action: Action, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = dict.fromkeys(action.needs, "sha256:a")
    versions = dict.fromkeys(action.step.uses(), "1.0")
    known = facts(action, inputs, versions)
    assert (known["step"], known["step version"]) == (action.step.kind, action.step.version)
    assert action.step.knobs().keys() <= known.keys()
    others = [facts(action, {**inputs, role: "sha256:b"}, versions) for role in inputs]
    others += [facts(action, inputs, {**versions, package: "2.0"}) for package in versions]
    with monkeypatch.context() as patch:
        patch.setattr(trace, "VERSION", -1)
        if action.discovers:
            others.append(facts(action, inputs, versions))
        assert (facts(action, inputs, versions) != known) is action.discovers
    with monkeypatch.context() as patch:
        patch.setattr("platform.machine", lambda: "pdp11")
        assert (facts(action, inputs, versions) != known) is action.beside_model
    with monkeypatch.context() as patch:
        patch.setattr("modelbuild.plan.freshness.sys", SimpleNamespace(version_info=PythonVersion(4, 0)))
        assert (facts(action, inputs, versions) != known) is action.beside_model
    assert len({digest(k) for k in (known, *others)}) == 1 + len(others)


def test_there_are_actions_of_every_kind_in_that_plan() -> None:
    uses = {package for action in ACTIONS for package in action.step.uses()}
    assert {"torch", "onnx", "onnxruntime"} <= uses
    assert (
        {action.beside_model for action in ACTIONS}
        == {action.discovers for action in ACTIONS}
        == {True, False}
    )
