"""How to train on a data set, read off the data set itself (after nnU-Net, Isensee et al. 2021, Nature Methods)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..card import Normalization, Preprocessing
from ..card.modality import term
from ..errors import LLMBoostError
from ..io.dataset import Dataset, DatasetCase, LoadedCase, load
from ..io.image import Image, to_canonical
from .augment import ANISOTROPY
from .structures import Structure, measure

# what a step on two CPU cores affords: a patch of 40 x 56 x 40 has 90,000 voxels
PATCH_VOXELS = 110_000
HALVINGS = 3
# minutes are better spent on many small patches than on few large ones, and on coarse voxels as long as the smallest
# structure stays so many of them wide (docs/evidence.md: few_shot)
QUICK_MINUTES = 10  # of a training: below, it is to be quick
QUICK_VOXELS = 33_000
ACROSS = 10
QUICK_NETWORK = {"stem": (16, 32, 64), "width": 128, "depth": 3, "heads": 4}
QUICK_TRAINING = {"optimizer": "muon", "ema": 0.99, "balance": 0.5, "foreground": 0.85, "clip": 5.0}
# the share of a label's voxels that its largest piece has where it is one piece: specks are slips of the pen
WHOLE = 0.98
# between words of a name: "left_kidney", "LeftKidney"
WITHIN = re.compile(r"_|(?<=[a-z])(?=[A-Z])")
SIDED = re.compile(r"\b(left|right|lh|rh|l|r)\b", re.IGNORECASE)


Strides = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class TrainingPlan:
    """What :func:`make_plan` chose, and ``reasons`` in words.

    Attributes:
        one_piece: values of the labels that are one piece in every case, and are to be so in what is found after only
            minutes, see :class:`..card.Card`.
        network, training: what differs from the defaults: options of the network, fields of a training's config.
    """

    preprocessing: Preprocessing
    strides: Strides
    batch: int
    one_piece: tuple[int, ...]
    network: dict[str, Any]
    training: dict[str, Any]
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class _Facts:
    """Of one case, along the canonical axes."""

    spacing: np.ndarray
    extent: np.ndarray  # mm
    labeled: np.ndarray  # mm, of the box around all labels
    foreground: list[np.ndarray]  # a sample of labeled voxels' intensities, for each channel
    widths: dict[int, float]  # of each label, mm, see _width
    pieces: dict[int, float]  # of each label, the share of its voxels that its largest piece has


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
        quick: for learning in minutes: small patches of voxels as coarse as the smallest structure allows, in the
            proportions of the box around all labels, one a step.
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
    found = spacing
    if quick:
        spacing = _coarser(spacing, size, _narrowest(facts) / ACROSS)
        size = np.maximum(np.round(size * found / spacing), 1)
    strides = _strides(spacing, size)
    if levels is not None:
        strides = tuple(_triple(map(min, own, wanted)) for own, wanted in zip(levels, strides, strict=False))
    total = unshuffle * np.prod(np.array(strides), axis=0)
    voxels = QUICK_VOXELS if quick else PATCH_VOXELS
    # the whole arrangement of the labels tells more than all of the image: which vertebra is which, say
    labeled = np.max([fact.labeled for fact in facts], axis=0) / spacing
    patch_size = _patch_size(size, total, voxels, labeled if quick else total)
    ct = [term(word) == "CT" for word in dataset.modalities]
    normalization = tuple(
        ct_window(np.concatenate([fact.foreground[c] for fact in facts])) if is_ct else Normalization()
        for c, is_ct in enumerate(ct)
    )
    sided = [name for name in dataset.labels.values() if has_side(name)]
    preprocessing = Preprocessing(
        channels=len(dataset.modalities),
        spacing=_triple(float(round(s, 4)) for s in spacing),
        patch_size=_triple(int(w) for w in patch_size),
        normalization=normalization,
        mirror=() if sided else (0,),
    )
    # small patches allow more of them, but a step should not see most of a small data set
    batch = 1 if quick else int(np.clip(round(2 * voxels / np.prod(patch_size)), 2, np.clip(len(cases) // 10, 2, 16)))
    # in a slice, what is one piece in space may be several, and the largest may be the wrong one
    one_piece = _whole(facts) if quick and preprocessing.slice_axis is None else ()
    coarser = f", coarser: the narrowest structure stays {ACROSS} voxels wide" if (spacing > found).any() else ""
    reasons = (
        f"spacing {preprocessing.spacing} mm (R, A, S): the median of {len(cases)} training cases{coarser}",
        f"window {preprocessing.patch_size} voxels: the median case, up to {voxels:,} voxels"
        + (", shaped as the box around all labels" if quick else ""),
        f"batch {batch}: " + ("many steps" if quick else f"about {2 * voxels:,} voxels, at most a tenth of the cases"),
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
    quickly = (QUICK_NETWORK, QUICK_TRAINING) if quick else ({}, {})
    return TrainingPlan(preprocessing, strides, batch, one_piece, *quickly, reasons)


def _but(modality: str) -> str:
    """nnU-Net takes a channel's name for what is to be done with its intensities."""
    asked = modality.lower() in ("nonorm", "rescale_to_0_1", "rgb_to_0_1")
    return f" (not what nnU-Net does for '{modality}')" if asked else ""


