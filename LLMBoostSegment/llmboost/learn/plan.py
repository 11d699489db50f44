"""How to train on a data set, read off the data set itself (after nnU-Net, Isensee et al. 2021, Nature Methods)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..card import Normalization, Preprocessing
from ..card.modality import term
from ..errors import LLMBoostError
from ..io.dataset import Dataset, DatasetCase, LoadedCase, load
from ..io.image import Image, to_canonical

# what a step on two CPU cores affords: a patch of 40 x 56 x 40 has 90,000 voxels
PATCH_VOXELS = 110_000
HALVINGS = 3
# minutes are better spent on many coarse slices than on few fine ones, as long as a structure stays this wide
SLICE_VOXELS = 128 * 128
ACROSS = 12
# an axis at least this many times coarser than the finest is not halved together with it
ANISOTROPY = 2.0
SIDED = re.compile(r"\b(left|right|lh|rh|l|r)\b", re.IGNORECASE)


Strides = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class TrainingPlan:
    """What :func:`make_plan` chose, and ``reasons`` in words."""

    preprocessing: Preprocessing
    strides: Strides
    batch: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Facts:
    """Of one case, along the canonical axes."""

    spacing: np.ndarray
    extent: np.ndarray  # mm
    foreground: list[np.ndarray]  # a sample of labeled voxels' intensities, for each channel
    areas: list[int]  # voxels of each label


def make_plan(
    dataset: Dataset,
    cases: Sequence[DatasetCase],
    *,
    levels: Strides | None = None,
    unshuffle: int = 1,
    quick: bool = False,
    load: Callable[[DatasetCase], LoadedCase] = load,
) -> TrainingPlan:
    """Spacing, patch, intensities, mirroring, strides and batch from the training cases.

    Args:
        levels, unshuffle: the strides of a network that is there already: the plan has as many levels, and strides no
            further on any.
        quick: for learning in minutes; large slices become coarser.
        load: gives the cases.

    Raises:
        LLMBoostError: no case has a labeled voxel.
    """
    facts = [_facts(*load(case), dataset.ignore) for case in cases]
    if not any(len(fact.foreground[0]) for fact in facts):
        raise LLMBoostError(f"{dataset.folder}: the training cases have no labeled voxels; label some")
    spacings = np.array([fact.spacing for fact in facts])
    spacing = np.median(spacings, axis=0)
    coarse = spacing >= ANISOTROPY * spacing.min() if spacing.min() > 0 else np.zeros(3, bool)
    # thick slices: keep the detail of the better cases (nnU-Net's 10th percentile)
    spacing[coarse] = np.percentile(spacings, 10, axis=0)[coarse]
    sizes = np.array([np.maximum(np.round(fact.extent / spacing), 1) for fact in facts])
    size = np.median(sizes, axis=0)
    factor = 1
    if quick and size.min() == 1:
        factor = _coarsening(facts, float(size.prod()))
        spacing = np.where(size == 1, spacing, factor * spacing)
        size = np.where(size == 1, 1, np.round(size / factor))
    strides = _strides(spacing, size)
    if levels is not None:
        strides = tuple(_triple(map(min, own, wanted)) for own, wanted in zip(levels, strides, strict=False))
    total = unshuffle * np.prod(np.array(strides), axis=0)
    patch_size = _patch_size(size, total)
    ct = [term(word) == "CT" for word in dataset.modalities]
    normalization = tuple(
        ct_window(np.concatenate([fact.foreground[c] for fact in facts])) if is_ct else Normalization()
        for c, is_ct in enumerate(ct)
    )
    sided = [name for name in dataset.labels.values() if SIDED.search(name.replace("_", " "))]
    preprocessing = Preprocessing(
        channels=len(dataset.modalities),
        spacing=_triple(float(round(s, 4)) for s in spacing),
        patch_size=_triple(int(w) for w in patch_size),
        normalization=normalization,
        mirror=() if sided else (0,),
    )
    # small patches allow more of them, but a step should not see most of a small data set
    batch = int(np.clip(round(2 * PATCH_VOXELS / np.prod(patch_size)), 2, np.clip(len(cases) // 10, 2, 16)))
    coarser = f"{factor} times " if factor > 1 else ""
    reasons = (
        f"spacing {preprocessing.spacing} mm (R, A, S): {coarser}the median of {len(cases)} training cases",
        f"window {preprocessing.patch_size} voxels: the median case, up to {PATCH_VOXELS:,} voxels",
        f"batch {batch}: about {2 * PATCH_VOXELS:,} voxels, at most a tenth of the cases",
        f"strides {strides}: halved while a window keeps 4 tokens and axes are alike",
        "intensities: "
        + ", ".join(
            f"{modality}: "
            + (f"CT clip {n.low:g} to {n.high:g}" if n.kind == "window" else "z-score per case")
            + _but(modality)
            for modality, n in zip(dataset.modalities, normalization, strict=True)
        ),
        f"no left-right mirroring: {sided[0]} has a side" if sided else "left-right mirroring: no label has a side",
    )
    return TrainingPlan(preprocessing, strides, batch, reasons)


def _but(modality: str) -> str:
    """nnU-Net takes a channel's name for what is to be done with its intensities."""
    asked = modality.lower() in ("nonorm", "rescale_to_0_1", "rgb_to_0_1")
    return f" (not what nnU-Net does for '{modality}')" if asked else ""


