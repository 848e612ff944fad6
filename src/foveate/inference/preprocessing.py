"""Convert uint8 pixels to the input of a network. Training and prediction share this one function.

Knows:   the model's normalisation, from its contract.
Ignores: where the pixels were cut out, and which network they are for.
"""

import numpy as np
from jaxtyping import Float32, UInt8

from foveate.types import ModelContract


def normalise(
    pixels: UInt8[np.ndarray, "*n S T 3"], contract: ModelContract
) -> Float32[np.ndarray, "*n 3 S T"]:
    """Normalise each colour and move the colours to the front.

    Args:
        pixels: sRGB levels, 0 to 255, of one view or of a stack of windows.
        contract: states the mean and the standard deviation of each colour.

    Returns:
        (level - mean) / std, contiguous.

    Source: per-channel normalisation as in the training of ImageNet encoders; the recipe sets its values.
    """
    scale = np.reciprocal(np.array(contract.std, np.float32))
    shift = -np.array(contract.mean, np.float32) * scale
    normalised = np.empty((*pixels.shape[:-3], 3, *pixels.shape[-3:-1]), np.float32)
    for colour in range(3):  # one colour at a time, so that no temporary array is as large as the result
        plane = normalised[..., colour, :, :]
        np.multiply(pixels[..., colour], scale[colour], out=plane)
        plane += shift[colour]
    return normalised
