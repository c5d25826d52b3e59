"""The examples of exporting: dynamic and static sizes, opsets, names, engines. Built, and looked into."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from modelbuild.engines.kit import load as load_kit
from modelbuild.engines.parsing import parse
from modelbuild.engines.profiles import profile_shapes
from modelbuild.plan.planning import plan
from modelbuild.recipe.loading import load
from modelbuild.steps.engine import BuildEngine
from tests.examples.workshop import EXAMPLES, FLOAT, HALF, Workshop, dims, edge_types, node_types, of

pytestmark = pytest.mark.slow

BUILT = (
    "resnet_half", "dynamic_batch", "static_batches", "resnet18_opset11", "alexnet", "existing_onnx",
    "speech_encoder", "speech_encoder_batch1",
)  # fmt: skip
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    made = Workshop.at(tmp_path_factory.mktemp("export"))
    made.answer = made.build(*BUILT)
    yield made
    made.clear()


@pytest.mark.parametrize("name", BUILT)
def test_the_example_builds_and_every_file_is_proven(shop: Workshop, name: str) -> None:
    recipe = of(shop.answer, name)
    assert recipe["status"] == "ok", recipe
    assert shop.answer.code == 0
    for artifact in recipe["artifacts"]:
        assert artifact["status"] in ("built", "skipped")
        assert artifact["kind"] == "engine" or artifact["parity"]["passed"]
    said = {d["level"] for a in recipe["artifacts"] for d in a["diagnostics"]}
    assert "warning" not in said


def test_a_resnet_in_half_takes_any_height_and_width_at_opset_17(shop: Workshop) -> None:
    model = shop.graph("resnet_half.fp16.onnx")
    assert model.opset_import[0].version == 17
    assert edge_types(model) == {HALF}
    assert {t.data_type for t in model.graph.initializer if len(t.dims) == 4} == {HALF}
    assert {made for _, made in node_types(model)["Conv"]} == {HALF}
    assert dims(model.graph.input[0]) == [1, 3, "height", "width"]
    session = shop.session("resnet_half.fp16.onnx")
    for height, width in ((64, 64), (96, 128), (160, 65), (131, 97)):
        image = RNG.normal(size=(1, 3, height, width)).astype(np.float16)
        (logits,) = session.run(["logits"], {"input": image})
        assert logits.shape == (1, 1000)
        assert np.isfinite(logits).all()
    shapes = of(shop.answer, "resnet_half")["artifacts"][0]["parity"]["shapes"]
    assert len({s["height"] for s in shapes}) >= 3
    assert len({s["width"] for s in shapes}) >= 3


def test_the_batch_is_still_dynamic_after_onnxsim(shop: Workshop) -> None:
    model = shop.graph("dynamic_batch.fp32.onnx")
    assert dims(model.graph.input[0]) == ["batch_size", 3, 64, 64]
    assert dims(model.graph.output[0]) == ["batch_size", 3]
    assert "BatchNormalization" not in {n.op_type for n in model.graph.node}  # it went into the Convs
    session = shop.session("dynamic_batch.fp32.onnx")
    images = RNG.normal(size=(16, 3, 64, 64)).astype(np.float32)
    (together,) = session.run(None, {"input": images})
    for batch in (1, 3, 8, 16):
        (some,) = session.run(None, {"input": images[:batch]})
        assert some.shape == (batch, 3)
        np.testing.assert_allclose(some, together[:batch], rtol=1e-4, atol=1e-5)


def test_static_batches_lie_side_by_side_and_the_dynamic_one_is_not_one_of_them(shop: Workshop) -> None:
    images = RNG.normal(size=(8, 3, 64, 64)).astype(np.float32)
    (together,) = shop.session("static_batches.fp32.onnx").run(None, {"input": images})
    assert together.shape == (8, 3)
    for batch in (1, 4, 8):
        name = f"static_batches.fp32.batch{batch}.onnx"
        model = shop.graph(name)
        assert dims(model.graph.input[0]) == [batch, 3, 64, 64]
        assert dims(model.graph.output[0]) == [batch, 3]
        session = shop.session(name)
        (some,) = session.run(None, {"input": images[:batch]})
        np.testing.assert_allclose(some, together[:batch], rtol=1e-4, atol=1e-5)
        with pytest.raises(Exception, match=r"INVALID_ARGUMENT.*invalid dimensions"):
            session.run(None, {"input": images[:2]})
    assert dims(shop.graph("static_batches.fp32.onnx").graph.input[0])[0] == "batch"


def test_resnet18_at_opset_11_agrees_on_20_random_inputs_as_the_old_script_asked(shop: Workshop) -> None:
    (artifact,) = of(shop.answer, "resnet18_opset11")["artifacts"]
    parity = artifact["parity"]
    assert (parity["samples"], set(parity["samples_per_shape"])) == (20, {20})
    assert parity["tolerance"] == "rtol 1e-05, atol 1e-05"
    assert parity["outputs"]["output"]["headroom"] >= 1
    model = shop.graph("resnet18_opset11.fp32.onnx")
    assert model.opset_import[0].version == 11
    assert [v.name for v in model.graph.input] == ["input"]
    assert [v.name for v in model.graph.output] == ["output"]
    assert Counter(n.op_type for n in model.graph.node)["Conv"] == 20  # 17, and 3 beside them
    module = _resnet18()
    session = shop.session("resnet18_opset11.fp32.onnx")
    for _ in range(20):
        image = RNG.normal(size=(1, 3, 64, 64)).astype(np.float32)
        with torch.no_grad():
            want = module(torch.from_numpy(image)).logits.numpy()
        (got,) = session.run(["output"], {"input": image})
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def _resnet18() -> torch.nn.Module:
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(
        layer_type="basic", depths=[2, 2, 2, 2], hidden_sizes=[64, 128, 256, 512], num_labels=1000
    )
    torch.manual_seed(0)
    return ResNetForImageClassification(config).eval()


def test_alexnets_initializers_are_inputs_and_its_list_of_outputs_is_named(shop: Workshop) -> None:
    model = shop.graph("alexnet.fp32.onnx")
    graph = model.graph
    weights = {t.name: tuple(t.dims) for t in graph.initializer}
    assert [v.name for v in graph.input if v.name not in weights] == ["image"]
    assert set(weights) < {v.name for v in graph.input}
    assert [v.name for v in graph.output] == ["logits", "embedding"]
    assert [dims(v) for v in graph.output] == [["batch", 1000], ["batch", 4096]]
    kernels = [weights[n.input[1]] for n in graph.node if n.op_type == "Conv"]
    assert kernels == [
        (64, 3, 11, 11), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3)
    ]  # fmt: skip
    dense = [sorted(weights[n.input[1]]) for n in graph.node if n.op_type in ("Gemm", "MatMul")]
    assert dense == [[4096, 9216], [4096, 4096], [1000, 4096]]
    session = shop.session("alexnet.fp32.onnx")
    for batch in (1, 3):
        image = RNG.normal(size=(batch, 3, 224, 224)).astype(np.float32)
        logits, embedding = session.run(None, {"image": image})
        assert (logits.shape, embedding.shape) == ((batch, 1000), (batch, 4096))


def test_alexnets_constants_are_folded_and_a_weight_can_be_given_anew(shop: Workshop) -> None:
    model = shop.graph("alexnet.fp32.onnx")
    known = {t.name for t in model.graph.initializer}
    for node in model.graph.node:
        assert set(node.input) - known - {""}, f"{node.op_type} is computed from constants alone"
        assert node.op_type not in ("Dropout", "Identity", "Constant")
    bias = next(n.input[2] for n in model.graph.node if n.op_type == "Gemm" and "logits" in n.output)
    image = RNG.normal(size=(1, 3, 224, 224)).astype(np.float32)
    session = shop.session("alexnet.fp32.onnx")
    (plain,) = session.run(["logits"], {"image": image})
    (other,) = session.run(["logits"], {"image": image, bias: np.full(1000, 3.0, np.float32)})
    own = onnx.numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == bias))
    np.testing.assert_allclose(other - 3.0, plain - own, atol=1e-5)


def test_an_existing_file_keeps_its_opset_and_is_its_own_reference(shop: Workshop) -> None:
    source = onnx.load(str(EXAMPLES / "exported_elsewhere.onnx"))
    for name in ("existing_onnx.fp32.onnx", "existing_onnx.fp16.onnx"):
        model = shop.graph(name)
        assert model.opset_import[0].version == source.opset_import[0].version == 13
        assert edge_types(model) == {FLOAT}
        assert dims(model.graph.input[0]) == ["batch", 3, 16, 16]
    assert {made for _, made in node_types(shop.graph("existing_onnx.fp16.onnx"))["Conv"]} == {HALF}
    assert dims(shop.graph("existing_onnx.fp16.batch1.onnx").graph.input[0]) == [1, 3, 16, 16]
    image = RNG.normal(size=(5, 3, 16, 16)).astype(np.float32)
    (want,), (got,) = (
        s.run(None, {"image": image})
        for s in (_session(EXAMPLES / "exported_elsewhere.onnx"), shop.session("existing_onnx.fp32.onnx"))
    )
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def _session(path: Path):
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(
    ("name", "mask", "batches"),
    [
        pytest.param("speech_encoder", ["batch", 1, "sequence"], (1, 1, 4), id="dynamic-batch"),
        pytest.param("speech_encoder_batch1", [1, 1, "sequence"], (1, 1, 1), id="batch-of-1"),
    ],
)
def test_a_speech_encoders_engine_has_the_profile_of_the_old_command(
    shop: Workshop, name: str, mask: list[int | str], batches: tuple[int, int, int]
) -> None:
    variant = ".batch1" if name.endswith("batch1") else ""
    source = f"{name}.fp16{variant}.onnx"
    graph = shop.graph(source).graph
    assert [dims(v) for v in graph.input] == [[mask[0], "sequence", 80], mask]
    assert not any("Sequence" in n.op_type for n in graph.node)  # TensorRT has none
    step = _engine_step(shop, name)
    (profile,) = step.profiles
    low, opt, high = batches
    shapes = profile_shapes(step.inputs, profile)
    assert shapes == {
        "speech": ((low, 20, 80), (opt, 1000, 80), (high, 2000, 80)),
        "mask": ((low, 1, 20), (opt, 1, 1000), (high, 1, 2000)),
    }
    engine = next(a for a in of(shop.answer, name)["artifacts"] if a["kind"] == "engine")
    if engine["status"] == "skipped":
        pytest.skip(engine["diagnostics"][0]["message"])
    assert engine["name"] == f"{name}.fp16{variant}.tensorrt-rtx.engine"
    kit = load_kit("tensorrt-rtx")
    builder, network, _parser = parse(kit, shop.path(source))
    built = kit.profile(shapes).to_trt(builder, network)  # what TensorRT itself makes of it
    for tensor, sizes in shapes.items():
        assert tuple(tuple(s) for s in built.get_shape(tensor)) == sizes
    told = shop.project.run("inspect", str(shop.path(engine["name"])), "--format", "json").report
    assert (told["kind"], told["backend"]) == ("engine", "tensorrt-rtx")
    if "profiles" in told:  # which takes a GPU
        assert told["profiles"][0]["mask"] == {
            "min": [low, 1, 20], "opt": [opt, 1, 1000], "max": [high, 1, 2000],
        }  # fmt: skip


def _engine_step(shop: Workshop, name: str) -> BuildEngine:
    recipe = load(shop.project.folder / f"examples/{name}.yaml")
    (step,) = (a.step for a in plan(recipe).actions if isinstance(a.step, BuildEngine))
    return step


def test_the_mask_decides_what_a_speech_encoder_attends_to(shop: Workshop) -> None:
    session = shop.session("speech_encoder.fp32.onnx")
    for batch, frames in ((1, 20), (2, 333), (4, 2000)):
        speech = RNG.normal(size=(batch, frames, 80)).astype(np.float32)
        heard = np.ones((batch, 1, frames), bool)
        (every,) = session.run(None, {"speech": speech, "mask": heard})
        assert every.shape == (batch, ((frames - 1) // 2 - 1) // 2, 64)
        heard[:, :, frames // 2 :] = False
        (some,) = session.run(None, {"speech": speech, "mask": heard})
        assert np.abs(some - every).max() > 1e-3
        speech[:, -1] += 100  # a frame that is not heard, beyond the reach of those that are
        (same,) = session.run(None, {"speech": speech, "mask": heard})
        np.testing.assert_allclose(same[:, 0], some[:, 0], rtol=1e-4, atol=1e-5)