def _facts(images: Sequence[Image], label: Image | None, ignore: int | None) -> _Facts:
    assert label is not None
    canonical = to_canonical(images[0])
    spacing = np.array(canonical.spacing)
    inside = (label.array > 0) & (label.array != ignore)
    # every n-th labeled voxel is enough for percentiles
    step = max(1, int(inside.sum()) // 2000)
    return _Facts(
        spacing=spacing,
        extent=spacing * canonical.shape,
        foreground=[image.array[inside][::step].astype(np.float32) for image in images],
        areas=np.unique(label.array[inside], return_counts=True)[1].tolist(),
    )


def _coarsening(facts: Sequence[_Facts], size: float) -> int:
    """How many times coarser slices of ``size`` voxels may become: a power of two."""
    across = np.sqrt(np.median([min(fact.areas) for fact in facts if fact.areas]))
    factor = 1
    while size / factor**2 > SLICE_VOXELS and across / (2 * factor) >= ACROSS:
        factor *= 2
    return factor


def ct_window(values: np.ndarray) -> Normalization:
    """The patch of CT images that holds all but the most extreme of these values."""
    low, high = np.percentile(values, (0.5, 99.5))
    clipped = np.clip(values, low, high)
    return Normalization("window", float(low), float(high), float(clipped.mean()), max(float(clipped.std()), 1e-3))


def _strides(spacing: np.ndarray, size: np.ndarray) -> Strides:
    """Halvings from fine to coarse: an axis takes part while its voxels are among the finest and it is long enough."""
    spacing, size = spacing.copy(), size.copy()
    result = []
    for _ in range(HALVINGS):
        halve = (size >= 8) & (spacing < ANISOTROPY * spacing[size >= 8].min(initial=np.inf))
        stride = np.where(halve, 2, 1)
        spacing, size = spacing * stride, size / stride
        result.append(_triple(int(s) for s in stride))
    return tuple(result)


def _patch_size(size: np.ndarray, total: np.ndarray) -> np.ndarray:
    """The largest patch within the budget in the proportions of ``size``, a multiple of ``total`` along each axis."""
    patch_size = np.ceil(size / total) * total
    while patch_size.prod() > PATCH_VOXELS and (patch_size > total).any():
        patch_size[np.argmax(patch_size / total)] -= total[np.argmax(patch_size / total)]
    return patch_size.astype(int)


def _triple(values: Any) -> Any:
    first, second, third = values
    return first, second, third
