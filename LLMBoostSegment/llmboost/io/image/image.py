"""Voxels on a grid in space."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import cast

import numpy as np
import SimpleITK as sitk

from .. import nifti

_LPS_TO_RAS = np.array([[-1.0], [-1.0], [1.0]])

# ITK reports recoverable oddities of a header on stderr, past all logging; what matters is checked here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


@dataclass(frozen=True, eq=False)
class Image:
    """Voxels on a grid in space.

    Args:
        array: (I, J, K), or (C, I, J, K) with a leading channel axis; the pixel type is kept as stored.
        spacing: distance in mm between voxel centers along i, j, k.
        origin: LPS position in mm of the center of voxel (0, 0, 0).
        direction: (3, 3); column a is the unit vector in LPS along grid axis a.
        forms: of a NIfTI file with this very grid, what its header says of it, to be written again.
        sides_known: whether it is known how the image lies in the patient; if not, there is no left and right.
        notes: what a user should know of the reading, a line each.
        modality: in DICOM's terms, where it is known.

    Raises:
        ValueError: the array has neither 3 nor 4 axes.
    """

    array: np.ndarray
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: np.ndarray
    forms: nifti.Forms | None = None
    sides_known: bool = True
    notes: tuple[str, ...] = ()
    modality: str = ""

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise ValueError(f"an image has 3 axes, or 4 with channels, not {self.array.ndim}")
        # A frozen dataclass can only normalize its fields through object.__setattr__.
        object.__setattr__(self, "spacing", triple(self.spacing))
        object.__setattr__(self, "origin", triple(self.origin))
        object.__setattr__(self, "direction", np.asarray(self.direction, dtype=np.float64).reshape(3, 3))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid sizes (I, J, K), without channels."""
        return cast(tuple[int, int, int], self.array.shape[-3:])

    @property
    def affine(self) -> np.ndarray:
        """(4, 4): homogeneous index (i, j, k, 1) to LPS position in mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * self.spacing
        matrix[:3, 3] = self.origin
        return matrix

    def with_array(self, array: np.ndarray) -> Image:
        """The same grid with other values, with or without channels.

        Raises:
            ValueError: ``array`` has another grid shape.
        """
        if array.shape[-3:] != self.shape:
            raise ValueError(f"array of shape {array.shape} does not fit the grid {self.shape}")
        return replace(self, array=array)

    def on_grid(
        self, array: np.ndarray, spacing: Sequence[float], origin: Sequence[float] | np.ndarray, direction: np.ndarray
    ) -> Image:
        """Voxels on another grid that lies in the patient as this one does."""
        return replace(
            self,
            array=array,
            spacing=triple(spacing),
            origin=triple(origin),
            direction=direction,
            forms=None,
        )

    def cut(self, box: tuple[slice, slice, slice]) -> Image:
        """The voxels of a box [i, j, k], as a view with its place in space kept; channels are kept."""
        origin = self.affine[:3, :3] @ [part.start for part in box] + self.origin
        return self.on_grid(self.array[(..., *box)], self.spacing, origin, self.direction)

    def same_grid(self, other: Image, tolerance: float = 1e-3) -> bool:
        """Whether both grids have equal sizes and all voxel centers within ``tolerance`` voxels of each other."""
        return self.grid_distance(other) <= tolerance

    def grid_distance(self, other: Image) -> float:
        """How far the voxel centers of ``other`` lie from those of this image: at most, along any axis, in voxels of
        this image; infinite if the sizes differ."""
        if self.shape != other.shape:
            return inf
        return float(np.abs(index_map(self, other) - corners(self.shape)).max())


def to_canonical(image: Image, codes: str = "RAS") -> Image:
    """The image with axes as near as possible to the patient's Right, Anterior, Superior.

    Axes are only permuted and flipped: values and the world position of each voxel stay, arrays are views.

    Args:
        codes: where else the axes are to run to: R or L, A or P, S or I, in any order, such as "LPS".
    """
    cosines = _LPS_TO_RAS * image.direction
    # A greedy choice can assign one axis twice on oblique grids, so all six assignments are compared.
    axes = max(itertools.permutations(range(3)), key=lambda axes: sum(abs(cosines[w, a]) for w, a in enumerate(axes)))
    wanted = [next(w for w, both in enumerate(("RL", "AP", "SI")) if code in both) for code in codes]
    axes = tuple(axes[w] for w in wanted)
    flips = [bool(cosines[w, a] < 0) != (c in "LPI") for w, a, c in zip(wanted, axes, codes, strict=True)]
    corner = np.zeros(3)  # index of the voxel that becomes (0, 0, 0)
    signs = np.ones(3)
    for axis, flip in zip(axes, flips, strict=True):
        if flip:
            corner[axis], signs[axis] = image.shape[axis] - 1, -1
    return image.on_grid(
        reorder(image.array, axes, flips),
        [image.spacing[a] for a in axes],
        image.affine[:3, :3] @ corner + image.origin,
        (image.direction * signs)[:, axes],
    )


def to_sitk(image: Image) -> sitk.Image:
    """A SimpleITK image of an image without channels."""
    result = voxels_of(image.array)
    result.SetSpacing(image.spacing)
    result.SetOrigin(image.origin)
    result.SetDirection(image.direction.ravel().tolist())
    return result


def voxels_of(array: np.ndarray) -> sitk.Image:
    """A SimpleITK image of an (I, J, K) array on the unit grid, in the nearest type that SimpleITK knows."""
    return sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(), dtype=known_type(array.dtype)))


def known_type(dtype: np.dtype) -> np.dtype:
    """The nearest type that files know."""
    return np.dtype({"bool": np.uint8, "float16": np.float32}.get(dtype.name, dtype))


def triple(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    i, j, k = (float(v) for v in values)
    return i, j, k


def reorder(array: np.ndarray, axes: Sequence[int], flips: Sequence[bool]) -> np.ndarray:
    """A view whose spatial axis r is axis ``axes[r]`` of ``array``, reversed where ``flips[r]``."""
    lead = array.ndim - 3
    array = array.transpose(*range(lead), *(lead + a for a in axes))
    return array[(slice(None),) * lead + tuple(slice(None, None, -1 if flip else 1) for flip in flips)]


def corners(shape: Sequence[int]) -> np.ndarray:
    """(8, 3): the indices of the outermost voxels."""
    return np.array(list(itertools.product(*((0, n - 1) for n in shape))), dtype=np.float64)


def index_map(image: Image, other: Image) -> np.ndarray:
    """(8, 3): the corners of ``other`` as continuous indices of ``image``."""
    ends = np.c_[corners(other.shape), np.ones(8)]
    return np.linalg.solve(image.affine, other.affine @ ends.T).T[:, :3]
