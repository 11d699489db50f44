"""A request's volumes as the engine takes them, and the engine's maps as they travel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import LLMBoostError
from ..messages.images import ImageRequest

if TYPE_CHECKING:
    from ..inference.roi import Roi
    from ..io.image import Image


def roi_of(request: ImageRequest[Any]) -> Roi | None:
    """The request's region of interest."""
    from ..inference.roi import Roi

    box = request.roi
    if box is not None and box.axes.shape != (3, 3):
        raise LLMBoostError("the request's region of interest cannot be used (its axes are no 3 x 3 numbers)")
    return None if box is None else Roi(box.center, box.size, box.axes)


def images_of(request: ImageRequest[Any]) -> list[Image]:
    """The request's volumes as the engine's images: the same voxels, seen along i, j, k."""
    volumes = request.volumes
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

    modality = request.modality
    return [Image(v.array.transpose(), v.spacing, v.origin, v.direction, modality=modality) for v in volumes]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """[k, j, i] uint8 of [i, j, k] in 0..1; plane by plane, for the array may lie in a file."""
    result = np.empty(array.shape, np.uint8)
    for plane, out in zip(array, result, strict=True):
        out[...] = np.rint(plane * 255)
    return np.ascontiguousarray(result.transpose())
