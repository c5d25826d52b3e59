"""Two recipes in the words of the recipe, and what a reviewer is warned of."""

from __future__ import annotations

import pytest

from modelbuild.base.keys import canonical
from modelbuild.changes.review.differences import differences
from modelbuild.changes.review.effects import outlook
from modelbuild.changes.review.risks import risks
from modelbuild.recipe import differing as module
from modelbuild.recipe.loading import parse
from modelbuild.recipe.schema import Recipe

BASE = """\
name: net
model: {import: "net:Net", kwargs: {width: 8, deep: {list: [1, 2]}}}
inputs: {x: {shape: [batch, 6]}, mask: {shape: [batch], dtype: int64, values: {low: 0, high: 2}}}
outputs: [y, z]
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
precision:
  fp32: {tolerance: {rtol: 1e-3, atol: 1e-4}}
  fp16:
    {node_block_list: [/a, /b], op_block_list: [Pow, Exp], max_finite_val: 1000, tolerance: {cosine: 0.99}}
static: [{batch: 1}, {batch: 2}]
engines:
  - {precision: fp16, targets: [sm86, sm89]}
  - {precision: fp32, profiles: [{batch: {min: 1, opt: 1, max: 2}}, {batch: {min: 2, opt: 4, max: 8}}]}
verify: {samples: 4, data: [a.npz, b.npz], function: "checks:near"}
"""

Q = '"'

