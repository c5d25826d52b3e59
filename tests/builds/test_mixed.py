"""``auto`` and ``mixed``: what a build decides about precision, says, records and writes back."""

from __future__ import annotations

import re

import onnx
import pytest

from tests.conftest import Answer, Project

NET = """\
import torch
from torch import nn


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 6)

    def forward(self, x):
        big = self.f(x) * 2000
        return big / torch.sqrt((big * big).mean(-1, keepdim=True) + 1e-3)


class Plain(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x):
        return self.g(torch.tanh(self.f(x)))


class Double(Plain):
    def __init__(self):
        super().__init__()
        self.double()


class Halved(nn.Module):
    def forward(self, x):
        return x[:1] + 0 * x


class Chosen(nn.Module):
    def __init__(self):
        super().__init__()
        self.f, self.g = nn.Linear(6, 1), nn.Linear(6, 2)

    def forward(self, x):
        return self.g(x)[self.f(x).squeeze(-1) > 0]


class Counted(nn.Module):
    # Three of four numbers lie below a limit that half precision takes for another.

    def __init__(self):
        super().__init__()
        self.numbers = nn.Parameter(torch.arange(2046.0, 2050.0), requires_grad=False)
        self.limit = nn.Parameter(torch.tensor(2049.0), requires_grad=False)
        self.linear = nn.Linear(3, 8)

    def forward(self, x):
        below = torch.nonzero(self.numbers + 0 * x.sum() < self.limit)[:, 0]
        return self.linear(x * torch.ones_like(below).float().cumsum(0))


class Lengthy(nn.Module):
    def __init__(self):
        super().__init__()
        self.f = nn.Linear(6, 6)

    def forward(self, x):
        big = self.f(x) * (x.shape[1] / x.shape[0]) * 30
        return big / ((big * big).sum(-1, keepdim=True) + 1).sqrt()


class Assigned(nn.Module):
    # Row by row the likeliest of many groups, twice over; the first ones' errors decide the second.

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(12))
        self.choose = nn.ModuleList(nn.Linear(16, 64) for _ in range(2))
        self.groups = nn.Parameter(torch.randn(64, 16))

    def forward(self, x):
        for i, layer in enumerate(self.layers):
            x = x + torch.tanh(layer(x))
            if i in (3, 7):
                x = x + self.groups[self.choose[i // 4](x).argmax(-1)]
        return x


calls = []


def never(reference, candidate):
    return False


def close(reference, candidate):
    return all(abs(r - c).max() < 1e-2 for r, c in zip(reference, candidate))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One that has converted and searched; the others begin with its cache, and export nothing."""
    made = Project(tmp_path_factory.mktemp("built"))
    made.write("nets.py", NET)
    assert _build(made, "Plain", "").code == 0
    assert _build(made, "Norm", "{method: auto}").code == 0
    return made


@pytest.fixture
def nets(project: Project, built: Project) -> Project:
    project.write("nets.py", NET)
    project.take_cache(built)
    return project


def _build(project: Project, model: str, fp16: str, *more: str, flags: tuple[str, ...] = ()) -> Answer:
    base = (
        f'model: {{import: "nets:{model}"}}\ninputs: {{x: {{shape: [batch, 6]}}}}\noutputs: [y]\n'
        "dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}\n"
    )
    lines = list(more)
    if not any(line.startswith("verify") for line in lines):
        lines.append("verify: {samples: 3}")
    project.recipe(f"precision:\n  fp32:\n  fp16: {fp16}", *lines, base=base)
    return project.build(*flags)


def _kept_in_float(project: Project, name: str) -> set[str]:
    model = onnx.shape_inference.infer_shapes(onnx.load(str(project.output(name))))
    types = {v.name: v.type.tensor_type.elem_type for v in (*model.graph.value_info, *model.graph.output)}
    return {
        n.name
        for n in model.graph.node
        if n.op_type != "Cast" and types.get(n.output[0]) == onnx.TensorProto.FLOAT
    }


