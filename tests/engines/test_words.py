"""Errors as TensorRT-RTX says them, and as they are told."""

from __future__ import annotations

import pytest

from modelbuild.engines.words import plain


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(
            'creator && "Plugin not found, are the plugin name, version, and namespace correct?"',
            "Plugin not found, are the plugin name, version, and namespace correct?",
            id="a-condition",
        ),
        pytest.param(
            "Invalid Node - sum\n"
            "ITensor::getDimensions: Error Code 4: API Usage Error (sum: ElementWiseOperation SUM must have "
            "same input types. But they are of types Float and Half. In validateTypes at "
            "/_src/optimizer/common/nodes/elementWiseNode.cpp:40)\n"
            "[checkMacros.cpp::catchCudaError::250] Error Code 1: Cuda Runtime (In catchCudaError at "
            "/_src/common/dispatch/checkMacros.cpp:250 (cudaError 35: CUDA driver version is insufficient "
            "for CUDA runtime version))",
            "sum: ElementWiseOperation SUM must have same input types. But they are of types Float and Half",
            id="between-noise",
        ),
        pytest.param(
            "IBuilder::buildSerializedNetwork: Error Code 4: API Usage Error (IMatrixMultiplyLayer product: "
            "product: attempt to multiply two matrices with mismatching dimensions In processCheck at "
            "/_src/optimizer/shapeof/graphShapeAnalyzer.cpp:1066 In analyzeShapes at "
            "/_src/optimizer/shapeof/graphShapeAnalyzer.cpp:2825)",
            "IMatrixMultiplyLayer product: product: attempt to multiply two matrices with mismatching "
            "dimensions",
            id="two-places",
        ),
        pytest.param(
            "IRuntime::deserializeCudaEngine: Error Code 1: Cuda Runtime (In ScopedCudaStream at "
            "/_src/common/dispatch/cudaResources.cpp:25 (cudaError 35: CUDA driver version is insufficient "
            "for CUDA runtime version))",
            "cudaError 35: CUDA driver version is insufficient for CUDA runtime version",
            id="a-cuda-error",
        ),
        pytest.param("false", "", id="nothing"),
    ],
)
def test_an_error_is_told_without_its_cpp(said: str, told: str) -> None:
    assert plain(said) == told
