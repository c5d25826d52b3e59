"""The example with real data: trained, calibrated and proven on pictures that are not the same ones."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest

from modelbuild.engines.kit import load as load_kit
from modelbuild.engines.parsing import parse
from tests.conftest import Answer
from tests.examples.workshop import Workshop, dims, of

pytestmark = pytest.mark.slow
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

RECIPE = "examples/digits/digits.yaml"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """Trained by the script, and built once."""
    made = Workshop.at(tmp_path_factory.mktemp("digits"))
    script = made.project.folder / "examples/digits/digits_train.py"
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("of 450 held-out pictures are told right\n")
    assert 91 < float(done.stdout.partition("%")[0]) < 97  # some are told wrong, or nothing could differ
    made.answer = _build(made)
    yield made
    made.clear()


def _build(shop: Workshop) -> Answer:
    return shop.project.run("build", RECIPE, "--format", "json")


def _data(shop: Workshop) -> Path:
    return shop.project.folder / "examples/digits/data"


def _right(shop: Workshop, artifact: str) -> float:
    """The share of held-out pictures that a file tells right, where nothing fuses its pairs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(shop.path(artifact)), options)
    images = np.load(_data(shop) / "held_out.npz")["image"]
    (logits,) = session.run(["logits"], {"image": images})
    return float((logits.argmax(-1) == np.load(_data(shop) / "held_out_labels.npy")).mean())


def test_no_picture_is_both_calibrated_with_and_judged_by(shop: Workshop) -> None:
    files = sorted((_data(shop) / "calibration").glob("*.npz"))
    calibration = np.concatenate([np.load(file)["image"] for file in files])
    held_out = np.load(_data(shop) / "held_out.npz")["image"]
    assert (calibration.shape, held_out.shape) == ((256, 1, 8, 8), (450, 1, 8, 8))
    seen = {picture.tobytes() for picture in calibration}
    assert not seen & {picture.tobytes() for picture in held_out}
    assert calibration.min() == held_out.min() == 0
    assert calibration.max() == held_out.max() == 1


def test_both_files_are_proven_and_nothing_is_to_be_warned_of(shop: Workshop) -> None:
    recipe = of(shop.answer, "digits")
    assert recipe["status"] == "ok", recipe
    fp32, int8 = (a for a in recipe["artifacts"] if a["kind"] == "onnx")
    assert fp32["parity"]["passed"]
    assert int8["parity"]["passed"]
    assert int8["parity"]["evidence"] == "int8-simulated"
    assert "warning" not in {d["level"] for a in recipe["artifacts"] for d in a["diagnostics"]}


def test_every_product_of_the_int8_file_is_one_of_dequantized_values(shop: Workshop) -> None:
    model = shop.graph("digits.int8.onnx")
    assert dims(model.graph.input[0]) == ["batch", 1, 8, 8]
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    products = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    assert len(products) == 6
    kept = of(shop.answer, "digits")["artifacts"][1].get("conversion", {}).get("kept", [])
    for node in products:
        if node.name not in kept:
            assert [made[name] for name in node.input[:2]] == ["DequantizeLinear"] * 2
    kinds = {tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) == 4}
    assert onnx.TensorProto.INT8 in kinds


def test_the_int8_file_tells_as_many_held_out_pictures_right(shop: Workshop) -> None:
    fp32, int8 = _right(shop, "digits.fp32.onnx"), _right(shop, "digits.int8.onnx")
    assert 0.91 < fp32 < 0.97
    assert int8 >= fp32 - 0.01


def test_the_engine_is_built_of_the_int8_file(shop: Workshop) -> None:
    (engine,) = (a for a in of(shop.answer, "digits")["artifacts"] if a["kind"] == "engine")
    if engine["status"] == "skipped":
        pytest.skip(engine["diagnostics"][0]["message"])
    assert engine["name"] == "digits.int8.tensorrt-rtx.engine"
    assert shop.path(engine["name"]).stat().st_size > 0
    _builder, network, _parser = parse(load_kit("tensorrt-rtx"), shop.path("digits.int8.onnx"))
    layers = [str(network.get_layer(i).type) for i in range(network.num_layers)]
    assert sum("QUANTIZE" in layer and "DEQUANTIZE" not in layer for layer in layers) > 5


def test_with_other_labels_files_are_proven_anew_and_nothing_else_is_done(shop: Workshop) -> None:
    file = _data(shop) / "held_out_labels.npy"
    labels = np.load(file)
    other = labels.copy()
    other[0] = (other[0] + 1) % 10
    np.save(file, other)
    try:
        again = _build(shop)
    finally:
        np.save(file, labels)
    assert of(again, "digits")["status"] == "ok"
    ran = re.findall(
        r"^\[\d+/\d+\] \S+: (.+?) \(data/held_out_labels.npy changed", again.stderr, re.MULTILINE
    )
    assert {"verify fp32", "verify int8"} <= set(ran) <= {"verify fp32", "verify int8", "int8"}


def test_the_function_refuses_who_errs_on_more_than_one_picture_in_a_hundred(shop: Workshop) -> None:
    script = (
        "import numpy as np, digits_checks as d\n"
        "labels = np.load(d.DATA / 'held_out_labels.npy')\n"
        "def wrong(count):\n"
        "    told = labels.copy(); told[:count] = (told[:count] + 1) % 10\n"
        "    return [np.eye(10, dtype=np.float32)[told]]\n"
        "print(*(d.as_accurate(wrong(2), wrong(n)) for n in (0, 2, 6, 7)))\n"
        "print(d.as_accurate([np.zeros((3, 10))], [np.ones((3, 10))]))\n"
    )
    folder = shop.project.folder / "examples/digits"
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.stdout.split() == ["True", "True", "True", "False", "True"], done.stderr
