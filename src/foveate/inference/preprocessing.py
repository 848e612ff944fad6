"""uint8 pixels -> the numbers a network is fed. The only such function: training and prediction share it.

Knows:   the model's normalisation, by its Contract.
Ignores: where the pixels were cut from, and which network wants them.
"""

import numpy as np
from jaxtyping import Float32, UInt8

from foveate.types import Contract


def prepare(pixels: UInt8[np.ndarray, "*n S T 3"], contract: Contract) -> Float32[np.ndarray, "*n 3 S T"]:
    """Normalise each colour and put the colours first.

    Args:
        pixels: sRGB levels, 0 to 255, of one view or of a stack of windows.
        contract: says what is subtracted and what the difference is divided by.

    Returns:
        (level - mean) / std, contiguous.

    Source: per-channel normalisation as the ImageNet encoders were trained with; its values are the recipe's.
    """
    scale = np.reciprocal(np.array(contract.std, np.float32))
    shift = -np.array(contract.mean, np.float32) * scale
    prepared = np.empty((*pixels.shape[:-3], 3, *pixels.shape[-3:-1]), np.float32)
    for colour in range(3):  # one by one: nothing of the picture's size is held beside the answer
        plane = prepared[..., colour, :, :]
        np.multiply(pixels[..., colour], scale[colour], out=plane)
        plane += shift[colour]
    return prepared