def _facts(images: Sequence[Image], label: Image | None, ignore: int | None) -> _Facts:
    assert label is not None
    canonical = to_canonical(images[0])
    spacing = np.array(canonical.spacing)
    inside = (label.array > 0) & (label.array != ignore)
    labels = np.where(inside, label.array, 0).astype(np.int32)
    found = measure(labels, label.spacing)
    box = ndimage.find_objects(to_canonical(label.with_array(inside)).array.astype(np.uint8))
    # every n-th labeled voxel is enough for percentiles
    step = max(1, int(inside.sum()) // 2000)
    return _Facts(
        spacing=spacing,
        extent=spacing * canonical.shape,
        labeled=spacing * [part.stop - part.start for part in box[0]] if box else np.zeros(3),
        foreground=[image.array[inside][::step].astype(np.float32) for image in images],
        widths={value: _width(one, labels.shape) for value, one in found.items()},
        pieces={value: one.largest for value, one in found.items()},
    )


def _width(structure: Structure, shape: Sequence[int]) -> float:
    """The middle one of its three extents, in mm; in one slice, the smaller one of two."""
    extents = sorted(mm for mm, size in zip(structure.extent, shape, strict=True) if size > 1)
    return extents[(len(extents) - 1) // 2]


def _whole(facts: Sequence[_Facts]) -> tuple[int, ...]:
    """The labels that are one piece wherever they are."""
    values = sorted({value for fact in facts for value in fact.pieces})
    return tuple(value for value in values if all(fact.pieces.get(value, 1.0) >= WHOLE for fact in facts))


def _narrowest(facts: Sequence[_Facts]) -> float:
    """The width of the label that is the narrowest in the median case, in mm."""
    values = {value for fact in facts for value in fact.widths}
    return min(float(np.median([fact.widths[value] for fact in facts if value in fact.widths])) for value in values)


def has_side(name: str) -> bool:
    """Whether a label's name tells left from right."""
    return SIDED.search(WITHIN.sub(" ", name)) is not None


def _coarser(spacing: np.ndarray, size: np.ndarray, coarsest: float) -> np.ndarray:
    """As coarse as makes one patch of an image of ``size`` voxels, but not coarser than ``coarsest`` mm."""
    # slices are learned the sooner, the fewer voxels they have
    longest, voxels, enough = size * spacing, spacing.min(), QUICK_VOXELS ** (np.sum(size > 1) / 3)
    while True:
        # an axis of one voxel is none
        result = np.where(size == 1, spacing, np.maximum(spacing, min(voxels, coarsest)))
        if voxels >= coarsest or np.maximum(longest / result, 1).prod() <= enough:
            return result
        voxels *= 1.05


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


def _patch_size(size: np.ndarray, total: np.ndarray, voxels: int, proportions: np.ndarray) -> np.ndarray:
    """The largest patch of so many voxels within ``size``, a multiple of ``total`` along each axis."""
    patch_size = np.ceil(size / total) * total
    while patch_size.prod() > voxels and (patch_size > total).any():
        excess = np.where(patch_size > total, patch_size / np.maximum(proportions, 1), 0)
        patch_size[np.argmax(excess)] -= total[np.argmax(excess)]
    return patch_size.astype(int)


def _triple(values: Any) -> Any:
    first, second, third = values
    return first, second, third