def test_auto_is_the_default_and_converts_plainly_where_that_holds(nets: Project) -> None:
    answer = _build(nets, "Plain", "")
    assert answer.code == 0
    artifact = answer.artifacts["net.fp16.onnx"]
    assert artifact["conversion"] == {"method": "convert", "kept": []}
    assert "precision-fallback" not in {d["code"] for d in answer.diagnostics}
    assert _kept_in_float(nets, "net.fp16.onnx") == set()


def test_what_overflows_stays_in_fp32_and_is_said_and_recorded(nets: Project) -> None:
    answer = _build(nets, "Norm", "{method: auto}", "static: [{batch: 1}]")
    assert answer.code == 0
    artifact = answer.artifacts["net.fp16.onnx"]
    kept = artifact["conversion"]["kept"]
    assert 2 <= len(kept) <= 4
    assert set(kept) <= _kept_in_float(nets, "net.fp16.onnx")
    assert artifact["conversion"]["method"] == "mixed"
    assert (
        artifact["conversion"]["before"]["y"]["headroom"] < 1 < artifact["parity"]["outputs"]["y"]["headroom"]
    )
    (said,) = [d for d in artifact["diagnostics"] if d["code"] == "precision-fallback"]
    assert said["level"] == "warning"
    assert said["message"].startswith(f"{len(kept)} of ")
    assert f"`{kept[0]}` (Mul)" in said["message"]
    assert "With all in fp16 values overflow; now the error is " in said["message"]
    assert "--write-back" in said["hint"]
    assert answer.statuses["net.fp16.batch1.onnx"] == "built"


def test_the_search_tells_how_far_it_is(nets: Project) -> None:
    answer = _build(nets, "Norm", "{method: mixed}")
    assert "net.yaml: fp16: the plain conversion breaks the tolerance" in answer.stderr
    assert "roundings in" in answer.stderr


def test_a_second_build_neither_searches_nor_proves(nets: Project) -> None:
    _build(nets, "Norm", "{method: auto}")
    again = nets.build()
    assert set(again.statuses.values()) == {"cached"}
    assert again.stderr == ""
    assert [d["code"] for d in again.diagnostics] == ["precision-fallback"]


def test_write_back_puts_the_nodes_into_the_recipe_and_the_next_build_does_not_search(nets: Project) -> None:
    first = _build(nets, "Norm", "{method: auto}", "# the end", flags=("--write-back",))
    assert first.code == 0
    kept = first.artifacts["net.fp16.onnx"]["conversion"]["kept"]
    text = (nets.folder / "net.yaml").read_text()
    assert f"node_block_list: [{', '.join(kept)}]" in " ".join(text.split())
    assert "# the end\n" in text
    assert first.said("recipe-updated") == (
        f"`precision.fp16.node_block_list` now names {len(kept)} nodes, as the search found them"
    )
    second = nets.build()
    assert second.code == 0
    assert "roundings" not in second.stderr
    assert second.artifacts["net.fp16.onnx"]["conversion"] == {"method": "convert", "kept": []}
    assert second.artifacts["net.fp16.onnx"]["sha256"] == first.artifacts["net.fp16.onnx"]["sha256"]
    assert "precision-fallback" not in {d["code"] for d in second.diagnostics}


def test_write_back_takes_a_cached_search_too_and_nothing_the_second_time(nets: Project) -> None:
    _build(nets, "Norm", "{method: auto}")
    answer = nets.build("--write-back")
    assert set(answer.statuses.values()) == {"cached"}
    assert "node_block_list" in (nets.folder / "net.yaml").read_text()
    text = (nets.folder / "net.yaml").read_text()
    nets.build("--write-back")
    assert (nets.folder / "net.yaml").read_text() == text


def test_a_recipe_that_cannot_be_edited_is_said_and_the_files_are_there(nets: Project) -> None:
    answer = _build(nets, "Norm", "&half {method: auto}\n  bf16: *half", flags=("--write-back",))
    assert answer.code == 2
    assert nets.output("net.fp16.onnx").is_file()
    assert "the recipe cannot be edited by itself" in answer.said("recipe-invalid")


