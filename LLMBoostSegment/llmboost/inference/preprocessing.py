"""From images as they are stored to what a network sees: canonical axes, the model's spacing, its intensities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..card import Normalization, Preprocessing
from ..io.image import Image, resample, resample_to_spacing, to_canonical


def preprocess(channels: Sequence[Image], preprocessing: Preprocessing) -> Image:
    """The network's input: float32 [c, i, j, k] on axes (R, A, S) with the model's spacing.

    A 2D model's slices keep their distance, and lie across the axis that its card names (see :func:`orient`).

    Args:
        channels: one image a channel; those after the first are brought onto the first one's grid.
        steps: from the model's card.

    Raises:
        ValueError: another number of channels than the model takes.
    """
    if len(channels) != preprocessing.channels:
        raise ValueError(f"{len(channels)} channels given, the model takes {preprocessing.channels}")
    result = None
    for n, (image, normalization) in enumerate(zip(channels, preprocessing.normalization, strict=True)):
        if not image.same_grid(channels[0]):
            image = resample(image, channels[0], "linear")
        work = orient(image, preprocessing)
        work = resample_to_spacing(work, _spacing(work, preprocessing))
        if result is None:
            result = work.with_array(np.empty((preprocessing.channels, *work.shape), np.float32))
        result.array[n] = work.array
        normalize(result.array[n], normalization)
    assert result is not None
    return result


def orient(image: Image, preprocessing: Preprocessing) -> Image:
    """The image as views along the network's axes: Right, Anterior, Superior.

    For a 2D model, the axis across the image's slices (that of one voxel, else that of the largest spacing) takes the
    place of the one across the model's, whatever its direction in the patient.
    """
    image, wanted = to_canonical(image), preprocessing.slice_axis
    if wanted is None or image.shape[wanted] == 1:
        return image
    # equal spacings, and only they, leave the choice to the model
    distances = np.round(image.spacing, 3) + np.eye(3)[wanted] * 1e-3
    across = image.shape.index(1) if 1 in image.shape else int(np.argmax(distances))
    axes = [axis for axis in range(3) if axis != across]
    axes.insert(wanted, across)
    r, a, s = (image.spacing[axis] for axis in axes)
    return image.on_grid(image.array.transpose(axes), (r, a, s), image.origin, image.direction[:, axes])


def longest_axis(work: Image, preprocessing: Preprocessing) -> int:
    """The axis (0, 1, 2: R, A, S) along which most of the model's patches lie in a row: across it, slabs are small."""
    return int(np.argmax(np.array(work.shape) / preprocessing.patch_size))


def mirrorings(axes: Sequence[int]) -> list[tuple[int, ...]]:
    """Each choice of the axes (0, 1, 2: R, A, S) along which an image is as usual as its mirror image; none first."""
    return [chosen for count in range(len(axes) + 1) for chosen in combinations(axes, count)]


def _spacing(image: Image, preprocessing: Preprocessing) -> list[float]:
    pairs = zip(image.spacing, preprocessing.spacing, strict=True)
    return [own if n == preprocessing.slice_axis else mm for n, (own, mm) in enumerate(pairs)]


def normalize(array: np.ndarray, how: Normalization) -> None:
    """Bring the intensities of one channel to the network's scale (about zero mean and unit spread), in place.

    Args:
        array: float32; it may be as large as memory allows, so no more than one copy is made.
    """
    if how.kind == "window":
        low, high, mean, std = how.low, how.high, how.mean, how.std
        np.clip(array, low, high, out=array)
    else:
        # plain floats: NumPy's own would turn the array into float64
        low, high = (float(value) for value in np.percentile(array, (0.5, 99.5)))
        np.clip(array, low, high, out=array)
        # a constant image has no spread to divide by
        mean, std = float(array.mean()), max(float(array.std()), 1e-6 * max(abs(high), 1e-6))
    array -= mean
    array /= std
