"""What a report tells of an int8 file."""

from __future__ import annotations

from modelbuild.views.reporting import noise, tables
from modelbuild.views.reporting.values import Conversion, ShownArtifact, ShownNoise


def _artifact(conversion: Conversion) -> ShownArtifact:
    return ShownArtifact(
        name="net.int8.onnx", kind="onnx", precision="int8", status="built", conversion=conversion
    )


def test_each_int8_node_has_a_bar_the_noisiest_first_with_its_line() -> None:
    rows = [ShownNoise(node=f"n{i}", op_type="Conv", sqnr=20.0 + i, source=f"net.py:{i}") for i in range(70)]
    found = noise.plot(rows)
    assert found is not None
    values = found["data"]["values"]
    assert values[0] == {
        "node": "n0", "op_type": "Conv", "sqnr": 20.0, "text": "20.0 dB", "line": "net.py:0",
    }  # fmt: skip
    assert noise.left_out(rows) == 70 - len(values)
    assert noise.plot([ShownNoise(node="n", op_type="Conv")]) is None


def test_what_is_kept_is_told_with_what_it_computes_in() -> None:
    told = str(tables.kept(_artifact(Conversion(method="mixed", kept=["a"], outside="fp16")), []))
    assert "1 node kept in fp16." in told
    more = Conversion(method="static", outside="fp16", kept_fp32=["b", "c"])
    assert "2 nodes in fp32, as fp16 does not hold what they compute." in str(
        tables.kept(_artifact(more), [])
    )
