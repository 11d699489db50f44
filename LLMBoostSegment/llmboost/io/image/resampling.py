"""Images on other grids."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt
from typing import Literal

import numpy as np
import SimpleITK as sitk

from .image import Image, corners, index_map, reorder, triple, voxels_of

Interpolation = Literal["linear", "nearest", "cubic"]

_INTERPOLATORS = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline3}
_FWHM = 2 * sqrt(2 * log(2))  # full width at half maximum of a Gaussian, in standard deviations


def resample(
    image: Image, reference: Image, interpolation: Interpolation = "linear", fill: float | None = None
) -> Image:
    """The image on the grid of ``reference``, which gives only its geometry; channels are kept.

    Args:
        interpolation: "linear", "nearest", or "cubic" (B-spline of order 3; linear if an axis has less than 4 voxels).
        fill: the value outside the image; by default that of the nearest voxel.

    Returns:
        float32, or the image's own type for "nearest". If both grids are equal up to the order and the sense of their
        axes, values are re-ordered and not interpolated.
    """
    order = _samevoxels_of(image, reference)
    if order is not None:
        values = reorder(image.array, *order)
        return reference.with_array(values if interpolation == "nearest" else values.astype(np.float32, copy=False))
    return _interpolate(image, reference, interpolation, fill)


def resample_to_spacing(image: Image, spacing: Sequence[float], interpolation: Interpolation = "linear") -> Image:
    """The image at another spacing (mm along i, j, k), with the same axes and the same field of view.

    The new grid is centered on the field of view (outer voxel edges); its size is the rounded quotient, at least 1. An
    axis that becomes coarser by more than 1.2 is smoothed first, unless for "nearest" (labels). Types as ``resample``.

    The Gaussian turns a point spread of one old voxel (full width at half maximum) into that of one new voxel: Cardoso
    et al., "Scale factor point spread function matching", MICCAI 2015.
    """
    old, new = np.array(image.spacing), np.array(triple(spacing))
    if np.allclose(old, new, rtol=1e-3, atol=0):
        return image
    shape = np.maximum(1, np.rint(np.array(image.shape) * old / new)).astype(int)
    shift = ((np.array(image.shape) - 1) * old - (shape - 1) * new) / 2
    grid = image.on_grid(
        np.broadcast_to(np.float32(0), shape),  # geometry alone: takes no memory
        triple(new),
        image.direction @ shift + image.origin,
        image.direction,
    )
    smooth = (new > 1.2 * old) & (interpolation != "nearest")
    variance = np.where(smooth, (new**2 - old**2) / _FWHM**2, 0.0) / old**2
    return _interpolate(image, grid, interpolation, variance=variance)


def _interpolate(
    image: Image,
    grid: Image,
    interpolation: Interpolation,
    fill: float | None = None,
    variance: np.ndarray | None = None,
) -> Image:
    """Sample at the voxel centers of ``grid``, after a Gaussian of ``variance`` (voxels squared, along i, j, k)."""
    if interpolation == "cubic" and min(image.shape) < 4:
        interpolation = "linear"
    dtype = image.array.dtype if interpolation == "nearest" else np.dtype(np.float32)
    sampler = sitk.ResampleImageFilter()
    sampler.SetSize([int(n) for n in grid.shape])
    # From index to index: ITK's own inverse of a direction matrix is silently wrong for some near-axis directions
    # (denormal cosines), and rounding here keeps such residues out.
    to_index = np.linalg.solve(image.affine, grid.affine).round(12)
    sampler.SetTransform(sitk.AffineTransform(to_index[:3, :3].ravel().tolist(), to_index[:3, 3].tolist()))
    sampler.SetInterpolator(_INTERPOLATORS[interpolation])
    sampler.SetUseNearestNeighborExtrapolator(fill is None)
    sampler.SetDefaultPixelValue(0.0 if fill is None else float(fill))

    channels = image.array.reshape(-1, *image.shape)
    result = np.empty((len(channels), *grid.shape), dtype)
    for channel, out in zip(channels, result, strict=True):  # one at a time: memory stays bounded
        volume = voxels_of(channel if interpolation == "nearest" else channel.astype(np.float32))
        if variance is not None and variance.any():
            width = int(8 * sqrt(variance.max())) + 3
            volume = sitk.DiscreteGaussian(volume, variance.tolist(), width, 0.001, useImageSpacing=False)
        sampled = sampler.Execute(volume)  # named, for a view does not keep its image alive
        out[...] = sitk.GetArrayViewFromImage(sampled).transpose()
    return grid.with_array(result if image.array.ndim == 4 else result[0])


def _samevoxels_of(image: Image, reference: Image) -> tuple[tuple[int, ...], list[bool]] | None:
    """Axes and flips that turn the grid of ``image`` into that of ``reference``, if such exist."""
    steps = np.rint(np.linalg.solve(image.affine, reference.affine)[:3, :3])
    if not (np.array_equal(np.abs(steps).sum(0), np.ones(3)) and np.array_equal(np.abs(steps).sum(1), np.ones(3))):
        return None
    axes = tuple(int(a) for a in np.abs(steps).argmax(0))
    flips = [bool(steps[a, r] < 0) for r, a in enumerate(axes)]
    if tuple(image.shape[a] for a in axes) != reference.shape:
        return None
    ends = np.array(image.shape) - 1
    expected = corners(reference.shape) @ steps.T + np.where(steps.sum(1) < 0, ends, 0)
    return (axes, flips) if np.all(np.abs(index_map(image, reference) - expected) <= 1e-3) else None