# What is edited, how that is told, and the warnings.
EDITS = [
    ("max: 8}}\n", "max: 16}}\n", "dynamic_axes.batch.max: 8 -> 16", []),
    ("outputs:", "opset: 17\noutputs:", "opset: 18 -> 17", ["the opset is lowered: 18 -> 17"]),
    ("outputs:", "opset: 20\noutputs:", "opset: 18 -> 20", []),
    (
        "rtol: 1e-3", "rtol: 1e-2", "precision.fp32.tolerance.rtol: 0.001 -> 0.01",
        ["a tolerance is loosened: fp32 rtol 0.001 -> 0.01"],
    ),
    (
        "rtol: 1e-3", "rtol: 1e-3, conditioning: 4",
        "precision.fp32.tolerance.conditioning: not asked -> 4",
        ["a tolerance is loosened: fp32 conditioning not asked -> 4"],
    ),
    ("rtol: 1e-3", "rtol: 1e-5", "precision.fp32.tolerance.rtol: 0.001 -> 1e-05", []),
    (
        "cosine: 0.99", "cosine: 0.9", "precision.fp16.tolerance.cosine: 0.99 -> 0.9",
        ["a tolerance is loosened: fp16 cosine 0.99 -> 0.9"],
    ),
    (
        "{cosine: 0.99}", "{relative_l2: 0.1}",
        "precision.fp16.tolerance.relative_l2: not asked -> 0.1\n"
        "precision.fp16.tolerance.cosine: 0.99 -> not asked",
        ["a tolerance is loosened: fp16 cosine 0.99 -> not asked"],
    ),
    (
        "[/a, /b]", "[/c, /b]", "precision.fp16.node_block_list: - /a, + /c",
        ["fp16: no longer kept in fp32: node_block_list without `/a`"],
    ),
    ("[/a, /b]", "[/b, /a]", "", []),
    (
        "op_block_list: [Pow, Exp], ", "", "precision.fp16.op_block_list: [Pow, Exp] -> the default list",
        ["fp16: the default list takes the place of op_block_list [Pow, Exp]"],
    ),
    (
        "max_finite_val: 1000", "max_finite_val: 2000", "precision.fp16.max_finite_val: 1000 -> 2000",
        ["fp16: max_finite_val is raised: 1000 -> 2000"],
    ),
    (
        "{node_block_list", "{keep_io_types: false, node_block_list",
        "precision.fp16.keep_io_types: true -> false",
        ["fp16: floating point inputs and outputs are fp16, and were float32"],
    ),
    ("[{batch: 1}, {batch: 2}]", "[{batch: 1}, {batch: 2}, {batch: 4}]", "static: + {batch: 4}", []),
    (
        "[{batch: 1}, {batch: 2}]", "[{batch: 2}]", "static: - {batch: 1}",
        ["static variants are gone: {batch: 1}"],
    ),
    (
        "[sm86, sm89]", "[sm89]", "engines.fp16.tensorrt-rtx.targets: - sm86",
        ["the engine fp16.tensorrt-rtx is no longer built for sm86"],
    ),
    ("[sm86, sm89]", "[sm89, sm86]", "", []),
    (
        "{precision: fp16, targets", "{precision: fp16, builder: {workspace: 1536MiB}, targets",
        "engines.fp16.tensorrt-rtx.builder.workspace: the builder's -> 1536MiB", [],
    ),
    (
        "  - {precision: fp16, targets: [sm86, sm89]}\n", "",
        "engines: - fp16.tensorrt-rtx: {precision: fp16, targets: [sm86, sm89]}",
        ["the engine fp16.tensorrt-rtx is gone"],
    ),
    (
        "{batch: {min: 1, opt: 1, max: 2}}, ", "",
        "engines.fp32.tensorrt-rtx.profiles: - {batch: {min: 1, opt: 1, max: 2}}",
        ["the engine fp32.tensorrt-rtx has 1 of 2 profiles",
         "no profile of the engine fp32.tensorrt-rtx takes batch 1..2 any more"],
    ),
    (
        "opt: 1, max: 2", "opt: 2, max: 2", "engines.fp32.tensorrt-rtx.profiles[0].batch.opt: 1 -> 2", [],
    ),
    (
        "samples: 4", "samples: 2", "verify.samples: 4 -> 2",
        ["fewer random inputs: verify.samples 4 -> 2"],
    ),
    (
        "samples: 4", "seed: 7, samples: 4", "verify.seed: 0 -> 7",
        ["other random inputs: verify.seed 0 -> 7; one can be sought until it passes"],
    ),
    ("[a.npz, b.npz]", "[b.npz]", "verify.data: - a.npz", ["real inputs are gone: verify.data `a.npz`"]),
    (
        ', function: "checks:near"', "", "verify.function: checks:near -> none",
        ["verify.function `checks:near` is gone"],
    ),
    ("[y, z]", "[y, w]", "outputs[1]: z -> w", ["outputs are renamed: `z` -> `w`"]),
    (
        "[y, z]", "[z, y]", "outputs[0]: y -> z\noutputs[1]: z -> y",
        ["the outputs are in another order: `y`, `z` -> `z`, `y`"],
    ),
    ("[y, z]", "[y]", "outputs: [y, z] -> [y]", ["outputs are gone: `z`"]),
    ("[y, z]", "[y, z, w]", "outputs: [y, z] -> [y, z, w]", []),
    (
        "{x: {shape: [batch, 6]}, mask: {shape: [batch], dtype: int64, values: {low: 0, high: 2}}}",
        "{mask: {shape: [batch], dtype: int64, values: {low: 0, high: 2}}, x: {shape: [batch, 6]}}",
        "inputs: x, mask -> mask, x, another order",
        ["the inputs are in another order: `x`, `mask` -> `mask`, `x`"],
    ),
    (
        "[batch, 6]", "[batch, 7]", "inputs.x.shape: [batch, 6] -> [batch, 7]",
        ["the input `x` has another shape: [batch, 6] -> [batch, 7]"],
    ),
    ("{low: 0, high: 2}", "{constant: 1}", "inputs.mask.values: {low: 0, high: 2} -> {constant: 1}", []),
    ("width: 8", "width: 8.0", "model.kwargs.width: 8 -> 8.0", []),
    ("width: 8", "width: true", "model.kwargs.width: 8 -> true", []),
    ("width: 8", 'width: "8"', f"model.kwargs.width: 8 -> {Q}8{Q}", []),
    ("width: 8, ", "", "model.kwargs: - width: 8", []),
    ("list: [1, 2]", "list: [1, 3]", "model.kwargs.deep.list[1]: 2 -> 3", []),
    ("net:Net", "net:Other", "model.import: net:Net -> net:Other", []),
    ("name: net", "name: other", "name: net -> other", ["every file has another name: net.* -> other.*"]),
    ("static:", "  bf16:\nstatic:", "precision: + bf16", []),
]  # fmt: skip


