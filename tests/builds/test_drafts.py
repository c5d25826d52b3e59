"""Drafts are built as they are: what `modelbuild init` writes is a recipe that builds and is proven."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Answer, Project

pytestmark = pytest.mark.slow

pytest.importorskip("transformers")

NETS = """
import torch
from torch import nn

class Table(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 3)
    def forward(self, x):
        return self.second(torch.relu(self.first(x)))

class Digits(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 4, 5), nn.Linear(4 * 12 * 12, 10)
    def forward(self, x):
        return self.last(torch.max_pool2d(self.conv(x), 2).flatten(1))

class AnySize(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(3, 2, 3, stride=16), nn.AdaptiveAvgPool2d(1)
    def forward(self, image):
        return self.pool(self.conv(image)).flatten(1)

class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.LSTM(6, 8, batch_first=True)
    def forward(self, x):
        y, (h, c) = self.rnn(x)
        return y, h

class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.last = nn.Embedding(77, 4), nn.Linear(4, 2)
    def forward(self, tokens):
        return self.last(self.embed(tokens).mean(1))

class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.user, self.item = nn.Embedding(11, 4), nn.Embedding(23, 4)
    def forward(self, user, item):
        u, i = self.user(user), self.item(item)
        return {"score": (u * i).sum(-1), "parts": (u, None, i)}

class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(30, 8)
    def forward(self, ids, mask):
        return self.words(ids).masked_fill(~mask.unsqueeze(-1), 0.0)

class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    def forward(self, src, src_key_padding_mask):
        return self.layer(src, src_key_padding_mask=src_key_padding_mask)

class Cooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 4)
    def forward(self, x, temperature):
        return torch.softmax(self.last(x) / temperature, -1)

class AllWithAll(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other = nn.Linear(5, 4), nn.Linear(7, 4)
    def forward(self, queries, documents):
        return self.one(queries) @ self.other(documents).T

class NeedsTwo(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 4)
    def forward(self, x):
        if x.shape[0] < 2:
            raise ValueError("two rows or more")
        return self.last(x) - x.mean(0)

class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 4)
    def forward(self, *tensors):
        return self.last(tensors[0]) * tensors[1].sum(-1, keepdim=True)

class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(5, 4)
    def forward(self, *, rows, flag: bool = False):
        return self.last(rows)

instance = Table()

def bert():
    from transformers import BertConfig, BertModel
    return BertModel(BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                                intermediate_size=16, vocab_size=50, max_position_embeddings=40))

def vit():
    from transformers import ViTConfig, ViTModel
    return ViTModel(ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                              intermediate_size=16, image_size=32, patch_size=8))

def resnet():
    from transformers import ResNetConfig, ResNetForImageClassification
    return ResNetForImageClassification(ResNetConfig(embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1]))
"""
MODELS = (
    "Table", "Digits", "AnySize", "Recurrent", "Words", "Pair", "Masked", "Encoder", "Cooled", "AllWithAll",
    "NeedsTwo", "Several", "Named", "instance", "bert", "vit", "resnet",
)  # fmt: skip


def _save_onnx(folder: Path) -> None:
    """A table of words with odd names, and a convolution whose axes have none."""
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def save(name: str, nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], out: str,
             weight: tuple[int, ...], opset: int) -> None:  # fmt: skip
        values = np.random.default_rng(0).normal(size=weight).astype("float32")
        graph = helper.make_graph(
            nodes, "g", inputs, [helper.make_tensor_value_info(out, TensorProto.FLOAT, None)],
            [numpy_helper.from_array(values, "w")],
        )  # fmt: skip
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), path
        )

    save(
        "files/my table.onnx",
        [helper.make_node("Gather", ["w", "ids:0"], ["rows"]),
         helper.make_node("Mul", ["rows", "scale"], ["out/put"])],
        [helper.make_tensor_value_info("ids:0", TensorProto.INT32, ["batch size", "2*seq"]),
         helper.make_tensor_value_info("scale", TensorProto.FLOAT, [])],
        "out/put", (13, 4), 17,
    )  # fmt: skip
    save(
        "files/conv.onnx",
        [helper.make_node("Conv", ["x", "w"], ["y"], strides=[16, 16]),
         helper.make_node("GlobalAveragePool", ["y"], ["z"])],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3, None, None])],
        "z", (2, 3, 3, 3), 13,
    )  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The zoo with a draft of everything in it, in ``drafts``."""
    import os
    import sys

    import transformers  # noqa: F401 - once, for the children that draft

    from modelbuild.setup import drafting

    made = Project(tmp_path_factory.mktemp("drafts"))
    made.write("zoo_nets.py", NETS)
    _save_onnx(made.folder)
    (made.folder / "drafts").mkdir()
    before = os.getcwd(), list(sys.path)
    os.chdir(made.folder)
    try:
        for model in MODELS:
            made.write(f"drafts/{model}.yaml", drafting.draft(f"zoo_nets:{model}"))
        for name in ("my table", "conv"):
            place = Path(f"drafts/of-{name.replace(' ', '-')}.yaml")
            drafting.save(drafting.draft_of_onnx(Path(f"files/{name}.onnx"), place), place)
    finally:
        os.chdir(before[0])
        sys.path[:] = before[1]
    return made


@pytest.fixture(scope="module")
def answer(project: Project) -> Answer:
    return project.run("build", "drafts", "--keep-going", "--format", "json")


def test_every_draft_builds_as_it_is_and_is_proven(answer: Answer) -> None:
    failed = {r["recipe"]: r["diagnostics"] + [d for a in r["artifacts"] for d in a["diagnostics"]]
              for r in answer.report["recipes"] if r["status"] != "ok"}  # fmt: skip
    assert not failed
    assert answer.code == 0
    assert len(answer.artifacts) == len(MODELS) + 2
    assert all(a["parity"]["passed"] for a in answer.artifacts.values())
    assert not [d for d in answer.diagnostics if d["code"] in ("unused-input", "vacuous-check", "not-finite")]


def test_every_draft_was_tried_and_not_only_guessed(project: Project) -> None:
    for path in (project.folder / "drafts").iterdir():
        assert "It was run at these sizes" in path.read_text(), path.name


def test_a_draft_of_an_onnx_file_keeps_what_the_file_says(project: Project, answer: Answer) -> None:
    table = (project.folder / "drafts/of-my-table.yaml").read_text()
    assert 'onnx: "../files/my table.onnx"\n' in table
    assert "  ids:0: {shape: [batch_size, axis_2_seq], dtype: int32, values: {low: 0, high: 13}}" in table
    assert "  scale: {shape: []}" in table
    assert "outputs: [out/put]\n" in table
    assert "opset: 17  # the file's\n" in table
    assert "# the axis `2*seq` of the file is called `axis_2_seq` here\n" in table
    conv = (project.folder / "drafts/of-conv.yaml").read_text()
    assert "  x: {shape: [batch, 3, height, width]}" in conv
    assert "opset: 13  # the file's\n" in conv
    assert answer.artifacts["my_table.fp32.onnx"]["status"] == "built"
