"""From an ONNX file to a network, or to what the parser refuses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from modelbuild.base.errors import Diagnostic, StepError
from modelbuild.engines.kit import Kit
from modelbuild.engines.profiles import Shape
from modelbuild.engines.words import failed, plain

# The parser reports every node that it cannot take; a model of 300 such nodes has one problem.
_MOST_ERRORS = 5


def parse(kit: Kit, model: Path) -> tuple[Any, Any, Any]:
    """Builder, network and parser of an ONNX file.

    Not ``NetworkFromOnnxPath``: it parses in the same way and then keeps the parser, which alone
    knows which node was refused, to itself.
    """
    trt = kit.trt
    with kit.own_words(f"{kit.name} cannot start"):
        builder, network = kit.polygraphy.create_network(strongly_typed=True)
        logger = kit.polygraphy.get_trt_logger()
        trt.init_libnvinfer_plugins(logger, "")
        parser = trt.OnnxParser(network, logger)
    taken = parser.parse_from_file(str(model))
    found = [parser.get_error(i) for i in range(parser.num_errors)]
    if found:
        raise StepError(_parser_errors(kit, found))
    # A file of noise parses, as it happens, into a network of nothing.
    if not taken or network.num_outputs == 0:
        raise failed(f"{kit.name} finds no model in {model.name}", "is it a valid ONNX file?")
    return builder, network, parser


def _parser_errors(kit: Kit, errors: Sequence[Any]) -> list[Diagnostic]:
    said = []
    for error in errors[:_MOST_ERRORS]:
        code = error.code().name
        operator = error.node_operator()
        if operator:
            name = error.node_name()
            node = f"node `{name}`" if name else f"node {error.node()} (it has no name)"
            subject = f"{node}, operator {operator}"
        else:
            subject = "the model"
        reason = plain(error.desc()) or "no reason given"
        hint = None
        if operator and ("UNSUPPORTED" in code or "Plugin not found" in reason):
            hint = (
                f"{kit.title} has no {operator} like this one: "
                "try another opset, or write that part of the model with other operators"
            )
        message = f"{kit.name} refuses {subject}: {reason} ({code})"
        said.append(Diagnostic("engine-failed", message, hint))
    more = len(errors) - len(said)
    if more:
        said.append(Diagnostic("engine-failed", f"{kit.name} refuses {more} more nodes"))
    return said


def network_inputs(network: Any) -> dict[str, Shape]:
    """Name and shape of the network's inputs."""
    shapes = {}
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        if tensor.is_shape_tensor:
            raise failed(
                f"the values of input `{tensor.name}` decide shapes inside the model, "
                f"and a profile has ranges for axes only",
                "make these values constants of the model, or axes of another input",
            )
        shapes[tensor.name] = tuple(tensor.shape)
    return shapes
