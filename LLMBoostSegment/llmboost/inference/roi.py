"""A region of interest: a box in space that limits where a model computes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..errors import LLMBoostError
from ..io.image import Image

_TOLERANCE = 1e-6  # in voxels or mm: a border that passes through a voxel's center takes it in


@dataclass(frozen=True, eq=False)
class Roi:
    """A box, in LPS mm, also a rotated one.

    Args:
        center: the box's middle.
        size: its edges' lengths along the columns of ``axes``.
        axes: (3, 3), orthonormal; by default left, posterior, superior.

    Raises:
        LLMBoostError: a number is not finite, or a length not positive.
    """

    center: Sequence[float]
    size: Sequence[float]
    axes: np.ndarray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        numbers = np.array([*self.center, *self.size, *np.ravel(self.axes)], dtype=float)
        if len(numbers) != 15 or not np.isfinite(numbers).all() or min(self.size) <= 0:
            raise LLMBoostError("a region of interest needs a center and three lengths above zero, in mm")

    @classmethod
    def of_ras(cls, box: Sequence[float]) -> Roi:
        """The box with a center (R, A, S) and a size along these axes, six numbers in mm, as 3D Slicer counts: to the
        right and to the front, where the engine counts to the left and to the back."""
        right, front, top, *size = box
        return cls((-right, -front, top), size)

    def bounds(self, image: Image) -> tuple[slice, slice, slice]:
        """The smallest range of voxels (i, j, k) that holds all voxel centers in the box.

        Raises:
            LLMBoostError: there are none.
        """
        signs = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
        corners = np.asarray(self.center) + (signs * self.size) @ np.asarray(self.axes).T
        indices = np.linalg.solve(image.affine, np.c_[corners, np.ones(8)].T)[:3]
        start = np.maximum(np.ceil(indices.min(axis=1) - _TOLERANCE), 0).astype(int)
        stop = np.minimum(np.floor(indices.max(axis=1) + _TOLERANCE) + 1, image.shape).astype(int)
        if (stop <= start).any():
            center = ", ".join(f"{mm:g}" for mm in np.asarray(self.center) * (-1, -1, 1))
            raise LLMBoostError(
                f"the region of interest at ({center}) mm (R, A, S) lies outside the image, which reaches from"
                f" {_extent(image)}"
            )
        i, j, k = (slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
        return i, j, k

    def crop(self, image: Image) -> Image:
        """The voxels within :meth:`bounds`, as a view with its place in space kept; channels are kept."""
        return image.cut(self.bounds(image))

    def contains(self, image: Image) -> np.ndarray:
        """bool [i, j, k]: which voxel centers of ``image`` lie in the box."""
        inside = np.empty(image.shape, bool)
        # coordinates along the box's axes are sums of one term a grid axis
        step = np.asarray(self.axes).T @ image.affine[:3, :3]
        first = np.asarray(self.axes).T @ (np.asarray(image.origin) - self.center)
        i, j = (step[:, axis, None] * np.arange(image.shape[axis]) for axis in (0, 1))
        half = np.asarray(self.size)[:, None, None] / 2 + _TOLERANCE
        for k in range(image.shape[2]):  # plane by plane: memory stays bounded
            offset = (first + step[:, 2] * k)[:, None, None] + i[:, :, None] + j[:, None, :]
            inside[:, :, k] = (np.abs(offset) <= half).all(axis=0)
        return inside


def _extent(image: Image) -> str:
    """Where an image lies, in words: its box along R, A and S, to the outer edges of its voxels."""
    ends = np.array(list(itertools.product(*((-0.5, n - 0.5) for n in image.shape))))
    places = (ends @ image.affine[:3, :3].T + image.origin) * (-1, -1, 1)
    low, high = (", ".join(f"{mm:.1f}" for mm in corner) for corner in (places.min(axis=0), places.max(axis=0)))
    return f"({low}) to ({high})"
