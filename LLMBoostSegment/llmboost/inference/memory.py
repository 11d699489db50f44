"""How much memory a segmentation takes, and how much this machine has."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from ..card import Card
from ..machine import GB, total_memory

if TYPE_CHECKING:  # the doctor asks for this machine's memory where SimpleITK and torch may be missing
    from ..io.image import Image
    from .roi import Roi

# Measured with scripts/benchmark_memory.py (peak of the process, CPU): the libraries and a small network; bytes a voxel
# of the image (stored twice while it is read, label map, its components) and of the network's grid (float32, a copy for
# the intensities' statistics; resampling takes several).
BASE = 0.65 * GB
CASCADE = 0.1 * GB  # a second network, and its classes' probabilities
IMAGE_BYTES = 10
GRID_BYTES = 9
RESAMPLING_BYTES = 8
SLAB_COPIES = 1.3


def memory_needed(card: Card, shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """The expected peak in bytes of segmenting an image of ``shape`` voxels and ``spacing`` mm on the CPU."""
    from .predict import HALF_ABOVE

    preprocessing = card.preprocessing
    voxels = prod(shape)
    grid = voxels * prod(spacing) / prod(preprocessing.spacing) if preprocessing.slice_axis is None else voxels
    if card.needs_cascade([n * mm for n, mm in zip(shape, spacing, strict=True)]):
        # the image is resampled to a coarse grid, and the model sees crops
        return BASE + CASCADE + voxels * (IMAGE_BYTES + RESAMPLING_BYTES)
    same = all(abs(a / b - 1) < 1e-3 for a, b in zip(sorted(spacing), sorted(preprocessing.spacing), strict=True))
    work = grid * (GRID_BYTES + 4 * (preprocessing.channels - 1)) + (
        0 if same else max(voxels, grid) * RESAMPLING_BYTES
    )
    # a slab as deep as a patch is held with all its classes, see predict.py
    longest = max(
        n * a / b / w
        for n, a, b, w in zip(shape, spacing, preprocessing.spacing, preprocessing.patch_size, strict=True)
    )
    slab = card.classes * grid / max(longest, 1)
    patches = 4 * 4 * card.classes * prod(preprocessing.patch_size)
    return BASE + voxels * IMAGE_BYTES + work + slab * (2 if slab > HALF_ABOVE else 4) * SLAB_COPIES + patches


def expected_peak(card: Card, image: Image, roi: Roi | None = None) -> float:
    """:func:`memory_needed` of an image, or of its part within a region of interest."""
    return memory_needed(card, roi.crop(image).shape if roi else image.shape, image.spacing)


def describe_need(card: Card, image: Image, roi: Roi | None = None) -> str:
    """Such as ``about 1.3 GB of memory``."""
    return f"about {expected_peak(card, image, roi) / GB:.1f} GB of memory"


def shortage(card: Card, image: Image, roi: Roi | None = None) -> list[str]:
    """A warning if the machine has less memory than the image is expected to take."""
    need, total = expected_peak(card, image, roi), total_memory()
    if total is None or need < total:
        return []
    machine = f"this machine has {total / GB:.1f} GB; limit it to a region of interest"
    return [f"needs {describe_need(card, image, roi)}, {machine}"]