def test_a_tolerance_below_the_rounding_of_the_weights_is_infeasible_at_once(nets: Project) -> None:
    answer = _build(nets, "Plain", "{method: auto, tolerance: {relative_l2: 1.0e-5}}")
    assert answer.code == 3
    assert answer.statuses == {"net.fp32.onnx": "cached", "net.fp16.onnx": "failed"}
    (said,) = [d for d in answer.diagnostics if d["code"] == "fp16-infeasible"]
    assert said["message"].startswith("rounding the weights to fp16 alone gives ")
    assert " times the error that relative_l2 1e-05 allows; most of it comes from `" in said["message"]
    assert said["message"].endswith("; all 3 nodes that round would have to stay in fp32")
    assert "a tolerance of about {relative_l2: " in said["hint"]
    assert not nets.output("net.fp16.onnx").exists()


def test_mixed_says_what_it_kept_as_information(nets: Project) -> None:
    answer = _build(nets, "Norm", "{method: mixed}")
    assert answer.code == 0
    assert [d["level"] for d in answer.diagnostics if d["code"] == "precision-fallback"] == ["info"]


def test_every_named_tolerance_holds(nets: Project) -> None:
    tolerance = "{relative_l2: 5.0e-3, cosine: 0.9999, rtol: 1.0e-2, atol: 1.0e-2}"
    answer = _build(nets, "Norm", f"{{method: auto, tolerance: {tolerance}}}")
    assert answer.code == 0
    assert answer.artifacts["net.fp16.onnx"]["parity"]["outputs"]["y"]["headroom"] >= 1


def test_a_failure_that_is_not_of_rounding_starts_no_search(nets: Project) -> None:
    answer = _build(nets, "Plain", "{method: auto}", 'verify: {samples: 1, function: "nets:missing"}')
    assert answer.code != 0
    assert "roundings" not in answer.stderr


def test_a_users_function_is_asked_of_the_result(nets: Project) -> None:
    answer = _build(nets, "Norm", "{method: auto}", 'verify: {samples: 2, function: "nets:close"}')
    assert answer.code == 0
    assert answer.artifacts["net.fp16.onnx"]["conversion"]["kept"]


def test_a_function_that_is_never_content_fails_in_its_own_words(nets: Project) -> None:
    answer = _build(nets, "Plain", "{method: auto}", 'verify: {samples: 1, function: "nets:never"}')
    assert answer.code == 3
    assert "`nets:never` says False" in answer.said("parity-failed")


def test_bf16_takes_the_same_road(nets: Project) -> None:
    answer = _build(nets, "Norm", "\n  bf16: {method: auto, tolerance: {relative_l2: 3.5e-3}}")
    artifact = answer.artifacts["net.bf16.onnx"]
    assert answer.code == 0, answer.diagnostics
    assert artifact["parity"]["evidence"] == "bf16-simulated"
    assert artifact["conversion"]["kept"]
    message = next(d["message"] for d in artifact["diagnostics"] if d["code"] == "precision-fallback")
    assert "With all in bf16 the error is " in message


def test_a_changed_tolerance_decides_again(nets: Project) -> None:
    _build(nets, "Norm", "{method: auto}")
    again = _build(nets, "Norm", "{method: auto, tolerance: {relative_l2: 1.0e-3}}")
    assert again.code == 0
    assert "tolerance" in again.artifacts["net.fp16.onnx"]["reason"]
    assert again.statuses["net.fp32.onnx"] == "cached"


def test_a_dry_run_writes_nothing_back(nets: Project) -> None:
    _build(nets, "Norm", "{method: auto}")
    text = (nets.folder / "net.yaml").read_text()
    nets.build("--write-back", "--dry-run")
    assert (nets.folder / "net.yaml").read_text() == text


# Of thousands of scores some are so near to zero that rounding moves them over it.
ROWS = """\
model: {import: "nets:Chosen"}
inputs: {x: {shape: [n, 6]}}
outputs: [rows]
dynamic_axes: {n: {min: 5000, opt: 6000, max: 9000}}
precision: {fp16: {}, bf16: {method: convert}}
verify: {samples: 2}
"""


