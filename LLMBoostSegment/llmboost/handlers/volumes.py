"""A request's volumes as the engine takes them, and the engine's maps as they travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LLMBoostError
from ..messages.images import Box, ImageRequest, Volume

if TYPE_CHECKING:
    from ..inference.roi import Roi
    from ..io.image import Image


def roi_of(request: ImageRequest[Any]) -> Roi | None:
    """The request's region of interest."""
    return box_of(request.roi)


def box_of(box: Box | None) -> Roi | None:
    """A region of interest as the engine's."""
    from ..inference.roi import Roi

    if box is not None and box.axes.shape != (3, 3):
        raise LLMBoostError("the request's region of interest cannot be used (its axes are no 3 x 3 numbers)")
    return None if box is None else Roi(box.center, box.size, box.axes)


def images_of(volumes: Sequence[Volume], modality: str) -> list[Image]:
    """A request's volumes as the engine's images: the same voxels, seen along i, j, k."""
    for volume in volumes:
        if volume.array.ndim != 3 or volume.direction.shape != (3, 3):
            raise LLMBoostError("the request's volumes cannot be used (a volume has 3 axes)")
    if not volumes or not all(volume.array.size for volume in volumes):
        raise LLMBoostError("the volume holds no voxels")
    for volume in volumes:
        if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
            raise LLMBoostError("the volume holds NaN or infinite voxels; replace them by numbers")
        place = np.array([*volume.spacing, *volume.origin, *volume.direction.ravel()])
        if not np.isfinite(place).all() or min(volume.spacing) <= 0 or abs(np.linalg.det(volume.direction)) < 1e-3:
            raise LLMBoostError("the volume's spacing or axes are of no use; correct them (in Slicer: module Volumes)")
    from ..io.image import Image

    return [Image(v.array.transpose(), v.spacing, v.origin, v.direction, modality=modality) for v in volumes]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """[k, j, i] uint8 of [i, j, k] in 0..1; plane by plane, for the array may lie in a file."""
    result = np.empty(array.shape, np.uint8)
    for plane, out in zip(array, result, strict=True):
        out[...] = np.rint(plane * 255)
    return np.ascontiguousarray(result.transpose())
