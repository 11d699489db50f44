"""How a classifier's input comes out of an image: the part that it looks at, at its patch's size and intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..card import Preprocessing
from ..errors import LLMBoostError
from ..io.image import Image, resample, resample_to_spacing
from .linear import resize_to
from .preprocessing import normalize_channels, orient
from .views import View

LABELS = 256  # a label map's values lie below


@dataclass(frozen=True)
class Framed:
    """What a classifier sees of a case.

    Attributes:
        case: its first channel.
        view: what of it is looked at.
        images, place: of that, as :func:`classifier_input` gives them.
    """

    case: Image
    view: View
    images: np.ndarray
    place: Image


def classifier_input(
    channels: Sequence[Image], preprocessing: Preprocessing, input_region: str
) -> tuple[np.ndarray, Image]:
    """A classifier's input.

    Args:
        channels: one image a channel; those after the first are brought onto the first one's grid.
        steps: from the model's card.
        input_region: from the model's card, see :class:`.card.Classification`.

    Returns:
        float32 (N, channels, R, A, S), where (R, A, S) is the patch and N the slices of a 2D model's image, 1 of a
        volume; and the place of what is seen: the grid of the patch in space, with N slices along a 2D model's axis
        across them (its array holds no values).

    Raises:
        LLMBoostError: another number of images than channels, a single slice for a model of volumes, or, for a model of
            masks, what is no mask, or one that is empty.
    """
    if len(channels) != preprocessing.channels:
        raise LLMBoostError(f"the model takes {preprocessing.channels} image(s) a case, {len(channels)} given")
    if preprocessing.slice_axis is None and min(channels[0].shape) == 1:
        raise LLMBoostError("a single slice, but the model needs a volume; give the whole series")
    grid, volumes = None, []
    for image in channels:
        if input_region == "mask":
            _check_mask(image)
        if not image.same_grid(channels[0]):
            image = resample(image, channels[0], "linear")
        work = orient(image, preprocessing)
        if input_region == "mask":
            work = _with_border(work.with_array((work.array > 0).astype(np.float32)), preprocessing)
        if input_region == "whole":
            work = resize_to(work, _sizes(work, preprocessing))
        elif input_region == "square":
            work = _square(work, preprocessing)
        else:
            work = _centered(work, preprocessing, input_region == "mask")
        grid = grid or work
        volumes.append(work.array)
    assert grid is not None
    axis = preprocessing.slice_axis
    stacked = np.stack(volumes).astype(np.float32)
    parts = stacked[np.newaxis] if axis is None else np.stack(np.split(stacked, stacked.shape[axis + 1], axis + 1))
    for part in parts:
        normalize_channels(part, preprocessing)
    return parts, grid.with_array(np.broadcast_to(np.float32(0), grid.shape))


def _check_mask(image: Image) -> None:
    """Raises LLMBoostError unless all voxels are 0 or one other value, above 0."""
    values = image.array
    low, high = values.min(), values.max()
    if low >= 0 and np.all((values == 0) | (values == high)):
        return
    if low >= 0 and high < LABELS and np.all(values == np.floor(values)):
        found = ", ".join(f"{value:g}" for value in np.unique(values) if value)
        raise LLMBoostError(
            f"a label map of several segments ({found}), but the model takes one; give a mask of it alone"
        )
    raise LLMBoostError("an image, but the model takes a segment (a mask of 0 and one other value)")


def _with_border(mask: Image, preprocessing: Preprocessing) -> Image:
    """The mask with zeros all around, as far as resampling looks: one that fills its image must end at its border."""
    margin = [
        0 if axis == preprocessing.slice_axis else int(np.ceil(3 * mm / own))
        for axis, (mm, own) in enumerate(zip(preprocessing.spacing, mask.spacing, strict=True))
    ]
    return _cut(mask, [-m for m in margin], [n + 2 * m for n, m in zip(mask.shape, margin, strict=True)], outside=0.0)


def _square(image: Image, preprocessing: Preprocessing) -> Image:
    """The largest square (or cube) in the middle, resized to the patch."""
    axes = [axis for axis in range(3) if axis != preprocessing.slice_axis]
    edge = min(image.shape[axis] * image.spacing[axis] for axis in axes)
    start, count, spacing = [0, 0, 0], list(image.shape), list(image.spacing)
    for axis in axes:
        count[axis] = max(1, min(image.shape[axis], round(edge / image.spacing[axis])))
        start[axis] = (image.shape[axis] - count[axis]) // 2
        spacing[axis] = count[axis] * image.spacing[axis] / preprocessing.patch_size[axis]
    return resample_to_spacing(_cut(image, start, count), spacing)


def _centered(image: Image, preprocessing: Preprocessing, mask: bool) -> Image:
    """The middle of the image, or of the mask in it, at the model's spacing."""
    spacing = [
        own if axis == preprocessing.slice_axis else mm
        for axis, (own, mm) in enumerate(zip(image.spacing, preprocessing.spacing, strict=True))
    ]
    image = resample_to_spacing(image, spacing)
    middle = (np.array(image.shape) - 1) / 2
    if mask:
        total = image.array.sum()
        if not total:
            raise LLMBoostError("the mask is empty; choose a segment with voxels")
        middle = np.array(
            [
                (image.array.sum(axis=tuple(a for a in range(3) if a != axis)) @ np.arange(image.shape[axis])) / total
                for axis in range(3)
            ]
        )
    count = _sizes(image, preprocessing)
    # symmetric masks lie between two voxels: the nudge makes them fall to the same one, however they are stored
    start = [
        0 if n == c and not mask else int(np.floor(m - (c - 1) / 2 + 0.5 + 1e-3))
        for n, c, m in zip(image.shape, count, middle, strict=True)
    ]
    return _cut(image, start, count)


def _sizes(image: Image, preprocessing: Preprocessing) -> list[int]:
    """The patch's, with as many slices as a 2D model's image has."""
    pairs = zip(image.shape, preprocessing.patch_size, strict=True)
    return [n if axis == preprocessing.slice_axis else m for axis, (n, m) in enumerate(pairs)]


def _cut(image: Image, start: Sequence[int], count: Sequence[int], outside: float | None = None) -> Image:
    """The voxels from ``start`` on; beyond the image lies ``outside``, or else its smallest value."""
    inside = tuple(slice(max(s, 0), max(s + c, 0)) for s, c in zip(start, count, strict=True))
    part = image.array[inside]
    before = [max(-s, 0) for s in start]
    after = [c - b - n for c, b, n in zip(count, before, part.shape, strict=True)]
    if any(before) or any(after):
        low = image.array.min() if outside is None else outside
        part = np.pad(part, list(zip(before, after, strict=True)), constant_values=low)
    x, y, z = (float(mm) for mm in image.affine[:3, :3] @ np.array(start) + image.origin)
    return replace(image, array=part, origin=(x, y, z))
