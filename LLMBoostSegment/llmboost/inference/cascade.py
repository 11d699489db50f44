"""The first step of a cascade: where, in an image larger than a model's crops, the model should look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ..card import Target
from ..errors import LLMBoostError
from ..io.image import Image, resample, to_canonical
from ..model import Model
from .predict import predict
from .preprocessing import preprocess
from .roi import Roi
from .sides import without_sides
from .subject import largest_piece, refusal


@dataclass(frozen=True)
class Look:
    """A crop of a case, as a model is to see it.

    Attributes:
        inside: where in the case's first channel it lies.
        crop: what of that channel is there.
        channels: the crop of each channel along canonical axes, mirrored where the target is.
    """

    inside: tuple[slice, slice, slice]
    crop: Image
    channels: tuple[Image, ...]
    mirrored: bool

    def see(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array``, on the grid of ``crop``, as ``channels`` are stored."""
        array = to_canonical(self.crop.with_array(array)).array
        return array[..., ::-1, :, :] if self.mirrored else array


def look_at(channels: Sequence[Image], box: Roi, target: Target) -> Look:
    """What of a case the model sees of a target in ``box``."""
    crop = box.crop(channels[0])
    crops = [crop, *(resample(channel, crop, "linear") for channel in channels[1:])]
    look, grid = Look(box.bounds(channels[0]), crop, (), target.mirror), to_canonical(crop)
    return replace(look, channels=tuple(grid.with_array(look.see(channel.array)) for channel in crops))


def localize(
    model: Model,
    image: Image,
    *,
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[dict[Target, Roi], tuple[str, ...]]:
    """Where the targets of the model's cascade lie in an image.

    Returns:
        a box of the model's patch around each target in view, along the image's own axes; and what a user should know:
        that the image does not show the subject at all, or which targets are not, or not wholly, in view.

    Raises:
        LLMBoostError: the localizer is not installed, or has no such labels.
        Cancelled: ``cancelled`` answered True.
    """
    card, cascade, localizer = model.card, model.card.cascade, model.localizer
    assert cascade is not None
    numbers = {label.name: n for n, label in enumerate(localizer.card.labels, start=1)}
    unknown = [target.structure for target in cascade.targets if target.structure not in numbers]
    if unknown:
        raise LLMBoostError(
            f"model '{localizer.card.name}' does not find {', '.join(unknown)}, which model '{card.name}' needs;"
            " remove the one of them that you imported"
        )
    preprocessing = localizer.card.preprocessing
    work = preprocess([image], preprocessing)
    chances = predict(
        localizer.network,
        torch.from_numpy(work.array),
        preprocessing.patch_size,
        progress=progress,
        cancelled=cancelled,
    )
    certainty, found = (tensor.numpy() for tensor in chances.max(dim=0))
    voxel_ml = float(np.prod(work.spacing)) / 1000

    def is_it(piece: np.ndarray, limits: tuple[float, float]) -> bool:
        size = piece.sum() * voxel_ml
        return bool(limits[0] <= size <= limits[1] and certainty[piece].mean() >= cascade.certainty)

    constant = work.array.min() == work.array.max()
    if constant or not is_it(largest_piece(found > 0), cascade.subject_ml):
        return {}, (f"this does not look like a {cascade.subject}: nothing was segmented",)
    if told := refusal(localizer.card, found, work, image, cascade.subject):
        return {}, tuple(told)
    edges = np.array(card.preprocessing.patch_size) * card.preprocessing.spacing  # of the box, along R, A, S
    boxes, notes = {}, []
    merged, kept = without_sides(localizer.card.labels)
    for target in cascade.targets:
        number = numbers[target.structure]
        structure = largest_piece(found == number)
        name = target.structure if image.sides_known else merged[kept[number - 1]].name
        if not is_it(structure, cascade.target_ml):
            notes.append(f"{name}: not in view")
            continue
        places = np.argwhere(structure)
        if (places == 0).any() or (places == np.array(structure.shape) - 1).any():
            notes.append(f"{name}: reaches the border of the image, so it may be cut")
        center = work.affine[:3, :3] @ places.mean(axis=0) + work.origin
        boxes[target] = Roi(list(center), list(edges), work.direction)
    return boxes, tuple(notes)
