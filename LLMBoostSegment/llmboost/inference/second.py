"""A second reader for a cascade: a model that draws all of the subject, the cascade's targets among it.

A model of crops that learned from one contrast is not to be believed in another, and does not know it: in FLAIR, and in
slices of 6 mm, it draws parts of a hippocampus, or what is beside it. Where both agree, its own answer stays, which is
the finer one; where they do not, the second reader's takes its place, on both sides, so that these can be compared.
"""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import replace

import numpy as np
import torch

from ..card import SEGMENTATION, Card, Cascade, read_card
from ..errors import LLMBoostError
from ..io.image import Image, resample, to_canonical
from ..library import installed
from ..model import Model, load_model
from .canvas import Canvas
from .components import largest_piece
from .predict import predict
from .preprocessing import preprocess
from .roi import Roi
from .views import View, Views
from .watch import Watch

# of both readers' masks: T1 has 0.62 to 0.76, FLAIR 0 to 0.4, T1 in slices of 6.5 mm 0.2 to 0.6 (heads of 2 mm)
LEAST_DICE = 0.6
ANTERIOR, POSTERIOR = "255549009", "255551008"  # SNOMED CT
# by SNOMED CT's code of a structure, the anterior part's share of its length from front to back. Of the hippocampus:
# mean of Task04's 139 label maps for training, with a deviation of 0.04; a plane leaves 0.2 % on the wrong side
ANTERIOR_SHARE = {"5366008": 0.42}


def second_reader(model: Model) -> Model | None:
    """The model that :func:`reader_of` tells, on the same device; loaded once."""
    card = reader_of(model.card)
    if card is None:
        return None
    if card.name not in model.helpers:
        model.helpers[card.name] = load_model(installed()[card.name], next(model.network.parameters()).device)
    return model.helpers[card.name]


def reader_of(card: Card) -> Card | None:
    """The finest installed model that draws all targets of a model's cascade and starts from the same localizer. None
    if there is none, its answer would not tell the model's labels apart, or the model was adapted: it has learned what
    a user's own images look like."""
    if card.cascade is None or card.adapter or _anterior_share(card) is None:
        return None
    fit = []
    for name, path in installed().items():
        with suppress(LLMBoostError):  # a damaged file is told where it is asked for
            other = replace(read_card(path), name=name)
            fit += [other] if _reads_targets(other, card.cascade) else []
    return min(fit, key=lambda one: (np.prod(one.preprocessing.spacing), one.name), default=None)


def _reads_targets(card: Card, cascade: Cascade) -> bool:
    own, structures = card.cascade, {target.structure for target in cascade.targets}
    if own is None or card.adapter or card.task != SEGMENTATION or own.localizer != cascade.localizer:
        return False
    return all(not target.structure for target in own.targets) and structures <= {label.name for label in card.labels}


def second_opinion(model: Model, seen: Views, canvas: Canvas, roi: Roi | None, watch: Watch) -> Card | None:
    """Draw the second reader's answer in place of the model's, where they differ too much; the watch is told.

    Args:
        canvas: on the grid of the case, on which the model's own answer is drawn.

    Returns:
        the card of the second reader, if its answer was taken.
    """
    reader = second_reader(model) if seen.by_cascade and seen.views else None
    if reader is None:
        return None
    assert model.card.cascade is not None
    least, most = model.card.cascade.target_ml
    work, found = _read(reader, seen, roi, watch)
    count, other, agreement = len(model.card.labels), np.zeros_like(canvas.indices), 1.0
    numbers = {label.name: n for n, label in enumerate(reader.card.labels, start=1)}
    for view in seen.views:
        assert view.target is not None
        mask = largest_piece(found == numbers[view.target.structure])
        if not least <= mask.sum() * np.prod(work.spacing) / 1000 <= most:
            return None  # it does not know better
        parts, own, here = _parts(view, work, mask, model.card), view.part(canvas.indices), view.part(other)
        if roi:
            parts *= roi.contains(view.crop)
        here[parts > 0] = parts[parts > 0] + view.number * count
        drawn = (own > view.number * count) & (own <= (view.number + 1) * count)
        agreement = min(agreement, _dice(drawn, parts > 0))
    if agreement >= LEAST_DICE:
        return None
    canvas.indices[...] = other
    canvas.tallies.clear()  # they tell of the model's own answer, as its maps do
    watch.notice(
        f"drawn by model '{reader.card.name}', for '{model.card.name}' drew something else (Dice {agreement:.2f}), as"
        " it does in sequences and thick slices that it does not know; anterior and posterior part are divided where"
        " they usually meet"
    )
    return reader.card


def _anterior_share(card: Card) -> float | None:
    """Of a structure's length from front to back, the share of the anterior part, where the labels are its anterior and
    its posterior one; None where they are not, or that is not known."""
    parts = [label.modifier.value if label.modifier else "" for label in card.labels]
    structures = {label.type.value if label.type else "" for label in card.labels}
    return ANTERIOR_SHARE.get(structures.pop()) if parts == [ANTERIOR, POSTERIOR] and len(structures) == 1 else None


def _read(reader: Model, seen: Views, roi: Roi | None, watch: Watch) -> tuple[Image, np.ndarray]:
    """What the reader sees around all views, at least a patch of it; and the classes of its voxels, along R, A, S."""
    card, case = reader.card, to_canonical(roi.crop(seen.case) if roi else seen.case)
    corners = []
    for crop in (view.crop for view in seen.views):
        ends = np.array(list(itertools.product(*((0, n - 1) for n in crop.shape))))
        corners.append(ends @ crop.affine[:3, :3].T + crop.origin)
    along = np.concatenate(corners) @ case.direction
    low, high = along.min(axis=0), along.max(axis=0)
    patch = np.array(card.preprocessing.patch_size) * card.preprocessing.spacing
    box = Roi(list(case.direction @ (low + high) / 2), list(np.maximum(high - low, patch)), case.direction)
    work = preprocess([box.crop(case)], card.preprocessing)
    volume = torch.from_numpy(work.array)
    found = predict(reader.network, volume, card.preprocessing.patch_size, tiling=card.tiling, watch=watch.part(1, 1))
    return work, found.argmax(dim=0).numpy()


def _parts(view: View, work: Image, mask: np.ndarray, card: Card) -> np.ndarray:
    """A mask [i, j, k] along R, A, S as the classes of the card's labels, on the grid of the view's crop."""
    front, share = np.zeros_like(mask), _anterior_share(card)
    assert share is not None
    along = np.flatnonzero(mask.any(axis=(0, 2)))
    front[:, round(along[-1] + 1 - share * (along[-1] + 1 - along[0])) :] = True
    anterior, posterior = (
        resample(work.with_array((mask & part).astype(np.float32)), view.crop, "linear", fill=0).array
        for part in (front, ~front)
    )
    return np.where(anterior >= posterior, 1, 2).astype(np.uint8) * (anterior + posterior >= 0.5)


def _dice(one: np.ndarray, other: np.ndarray) -> float:
    return float(2 * np.sum(one & other) / max(one.sum() + other.sum(), 1))
