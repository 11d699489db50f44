"""What a model of crops can learn from a large image: a crop for each structure that its cascade looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from llmboost.card import CROP, LEFT, RIGHT, Card, Target, normalized
from llmboost.errors import LLMBoostError
from llmboost.inference.roi import Roi
from llmboost.io.image import Image, to_canonical
from llmboost.io.labels import IGNORE
from llmboost.io.segnrrd import terminology_entry

from .cases import Kind
from .mapping import BACKGROUND

Masks = Sequence[tuple[Kind, np.ndarray]]


@dataclass(frozen=True)
class Crop:
    """A part of an image, as large as the model looks at once, around the segments of one structure.

    Attributes:
        target: of the model's cascade, by number.
        side: of the body, in words; empty where there are no sides.
        mirror: the model sees it mirrored, left to right.
        inside: which voxels (i, j, k) it has.
    """

    target: int
    side: str
    mirror: bool
    inside: tuple[slice, slice, slice]

    def image(self, image: Image) -> Image:
        """The part of an image on the grid that the crop was made for.

        A mirrored one is as of a mirrored patient: it lies where the other side's structure would.
        """
        corner = image.affine[:3, :3] @ [part.start for part in self.inside] + image.origin
        crop = image.on_grid(image.array[self.inside], image.spacing, corner, image.direction)
        return _mirrored(crop) if self.mirror else crop

    def masks(self, image: Image, masks: Masks, card: Card) -> list[tuple[Kind, np.ndarray]]:
        """The segments there, those of a side under the names that the model knows them by; others only if there."""
        own = {normalized(label.name): card.labels[n % len(card.labels)] for n, label in enumerate(card.sided_labels)}
        found: dict[Kind, np.ndarray] = {}
        for kind, mask in masks:
            label = own.get(normalized(kind.name))
            part = self.image(image.with_array(mask)).array
            if label is not None:
                kind = Kind(label.name, terminology_entry(label))
            if label is not None or part.any():
                found[kind] = found[kind] | part if kind in found else part
        return list(found.items())


def findCrops(card: Card, image: Image, masks: Masks, known: Mapping[int, Any]) -> list[Crop]:
    """A crop for each target of the model's cascade that segments were drawn of.

    Which side a segment is of, its name tells; segments without a side in their name are parted in the middle of the
    image.

    Args:
        masks: the segments, bool [i, j, k] on the image's grid.
        known: by target, the voxels (``inside``) of an earlier crop, which is kept as long as it holds the segments.

    Raises:
        LLMBoostError: what was drawn of a structure reaches further than the crops that the model knows.
    """
    assert card.cascade is not None
    crops = []
    for n, (target, places) in enumerate(_places(card, image, masks).items()):
        inside = known.get(n)
        if inside is None or (len(places) and not _holds(inside, places)):
            inside = _around(card, image, places, target) if len(places) else None
        if inside is not None:
            crops.append(Crop(n, target.side.meaning if target.side else "", target.mirror, inside))
    return crops


def _places(card: Card, image: Image, masks: Masks) -> dict[Target, np.ndarray]:
    """(n, 3): indices of the voxels that were drawn of each target."""
    assert card.cascade is not None
    targets, step = card.cascade.targets, len(card.labels)
    sides = {normalized(label.name): targets[n // step] for n, label in enumerate(card.sided_labels)}
    sided = {target: np.zeros(image.shape, bool) for target in targets}
    others = np.zeros(image.shape, bool)
    for kind, mask in masks:
        if normalized(kind.name) in (BACKGROUND, IGNORE):  # which lies around them
            continue
        target = sides.get(normalized(kind.name))
        if target is None:
            others |= mask
        else:
            sided[target] |= mask
    found = {target: np.argwhere(mask) for target, mask in sided.items()}
    if any(len(places) for places in found.values()):
        return found
    places = np.argwhere(others)
    center = (np.array(image.shape) - 1) / 2
    left = ((places - center) @ image.affine[0, :3]) > 0  # of the middle: LPS
    isOn = {LEFT: left, RIGHT: ~left, None: np.ones(len(places), bool)}
    return {target: places[isOn[target.side]] for target in targets if target.side in isOn}


def _holds(inside: tuple[slice, slice, slice], places: np.ndarray) -> bool:
    starts, stops = ([getattr(part, end) for part in inside] for end in ("start", "stop"))
    return bool((places >= starts).all() and (places < stops).all())


def _around(card: Card, image: Image, places: np.ndarray, target: Target) -> tuple[slice, slice, slice]:
    """The model's window around their middle, as the cascade cuts it, or somewhat more if they reach further."""
    axes, spacing = to_canonical(image).direction, to_canonical(image).spacing
    points = places @ image.affine[:3, :3].T + image.origin
    center = points.mean(axis=0)
    window = np.array(card.preprocessing.patch_size) * card.preprocessing.spacing
    reach = 2 * np.abs((points - center) @ axes).max(axis=0) + spacing
    if (reach > CROP * window - spacing).any():
        text = _(
            "{structure}: what was drawn of it reaches over {reach} mm, and the model looks at {window} mm at once;"
            " remove what lies elsewhere with Edit (Islands), then add it again"
        )
        reached = np.ptp(points @ axes, axis=0) + spacing
        sizes = (" × ".join(f"{mm:.0f}" for mm in lengths) for lengths in (reached, window))
        raise LLMBoostError(text.format(structure=target.structure, reach=next(sizes), window=next(sizes)))
    return Roi(list(center), list(np.maximum(window, reach)), axes).bounds(image)


def _mirrored(image: Image) -> Image:
    """As of a patient who is mirrored at the plane x = 0, along canonical axes."""
    grid = to_canonical(image)
    mirror = np.diag([-1.0, 1.0, 1.0])
    last = grid.affine[:3, :3] @ [grid.shape[0] - 1, 0, 0] + grid.origin
    direction = mirror @ grid.direction @ mirror
    return grid.on_grid(grid.array[::-1], grid.spacing, mirror @ last, direction)
