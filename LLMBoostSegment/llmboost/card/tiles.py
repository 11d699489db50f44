"""How many patches of a model cover an image, and how fewer of them do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil, prod

from .card import Card
from .fields import SEGMENTATION

FAST_OVERLAP = 0.2  # a step of 0.8 patches, which TotalSegmentator takes for large images; 0.5 is usual


def patch_count(card: Card, extent: Sequence[float]) -> int:
    """The patches that cover an image which reaches so far, in mm along the axes that the model goes by; of a 2D model,
    those of all slices."""
    preprocessing, tiling = card.preprocessing, card.tiling
    counts = []
    for axis, (mm, size, spacing) in enumerate(
        zip(extent, preprocessing.patch_size, preprocessing.spacing, strict=True)
    ):
        voxels = max(round(mm / spacing), 1)
        step = size * (1 - tiling.overlap)
        if tiling.places == "fixed" or axis == preprocessing.slice_axis:
            step = max(int(step), 1)
        counts.append(1 + ceil(max(voxels - size, 0) / step - 1e-6))
    return prod(counts)


def can_be_faster(card: Card) -> bool:
    """Whether patches of a segmenter overlap so much that fewer will do; a cascade looks at one patch a structure."""
    return card.task == SEGMENTATION and card.cascade is None and card.tiling.overlap > FAST_OVERLAP


def faster(card: Card) -> Card:
    """The card with a larger step from patch to patch: less to compute, and less sure where patches meet."""
    return replace(card, tiling=replace(card.tiling, overlap=min(card.tiling.overlap, FAST_OVERLAP)))
