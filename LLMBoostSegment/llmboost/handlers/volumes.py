"""A request's fields and volumes as the engine takes them, and the engine's maps as a frame takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import LLMBoostError
from ..service import Job
from ..wire import unpack_volumes

if TYPE_CHECKING:
    from ..inference.roi import Roi
    from ..io.image import Image


def text_of(job: Job, name: str) -> str:
    value = job.fields.get(name)
    if not isinstance(value, str) or not value:
        raise LLMBoostError(f"the request lacks '{name}'")
    return value


def roi_of(job: Job) -> Roi | None:
    """The request's region of interest: field ``roi``, None or center, size and axes (row by row) in LPS mm."""
    from ..inference.roi import Roi

    box = job.fields.get("roi")
    return Roi(box["center"], box["size"], np.reshape(box["axes"], (3, 3))) if box else None


def slice_of(job: Job) -> int | None:
    """The request's slice: field ``slice``, None or a number."""
    number = job.fields.get("slice")
    if number is not None and type(number) is not int:
        raise LLMBoostError(f"the request's slice is {number!r}; give a whole number, or none")
    return number


def images_of(job: Job) -> list[Image]:
    """The request's volumes as the engine's images: the same voxels, seen along i, j, k."""
    try:
        volumes = unpack_volumes(job.fields["geometry"], job.arrays)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise LLMBoostError(f"the request's volumes cannot be used ({error})") from error
    if not volumes or not all(volume.array.size for volume in volumes):
        raise LLMBoostError("the volume holds no voxels")
    for volume in volumes:
        if volume.array.dtype.kind == "f" and not np.isfinite(volume.array).all():
            raise LLMBoostError("the volume holds NaN or infinite voxels; replace them by numbers")
        place = np.array([*volume.spacing, *volume.origin, *volume.direction.ravel()])
        if not np.isfinite(place).all() or min(volume.spacing) <= 0 or abs(np.linalg.det(volume.direction)) < 1e-3:
            raise LLMBoostError("the volume's spacing or axes are of no use; correct them (in Slicer: module Volumes)")
    from ..io.image import Image

    modality = str(job.fields.get("modality") or "")
    return [Image(v.array.transpose(), v.spacing, v.origin, v.direction, modality=modality) for v in volumes]


def as_bytes(array: np.ndarray) -> np.ndarray:
    """[k, j, i] uint8 of [i, j, k] in 0..1; plane by plane, for the array may lie in a file."""
    result = np.empty(array.shape, np.uint8)
    for plane, out in zip(array, result, strict=True):
        out[...] = np.rint(plane * 255)
    return np.ascontiguousarray(result.transpose())
