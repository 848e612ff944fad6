"""Rewrite the decoder blocks of an OpenVINO graph to equal ones that need less arithmetic.

Knows:   that a convolution of enlarged features is a transposed convolution of the small ones.
Ignores: which network the graph is of, and how it is run.

A decoder block doubles the features x by repeating pixels, concatenates a skip connection s, and convolves
both with a 3 x 3 kernel. A convolution is linear, so that this is conv(double(x)) + conv(s); and
conv(double(x)) is a transposed convolution of x with a 4 x 4 kernel and a stride of 2, which needs
4 multiplications instead of 9. The sums are the same up to rounding. The graph is rewritten when a package is
opened, so that older packages also become faster (decision 0021). The paper's U-Nets have no such block.

Shape letters: O channels out, I channels in.
"""

from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32

if TYPE_CHECKING:
    import openvino

DOUBLING = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
"""Attributes of an Interpolate that repeats each pixel, if its scales are 2."""

PADDED = {"strides": [1, 1], "dilations": [1, 1], "pads_begin": [1, 1], "pads_end": [1, 1]}
"""Attributes of a 3 x 3 convolution that keeps the size."""


def rewrite(module: ModuleType, model: "openvino.Model") -> int:
    """Rewrite all decoder blocks of a graph in place; return how many there were.

    Args:
        module: OpenVINO.
        model: a graph with float weights. All other nodes stay unchanged.
    """
    blocks = [node for node in model.get_ordered_ops() if _is_block(node)]
    for convolution in blocks:
        _rewrite_block(module, convolution)
    return len(blocks)


def transposed_kernel(kernel: Float32[np.ndarray, "O I 3 3"]) -> Float32[np.ndarray, "I O 4 4"]:
    """Return the kernel of stride 2 that equals doubling by repetition and then a 3 x 3 convolution.

    A pixel of x becomes 2 x 2 pixels, each of which reaches 3 x 3: the four kernels, shifted, are summed.
    """
    total = np.zeros((*kernel.shape[:2], 4, 4), np.float64)
    flipped = kernel[:, :, ::-1, ::-1]  # a transposed convolution applies its kernel mirrored
    for row in (0, 1):
        for column in (0, 1):
            total[:, :, row : row + 3, column : column + 3] += flipped
    return total.swapaxes(0, 1).astype(np.float32)


def _is_block(node: "openvino.Node") -> bool:
    """Return whether a node is the 3 x 3 convolution of doubled features and a skip connection."""
    if node.get_type_name() != "Convolution" or not PADDED.items() <= node.get_attributes().items():
        return False
    concat, weights = (value.get_node() for value in node.input_values())
    if concat.get_type_name() != "Concat" or len(concat.input_values()) != 2:
        return False
    is_used_once = all(
        target.get_node().get_type_name() in ("Convolution", "ShapeOf")
        for target in concat.output(0).get_target_inputs()
    )
    enlarged, skip = concat.input_values()
    return (
        is_used_once
        and _is_doubling(enlarged.get_node())
        and list(node.input_value(1).get_shape())[2:] == [3, 3]
        and skip.get_partial_shape()[1].is_static
        and constant(weights) is not None
    )


def _is_doubling(node: "openvino.Node") -> bool:
    if node.get_type_name() != "Interpolate" or not DOUBLING.items() <= node.get_attributes().items():
        return False
    scales = constant(node.input_value(1).get_node())
    return (
        node.get_attributes()["shape_calculation_mode"] == "scales"
        and scales is not None
        and scales.tolist() == [1, 1, 2, 2]
    )


def constant(node: "openvino.Node") -> np.ndarray | None:
    """Return a constant's values in float32, cast or not; None if the node is not a constant."""
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    return node.get_data().astype(np.float32) if node.get_type_name() == "Constant" else None


def _rewrite_block(module: ModuleType, convolution: "openvino.Node") -> None:
    """Replace a block by a transposed convolution, a convolution and their sum."""
    ops = module.opset13
    concat, weights = (value.get_node() for value in convolution.input_values())
    enlarged, skip = concat.input_values()
    kernel = constant(weights)
    assert kernel is not None  # `_is_block` has checked it
    channels = kernel.shape[1] - skip.get_partial_shape()[1].get_length()
    small = enlarged.get_node().input_value(0)
    lower = ops.convolution_backprop_data(
        small, ops.constant(transposed_kernel(kernel[:, :channels])), [2, 2], None, [1, 1], [1, 1], [1, 1]
    )
    upper = ops.convolution(
        skip, ops.constant(np.ascontiguousarray(kernel[:, channels:])), [1, 1], [1, 1], [1, 1], [1, 1]
    )
    total = ops.add(lower, upper)
    convolution.output(0).replace(total.output(0))