def recipe(text: str) -> Recipe:
    return parse(text, "net.yaml", "net")


@pytest.mark.parametrize(("old", "new", "said", "warned"), EDITS, ids=lambda v: str(v)[:40])
def test_an_edit_is_told_in_the_words_of_the_recipe(old: str, new: str, said: str, warned: list[str]) -> None:
    assert BASE.count(old) == 1
    before, after = recipe(BASE), recipe(BASE.replace(old, new))
    assert "\n".join(c.said for c in differences(before, after)) == said
    assert [d.message for d in risks(before, after, {}, "net.yaml")] == warned


def test_long_lists_are_compared_once_and_not_each_with_each(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after = (
        recipe(BASE.replace("[/a, /b]", str([f"{letter}{i}" for i in range(1000)]))) for letter in "xy"
    )
    looked_at: list[object] = []
    monkeypatch.setattr(module, "canonical", lambda value: (looked_at.append(value), canonical(value))[1])
    (change,) = differences(before, after)
    assert change.path == "precision.fp16.node_block_list"
    assert len(looked_at) < 3000


@pytest.mark.parametrize("edit", EDITS, ids=lambda v: str(v)[1][:40])
def test_what_is_no_difference_rebuilds_nothing(edit: tuple[str, str, str, list[str]]) -> None:
    before, after = recipe(BASE), recipe(BASE.replace(edit[0], edit[1]))
    moved = {e.fate for e in outlook(before, after, (), {}).artifacts} != {"same"}
    assert moved <= bool(differences(before, after))


@pytest.mark.parametrize(
    ("range_", "published", "said"),
    [
        ("max: 4", {}, "the axis `batch` takes 1..4, and what is published takes 1..8"),
        ("max: 16", {"batch": (1, 32)}, "the axis `batch` takes 1..16, and what is published takes 1..32"),
    ],
)
def test_an_axis_narrower_than_what_is_published_is_warned_of_once(
    range_: str, published: dict[str, tuple[int, int]], said: str
) -> None:
    text = BASE[: BASE.index("static:")] + "engines: [{precision: fp16}]\n"
    before, after = recipe(text), recipe(text.replace("max: 8", range_))
    assert [d.message for d in risks(before, after, published, "")] == [said]


def test_a_precision_that_goes_takes_its_artifacts_along() -> None:
    text = BASE[: BASE.index("static:")]
    after = text.replace(text[text.index("  fp16:") :], "")
    before, now = recipe(text), recipe(after)
    assert [c.said.partition(": {")[0] for c in differences(before, now)] == ["precision: - fp16"]
    assert [d.message for d in risks(before, now, {}, "")] == ["no longer built: fp16"]
    fates = {e.artifact: e.fate for e in outlook(before, now, (), {}).artifacts}
    assert fates == {"net.fp32.onnx": "same", "net.fp16.onnx": "removed"}


def test_a_proof_that_comes_with_the_file_costs_nothing_more() -> None:
    before, now = recipe(BASE), recipe(BASE.replace("{node_block_list", "{method: auto, node_block_list"))
    changed = recipe(BASE.replace("[/a, /b]", "[/a]"))
    assert now == before  # auto is the default
    found = outlook(before, changed, (), {"fp16": 5.0})
    assert (found.artifacts[1].artifact, found.artifacts[1].seconds) == ("net.fp16.onnx", 5.0)
    assert (found.seconds, found.unknown) == (5.0, 5)  # two variants, their proofs, the engine


def test_what_is_known_to_cost_nothing_alone_is_no_cost() -> None:
    found = outlook(None, recipe(BASE), (), {})
    assert (found.seconds, found.unknown) == (None, len({a for e in found.artifacts for a in e.actions}) - 1)


def test_every_warning_says_what_to_do() -> None:
    found = risks(recipe(BASE), recipe(BASE.replace("samples: 4", "samples: 2")), {}, "net.yaml")
    assert [(d.level, d.code, d.where) for d in found] == [("warning", "proof-weakened", "net.yaml")]
    assert found[0].hint
