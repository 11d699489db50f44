"""A small picture of a case, for a page that shows many: three planes side by side, with the outlines of segments.

Drawn by hand on the pixels of the picture, for it costs every case of a batch its time: some milliseconds, a hundredth
of what a figure of matplotlib takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from ..card import Label
from ..io.image import Image, to_canonical

HEIGHT = 150  # pixels
WIDEST = 2.0  # of a plane, times the height
QUALITY = 75  # 10 kB a head; all colors are kept, without which outlines fade


def draw_thumbnail(
    channels: Sequence[Image], path: Path, labelmap: Image | None = None, labels: Sequence[Label] = ()
) -> None:
    """Draw a case as a JPEG picture of ``HEIGHT`` pixels: the sagittal, coronal and axial planes in which most is
    segmented, or the middle ones; of an image of one slice, that slice. The patient's right is at the picture's left.

    Args:
        channels: images of one grid; three of one slice are red, green and blue, of others the first is shown.
        labelmap: on the grid of the first.
    """
    from PIL import Image as Picture

    flat = 1 in channels[0].shape
    shown = [_upright(channel) for channel in (channels if flat and len(channels) == 3 else channels[:1])]
    drawn = None if labelmap is None else _upright(labelmap).array
    axes = [shown[0].shape.index(1)] if flat else [0, 1, 2]
    cuts = []
    for axis in axes:
        place = _fullest(drawn, axis) if drawn is not None else shown[0].shape[axis] // 2
        right, up = (n for n in range(3) if n != axis)
        size = shown[0].shape[right] * shown[0].spacing[right], shown[0].shape[up] * shown[0].spacing[up]
        planes = [np.take(image.array, place, axis).astype(np.float32) for image in shown]
        outlined = None if drawn is None else np.take(drawn, place, axis)
        cuts.append((planes, outlined, size, axis))
    low, high = np.percentile(np.concatenate([plane.ravel() for planes, *_ in cuts for plane in planes]), (1, 99.5))
    tallest = max(size[1] for _, _, size, _ in cuts)
    parts = []
    for planes, outlined, (across, along), axis in cuts:
        height = max(8, round(HEIGHT * along / tallest))
        width = max(8, min(round(HEIGHT * across / tallest), round(WIDEST * HEIGHT)))
        gray = [np.clip((plane - low) / max(float(high - low), 1e-6), 0, 1) for plane in planes]
        levels = [np.uint8(255 * _turned(plane, axis, flat)) for plane in gray]
        pixels = np.stack([
            np.asarray(Picture.fromarray(level).resize((width, height), Picture.Resampling.BILINEAR))
            for level in (levels if len(levels) == 3 else levels * 3)
        ], axis=-1)  # fmt: skip
        if outlined is not None:
            _outline(pixels, _nearest(_turned(outlined, axis, flat), height, width), labels)
        above = (HEIGHT - height) // 2
        parts.append(np.pad(pixels, ((above, HEIGHT - height - above), (0, 2), (0, 0))))
    path.parent.mkdir(parents=True, exist_ok=True)
    Picture.fromarray(np.concatenate(parts, axis=1)).save(path, "JPEG", quality=QUALITY, subsampling=0)


def _upright(image: Image) -> Image:
    """A volume along the patient's axes; a picture of one slice as it is stored."""
    return image if 1 in image.shape and not any(image.origin) else to_canonical(image)


def _turned(plane: np.ndarray, axis: int, flat: bool) -> np.ndarray:
    """[right, up] of a plane as rows of a picture, from above; the patient's right at the left, a picture as stored."""
    if flat:
        return plane.T
    return (plane if axis == 0 else plane[::-1])[:, ::-1].T


def _fullest(drawn: np.ndarray, axis: int) -> int:
    """The slice along ``axis`` with most segmented; the middle one where nothing is."""
    counts = np.count_nonzero(drawn, axis=tuple(n for n in range(3) if n != axis))
    return int(counts.argmax()) if counts.any() else drawn.shape[axis] // 2


def _nearest(values: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = ((np.arange(height) + 0.5) * values.shape[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * values.shape[1] / width).astype(int)
    return values[np.ix_(rows, columns)]


def _outline(pixels: np.ndarray, values: np.ndarray, labels: Sequence[Label]) -> None:
    """Color the pixels (rows, columns, RGB) of each label that lie beside another one."""
    smallest, largest = (find(values, 3, mode="nearest") for find in (ndimage.minimum_filter, ndimage.maximum_filter))
    border = smallest != largest
    for label in labels:
        pixels[border & (values == label.value)] = label.color
