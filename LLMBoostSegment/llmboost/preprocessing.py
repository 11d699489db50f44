"""From images as they are stored to what a network sees: canonical axes, the model's spacing, its intensities."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .card import Normalization, Preprocessing
from .image import Image, resample, resample_to_spacing, to_canonical


def preprocess(channels: Sequence[Image], steps: Preprocessing) -> Image:
    """The network's input: float32 [c, i, j, k] on axes (R, A, S) with the model's spacing.

    Args:
        channels: one image a channel; those after the first are brought onto the first one's grid.
        steps: from the model's card.

    Raises:
        ValueError: another number of channels than the model takes.
    """
    if len(channels) != steps.channels:
        raise ValueError(f"{len(channels)} channels given, the model takes {steps.channels}")
    first = channels[0]
    arrays = []
    for image, normalization in zip(channels, steps.normalization, strict=True):
        if not image.same_grid(first):
            image = resample(image, first, "linear")
        work = to_canonical(image)
        work = resample_to_spacing(work.with_array(work.array.astype(np.float32)), steps.spacing)
        arrays.append(normalize(work.array, normalization))
    return work.with_array(np.stack(arrays))


def normalize(array: np.ndarray, how: Normalization) -> np.ndarray:
    """Intensities of one channel on the network's scale (about zero mean and unit spread), float32."""
    array = array.astype(np.float32)
    if how.kind == "window":
        return (np.clip(array, how.low, how.high) - how.mean) / how.std
    # plain floats: NumPy's own would turn the array into float64
    low, high = (float(value) for value in np.percentile(array, (0.5, 99.5)))
    array = np.clip(array, low, high)
    # a constant image has no spread to divide by
    return (array - float(array.mean())) / max(float(array.std()), 1e-6 * max(abs(high), 1e-6))
