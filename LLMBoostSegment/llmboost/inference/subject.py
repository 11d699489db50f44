"""Whether an image shows what a model draws, told from what the model finds in it.

A network finds its structures wherever it must, in a spine as in a bottle of water. There, however, they do not lie to
each other as in a head, or they all look alike. And a head in CT is none in MR: it has its bones and few contrasts.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from ..card import Card, Label, Subject
from ..card.modality import differ, term
from ..io.image import Image
from .components import cleaned, largest_piece

FEWEST = 3  # voxels of a structure that is in view
AIR_HU, SOFT_HU = -500, 300  # CT has air below the one, and soft tissue no further than the other from water
SHARE_OF_AIR, SHARE_SOFT = 0.01, 0.3
SAMPLE = 100_000  # voxels
ALIKE = 0.6  # of neighbors; 32 images have up to 0.35, 17 label maps 0.80 and more, or three values


def refusal(card: Card, found: np.ndarray, work: Image, image: Image, subject: str = "") -> list[str]:
    """That and why an image does not show the card's subject, for a user; empty if it may well, or there is none.

    Args:
        found: [i, j, k] along R, A, S, the class that the model gives to each voxel; 0 is background.
        work: what the network saw, [c, i, j, k].
        image: as it is stored.
        subject: another word for it.
    """
    if card.subject is None:
        return []
    found = cleaned(found, card) if card.one_piece else found * largest_piece(found > 0)
    kind = another_kind(card, image.array, "")
    reason = kind or why_not(card.subject, card.labels, found, work.array[0], work.spacing)
    return (
        [f"this does not look like a {subject or card.subject.name}: nothing was segmented", reason] if reason else []
    )


def why_not(
    subject: Subject, labels: Sequence[Label], found: np.ndarray, values: np.ndarray, spacing: Sequence[float]
) -> str:
    """Why an image does not show the subject, in words; empty if it may well.

    Args:
        labels: the model's, in the order of its classes.
        found: [i, j, k] along R, A, S, the class of each voxel, without stray pieces.
        values: [i, j, k], its intensity in any unit.
        spacing: mm, along the same axes.
    """
    numbers = {label.name: n for n, label in enumerate(labels, start=1)}
    sizes = np.bincount(found.ravel(), minlength=len(labels) + 1)
    seen = [name for name in subject.places if sizes[numbers[name]] >= FEWEST]
    if len(seen) < subject.fewest:
        return f"only {len(seen)} of {len(subject.places)} structures are in view"
    classes = [numbers[name] for name in seen]
    points = np.array(ndimage.center_of_mass(found > 0, found, classes)) * spacing
    places = np.array([subject.places[name] for name in seen], float)
    spreads = places[:, 3]
    expected, scale = aligned(places[:, :3], points, spreads**-2.0)
    if np.sqrt(np.mean(((points - expected) ** 2).sum(axis=1) / spreads**2)) > subject.misfit * scale:
        return "what was found does not lie as its structures do"
    if not subject.scale[0] <= scale <= subject.scale[1]:
        return f"what was found is {scale:.1f} times as large as usual"
    inside = np.isin(found, classes)
    air = float(np.percentile(values, 1))
    low, middle, high = np.percentile(values[inside], (25, 50, 75)) - air
    if high - low < subject.contrast * middle:
        return "its structures look alike, as in CT, or there are none"
    if subject.rim and (rim := _rim(found > 0)).any() and np.median(values[rim]) - air > subject.rim * middle:
        return "what surrounds it is much brighter, as bone is in CT"
    return ""


def aligned(places: np.ndarray, middles: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Points shifted, turned and scaled to where they should lie, as well as can be (Umeyama 1991); and their scale.

    Args:
        places, middles: (n, 3), the points, and where they should lie, in mm.
        weights: (n,), how much each one counts.
    """
    share = weights / weights.sum()
    to, center = share @ middles, share @ places
    u, s, v = np.linalg.svd((share[:, None] * (middles - to)).T @ (places - center))
    handed = 1.0 if np.linalg.det(u @ v) > 0 else -1.0  # turned, never mirrored
    u[:, 2], s[2] = u[:, 2] * handed, s[2] * handed
    scale = float(s.sum() / (share @ ((places - center) ** 2).sum(axis=1)))
    return (places - center) @ (scale * u @ v).T + to, scale


def _rim(found: np.ndarray) -> np.ndarray:
    """The voxels in the second and third layer, counted from the surface of what was found."""
    core = ndimage.binary_erosion(ndimage.binary_fill_holes(found))
    return ndimage.binary_dilation(core, iterations=3) & ~ndimage.binary_dilation(core)


def another_kind(card: Card, array: np.ndarray, modality: str) -> str:
    """That an image is of another modality than the model's, by what is told, else by its values; empty if it is not.

    Args:
        modality: of the image, in DICOM's terms, where it is known.
    """
    takes = f"and model '{card.name}' takes {card.modality}"
    if differ(modality, card.modality):
        return f"the images are {modality}, {takes}"
    if not term(modality) and differ("CT", card.modality) and like_ct(array):
        return f"the images have values like CT (Hounsfield units), {takes}"
    if card.modality not in ("", "SEG") and like_labels(array):
        return f"the images have large areas of one value, as label maps have, {takes}"
    return ""


def like_ct(array: np.ndarray) -> bool:
    """Whether values are those of CT in Hounsfield units: some far below zero, the others mostly close to it."""
    if array.min() > AIR_HU:
        return False
    air = int(np.count_nonzero(array <= AIR_HU))
    soft = int(np.count_nonzero((array >= -SOFT_HU) & (array <= SOFT_HU)))
    return air >= SHARE_OF_AIR * array.size and soft >= SHARE_SOFT * max(array.size - air, 1)


def like_labels(array: np.ndarray) -> bool:
    """Whether [i, j, k] is a label map rather than an image: neighbors mostly have the same value.

    What has the smallest or the largest value, or the most frequent one between them, says nothing: images are empty
    around, cut off above, and air may have one value inside of another padding.
    """
    low, high = array.min(), array.max()
    between = (array > low) & (array < high)
    inner = array[between]
    if inner.size:
        values, counts = np.unique(inner[:: max(inner.size // SAMPLE, 1)], return_counts=True)
        between &= array != values[counts.argmax()]
    if not between.any():
        return bool(low < high)  # a mask, or three values
    alike = pairs = 0
    for axis, size in enumerate(array.shape):
        one, other = (np.arange(size - 1) + n for n in (0, 1))
        both = between.take(one, axis) & between.take(other, axis)
        pairs += int(np.count_nonzero(both))
        alike += int(np.count_nonzero(both & (array.take(one, axis) == array.take(other, axis))))
    return alike > ALIKE * max(pairs, 1)