def test_rows_that_rounding_moves_over_a_threshold_are_told_as_such_and_what_decides_is_kept(
    nets: Project,
) -> None:
    nets.recipe("", base=ROWS)
    answer = nets.build("--keep-going")
    assert answer.statuses == {"net.fp16.onnx": "built", "net.bf16.onnx": "failed"}
    assert "baked-axis" not in {d["code"] for d in answer.diagnostics}
    said = answer.said("parity-failed")
    assert re.match(r"output `rows` has shape \(\d+, 2\), PyTorch \(\d+, 2\), at n=", said)
    assert "node_linear" in str(answer.artifacts["net.fp16.onnx"]["conversion"]["kept"])


COUNTED = """\
model: {import: "nets:Counted"}
inputs: {x: {shape: [n, 3]}}
outputs: [y]
dynamic_axes: {n: {min: 1, opt: 4, max: 8}}
precision: {fp16: {}}
verify: {samples: 1}
"""


def test_a_file_that_runs_at_no_size_in_half_is_searched_too(nets: Project) -> None:
    nets.recipe("", base=COUNTED)
    answer = nets.build()
    assert answer.statuses == {"net.fp16.onnx": "built"}, answer.diagnostics
    assert "not finite or of other sizes" in answer.said("precision-fallback")


# On each input other rows are sent to other groups, so that five searches find five choices of nodes.
ASSIGNED = """\
model: {import: "nets:Assigned"}
inputs: {x: {shape: [n, 16]}}
outputs: [y]
dynamic_axes: {n: {min: 1, opt: 8, max: 64}}
precision: {fp16: {}}
verify: {samples: 100}
"""


def test_where_searches_find_nothing_that_holds_what_values_are_chosen_by_is_kept(nets: Project) -> None:
    nets.recipe("", base=ASSIGNED)
    answer = nets.build()
    assert answer.statuses == {"net.fp16.onnx": "built"}, answer.diagnostics
    assert "values are chosen by comparing; keeping what they are chosen by in fp32" in answer.stderr
    kept = set(answer.artifacts["net.fp16.onnx"]["conversion"]["kept"])
    model = onnx.load(str(nets.output("net.fp16.onnx")))
    layers = [n.name for n in model.graph.node if n.op_type in ("Gemm", "MatMul")]
    assert len(layers) == 14
    assert kept.issuperset(layers[:10])  # eight layers, and what chooses behind the fourth and the eighth
    assert not kept.intersection(layers[10:])


# Squares overflow where few long rows come together: at no end of the axes, but in the variant.
VARIANT = """\
model: {import: "nets:Lengthy"}
inputs: {x: {shape: [batch, length, 6]}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 2, max: 3}, length: {min: 2, opt: 8, max: 16}}
precision: {fp16: {}}
static: [{batch: 1}]
verify: {samples: 1}
"""


def test_the_search_sees_the_stat_rows_the_variants_that_are_made_of_its_file(nets: Project) -> None:
    nets.recipe("", base=VARIANT)
    answer = nets.build()
    assert answer.statuses == {"net.fp16.onnx": "built", "net.fp16.batch1.onnx": "built"}
    assert answer.artifacts["net.fp16.onnx"]["conversion"]["kept"]


DOUBLE = """\
model: {import: "nets:Double"}
inputs: {x: {shape: [batch, 6], dtype: float64}}
outputs: [y]
dynamic_axes: {batch: {min: 1, opt: 4, max: 8}}
precision: {fp32: {}, fp16: {}, bf16: {method: convert}}
verify: {samples: 1}
"""


def test_a_model_of_float64_becomes_half_and_its_fp32_file_says_what_it_is(nets: Project) -> None:
    nets.recipe("", base=DOUBLE)
    answer = nets.build()
    assert set(answer.statuses.values()) == {"built"}
    for name, own in (("fp16", onnx.TensorProto.FLOAT16), ("bf16", onnx.TensorProto.BFLOAT16)):
        proto = onnx.load(str(nets.output(f"net.{name}.onnx")))
        assert {t.data_type for t in proto.graph.initializer} == {own}
        assert {v.type.tensor_type.elem_type for v in (*proto.graph.input, *proto.graph.output)} == {11}
    said = {a: d["message"] for a, row in answer.artifacts.items() for d in row["diagnostics"]}
    assert said["net.fp32.onnx"] == "the file is one of double, as the model is"
    assert said["net.fp16.onnx"] == "the model is one of double: taken as float32, and converted from that"
