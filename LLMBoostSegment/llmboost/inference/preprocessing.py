"""From images as they are stored to what a network sees: canonical axes, the model's spacing, its intensities."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.special import expit

from ..card import STORED, Normalization, Preprocessing
from ..io.image import Image, resample_to_spacing, to_canonical
from .content import content, foreground_box, on_grid_of
from .cubic import resize_cubic
from .linear import resize_linear, resize_to

LEAST = 1e-8  # that values spread, where one divides by it


def preprocess(channels: Sequence[Image], preprocessing: Preprocessing) -> Image:
    """The network's input: float32 [c, i, j, k] on axes (R, A, S) with the model's spacing.

    A 2D model's slices keep their distance, and lie across the axis that its card names (see :func:`orient`).

    Args:
        channels: one image a channel; those after the first are brought onto the first one's grid.
        preprocessing: from the model's card.

    Raises:
        ValueError: another number of channels than the model takes.
    """
    if len(channels) != preprocessing.channels:
        raise ValueError(f"{len(channels)} channels given, the model takes {preprocessing.channels}")
    within = _content(channels, preprocessing)
    result = None
    for n, image in enumerate(channels):
        work = orient(on_grid_of(image, channels[0]), preprocessing)
        if preprocessing.normalize == "before":
            work = work.with_array(work.array.astype(np.float32))
            for step in preprocessing.steps(n):
                normalize(work.array, step, within)
        work = _resized(work, preprocessing)
        if result is None:
            result = work.with_array(np.empty((preprocessing.channels, *work.shape), np.float32))
        result.array[n] = work.array
    assert result is not None
    if preprocessing.normalize == "after":
        normalize_channels(result.array, preprocessing)
    if preprocessing.foreground is not None and preprocessing.foreground.when == "last":
        result = result.cut(foreground_box(result.array, preprocessing.foreground))
    return result


def normalize_channels(array: np.ndarray, preprocessing: Preprocessing) -> None:
    """Bring intensities [c, i, j, k], float32, to the network's scale, in place."""
    if preprocessing.joint:
        for step in preprocessing.steps(0):
            normalize(array, step)
        return
    for n, channel in enumerate(array):
        for step in preprocessing.steps(n):
            normalize(channel, step)


def wanted_spacing(image: Image, preprocessing: Preprocessing) -> list[float]:
    """What the model wants of an oriented image, in mm along its axes; across a 2D model's slices, the image's own."""
    pairs = zip(image.spacing, preprocessing.spacing, strict=True)
    return [own if n == preprocessing.slice_axis else mm for n, (own, mm) in enumerate(pairs)]


def _resized(work: Image, preprocessing: Preprocessing) -> Image:
    if preprocessing.resampling == "none":
        return work
    if preprocessing.resampling == "fit":
        across = preprocessing.slice_axis
        return resize_to(work, [work.shape[n] if n == across else m for n, m in enumerate(preprocessing.patch_size)])
    if preprocessing.resampling == "linear":
        return resize_linear(work, wanted_spacing(work, preprocessing), preprocessing.slack)
    resize = resize_cubic if preprocessing.resampling == "cubic" else resample_to_spacing
    return resize(work, wanted_spacing(work, preprocessing))


def _content(channels: Sequence[Image], preprocessing: Preprocessing) -> np.ndarray | None:
    """Where the content of a case lies, on the network's axes, if a normalization asks for that."""
    if all(how.kind != "standard-content" for how in preprocessing.normalization):
        return None
    mask = content([on_grid_of(image, channels[0]) for image in channels])
    return orient(channels[0].with_array(mask), preprocessing).array


def orient(image: Image, preprocessing: Preprocessing) -> Image:
    """The image as views along the network's axes: Right, Anterior, Superior, others that its card names, or those of
    the array as it is stored.

    For a 2D model, the axis across the image's slices (that of one voxel, else that of the largest spacing) takes the
    place of the one across the model's, whatever its direction in the patient.
    """
    if preprocessing.orientation == STORED:
        return image
    image, wanted = to_canonical(image, preprocessing.orientation), preprocessing.slice_axis
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


def normalize(array: np.ndarray, how: Normalization, within: np.ndarray | None = None) -> None:
    """Bring intensities to the network's scale (about zero mean and unit spread), in place.

    Args:
        array: float32, of one channel or several; it may be as large as memory allows, so one copy is made at most.
        within: where the case's content lies, for a kind of normalization that asks for it.
    """
    if how.kind in ("standard-content", "standard-nonzero"):
        within = array != 0 if how.kind == "standard-nonzero" else within
        if within is not None and within.any():
            inside = array[within]
            array[within] = (inside - inside.mean()) / max(inside.std(), LEAST)
        return
    if how.kind == "sigmoid":
        expit(array, out=array)
        return
    if how.kind == "tanh":
        np.tanh(array / how.std, out=array)
        array *= how.std
        return
    mean, std = how.mean, how.std
    if how.kind == "window":
        np.clip(array, how.low, how.high, out=array)
    elif how.kind == "standard":
        mean, std = float(array.mean()), max(float(array.std()), LEAST)
    elif how.kind == "range":
        mean = float(array.min())
        std = max(float(array.max()) - mean, LEAST)
    elif how.kind == "percentiles":
        mean, high = (float(value) for value in np.percentile(array, (how.low, how.high)))
        std = max(high - mean, LEAST)
    elif how.kind == "lowest":
        mean, std = float(array.min()), max(float(array.std()), LEAST)
    elif how.kind == "zscore":
        # plain floats: NumPy's own would turn the array into float64
        low, high = (float(value) for value in np.percentile(array, (0.5, 99.5)))
        np.clip(array, low, high, out=array)
        # a constant image has no spread to divide by
        mean, std = float(array.mean()), max(float(array.std()), 1e-6 * max(abs(high), 1e-6))
    array -= mean
    array /= std
