"""The first step of a cascade: where, in an image larger than a model's crops, the model should look."""

from __future__ import annotations

import numpy as np
import torch

from ..card import Target
from ..errors import LLMBoostError
from ..io.image import Image
from ..library import find
from ..model import Model, load_model
from .components import largest_piece
from .predict import predict
from .preprocessing import preprocess
from .roi import Roi
from .sides import without_sides
from .subject import refusal
from .watch import UNWATCHED, Watch

AROUND = 12.0  # mm of what surrounds a subject that are seen, too: the localizer is coarse


def localizer(model: Model) -> Model:
    """The model that a cascade begins with, on the same device; loaded once.

    Raises:
        LLMBoostError: the library has none of that name.
    """
    assert model.card.cascade is not None
    name = model.card.cascade.localizer
    if name not in model.helpers:
        model.helpers[name] = load_model(find(name), next(model.network.parameters()).device)
    return model.helpers[name]


def localize(model: Model, image: Image, watch: Watch = UNWATCHED) -> tuple[dict[Target, Roi], tuple[str, ...]]:
    """Where the targets of the model's cascade lie in an image.

    Returns:
        a box around each target in view, along the image's own axes, as large as the model's patch, or as the subject
        where all of it is to be seen; and what a user should know: that the image does not show the subject at all, or
        which targets are not, or not wholly, in view.

    Raises:
        LLMBoostError: the localizer is not installed, or has no such labels.
        Cancelled: whoever waits cancelled.
    """
    card, cascade, finder = model.card, model.card.cascade, localizer(model)
    assert cascade is not None
    numbers = {label.name: n for n, label in enumerate(finder.card.labels, start=1)}
    unknown = [target.structure for target in cascade.targets if target.structure not in {"", *numbers}]
    if unknown:
        raise LLMBoostError(
            f"model '{finder.card.name}' does not find {', '.join(unknown)}, which model '{card.name}' needs;"
            " remove the one of them that you imported"
        )
    work = preprocess([image], finder.card.preprocessing)
    probabilities = predict(
        finder.network, torch.from_numpy(work.array), finder.card.preprocessing.patch_size, watch=watch
    )
    certainty, found = (tensor.numpy() for tensor in probabilities.max(dim=0))
    voxel_ml = float(np.prod(work.spacing)) / 1000

    def is_it(piece: np.ndarray, limits: tuple[float, float]) -> bool:
        size = piece.sum() * voxel_ml
        return bool(limits[0] <= size <= limits[1] and certainty[piece].mean() >= cascade.certainty)

    constant, subject = work.array.min() == work.array.max(), largest_piece(found > 0)
    if constant or not is_it(subject, cascade.subject_ml):
        return {}, (f"this does not look like a {cascade.subject}: nothing was segmented",)
    if told := refusal(finder.card, found, work, image, cascade.subject):
        return {}, tuple(told)
    edges = np.array(card.preprocessing.patch_size) * card.preprocessing.spacing  # of the box, along R, A, S
    boxes, notes = {}, []
    merged, kept = without_sides(finder.card.labels)
    for target in cascade.targets:
        if target.structure:
            number = numbers[target.structure]
            structure, limits = largest_piece(found == number), cascade.target_ml
            name = target.structure if image.sides_known else merged[kept[number - 1]].name
        else:
            structure, limits, name = subject, cascade.subject_ml, cascade.subject
        if not is_it(structure, limits):
            notes.append(f"{name}: not in view")
            continue
        places = np.argwhere(structure)
        if (places == 0).any() or (places == np.array(structure.shape) - 1).any():
            notes.append(f"{name}: reaches the border of the image, so it may be cut")
        middle, size = places.mean(axis=0), edges
        if not target.structure:
            first, last = places.min(axis=0), places.max(axis=0)
            middle, size = (first + last) / 2, (last - first + 1) * np.array(work.spacing) + 2 * AROUND
        center = work.affine[:3, :3] @ middle + work.origin
        boxes[target] = Roi(list(center), list(size), work.direction)
    return boxes, tuple(notes)
