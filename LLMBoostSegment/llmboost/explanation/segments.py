"""Explaining a segment: patch by patch as it is drawn, the cascade's crops included."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map
from torch import Tensor, nn

from ..card import Card, Label
from ..card.modality import differ
from ..errors import Cancelled
from ..inference.cascade import localize, look_at
from ..inference.predict import probability_slabs, tile
from ..inference.preprocessing import orient, preprocess
from ..inference.roi import Roi
from ..inference.segment import check, largest_component
from ..inference.sides import without_sides
from ..io.image import Image, resample
from ..model import Model
from .maps import relevance
from .target import find_target

# Patches are explained as they lie and moved by so many halves of a token along each axis: tokens are coarse, and where
# their grid happens to lie on the image should not show. More places did no better on val: see the recipe
# explain_hippocampus.
SHIFTS = (0, 1)


def explain_segment(
    model: Model,
    channels: Sequence[Image],
    target: int | None,
    method: str,
    layer: str,
    reference: Image | None,
    roi: Roi | None,
    modality: str,
    progress: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> tuple[np.ndarray, Label, list[str], Card | None]:
    """The map, not negative and not scaled, on the first channel's grid; what it explains; what a user should know; and
    the card of the model that told where to look."""
    check(model, channels)
    card, whole = model.card, channels[0]
    result = np.zeros(whole.shape, np.float32)
    part = whole.with_array(result)
    if reference is not None:
        reference = _mask_on(reference, whole)
    if roi:
        channels, part = [roi.crop(whole), *channels[1:]], roi.crop(part)
        reference = reference and roi.crop(reference)
    first = channels[0]
    by_cascade = card.needs_cascade([n * mm for n, mm in zip(first.shape, first.spacing, strict=True)])
    labels = card.sided_labels if by_cascade else card.labels
    label, number = find_target(card, labels, labels[0].value if target is None else target)
    if not whole.sides_known:
        merged, places = without_sides(card.labels)
        label = merged[places[number % len(places)]]
    explained = _Segment(model, number % len(card.labels) + 1, method, layer, cancelled)
    nothing = [f"{label.name}: not found, so there is nothing to explain"]
    if not by_cascade:
        found = explained.map(channels, reference, progress)
        if found is None:
            return result, label, nothing, None
        part.array[...] = found
        return result, label, [], None
    if differ(modality, card.modality):
        note = f"the images are {modality}, and model '{card.name}' takes {card.modality}: nothing was explained"
        return result, label, [note], None
    assert card.cascade is not None
    aim = card.cascade.targets[number // len(card.labels)]
    boxes, notes = localize(model, first, progress=lambda done: progress(done / 3), cancelled=cancelled)
    if aim not in boxes:
        return result, label, list(notes) or nothing, model.localizer.card
    look = look_at(channels, boxes[aim], aim)
    known = None
    if reference is not None:
        known = look.channels[0].with_array(look.see(reference.array[look.inside]))
    found = explained.map(look.channels, known, lambda done: progress((1 + 2 * done) / 3))
    if found is None:
        return result, label, nothing, model.localizer.card
    look.see(part.array[look.inside])[...] = found
    return result, label, [], model.localizer.card


class _Segment:
    """One class of a segmenter, and how it is explained."""

    def __init__(self, model: Model, number: int, method: str, layer: str, cancelled: Callable[[], bool]) -> None:
        self.model, self.number = model, number
        self.method, self.layer, self.cancelled = method, layer, cancelled

    def map(
        self, channels: Sequence[Image], reference: Image | None, progress: Callable[[float], None]
    ) -> np.ndarray | None:
        """On the grid of the first channel; None where there is no such segment."""
        preprocessing, first = self.model.card.preprocessing, channels[0]
        work = preprocess(channels, preprocessing)
        volume = torch.from_numpy(work.array)
        if reference is None:
            mask = self._drawn(volume, lambda done: progress(done / 3))
        else:
            mask = _mask_on(reference, work.with_array(work.array[0])).array
        if not mask.any():
            return None
        found = segment_relevance(
            self.model.network,
            volume,
            torch.from_numpy(mask),
            preprocessing.patch_size,
            self.number,
            self.method,
            self.layer,
            progress=lambda done: progress((1 + 2 * done) / 3),
            cancelled=self.cancelled,
        )
        result = np.zeros(first.shape, np.float32)
        view = orient(first.with_array(result), preprocessing)
        view.array[...] = resample(work.with_array(found.numpy()), view, "linear").array
        return result

    def _drawn(self, volume: Tensor, progress: Callable[[float], None]) -> np.ndarray:
        """Which voxels of the network's grid the model gives to the class."""
        card = self.model.card
        patch_size = card.preprocessing.patch_size
        axis = int(np.argmax(np.array(volume.shape[1:]) / patch_size))
        slabs = probability_slabs(
            self.model.network, volume, patch_size, axis=axis, progress=progress, cancelled=self.cancelled
        )
        indices = torch.cat([slab.argmax(dim=0).to(torch.int16) for slab in slabs], dim=axis).numpy()
        return (largest_component(indices) if card.largest_component else indices) == self.number


def _mask_on(segment: Image, grid: Image) -> Image:
    """Where a segment covers half of a voxel or more, on another grid. The nearest voxel would not do: of two as near,
    which one is taken depends on the order in which the image is stored."""
    share = resample(segment.with_array((segment.array != 0).astype(np.float32)), grid, "linear")
    return share.with_array(share.array > 0.499)


def segment_relevance(
    network: nn.Module,
    volume: Tensor,
    mask: Tensor,
    patch_size: tuple[int, int, int],
    number: int,
    method: str,
    layer: str,
    *,
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Tensor:
    """How much each voxel of a volume (channels, R, A, S) matters for the mean logit of class ``number`` over ``mask``
    (R, A, S): float32 (R, A, S), not negative, that much above its mean over the volume."""
    device = next(network.parameters()).device
    weight = compute_importance_map(patch_size, mode="gaussian")
    padded, places, inside = tile(volume, patch_size)
    marked = tile(mask[None], patch_size)[0][0]
    sums, weights = torch.zeros(marked.shape), torch.zeros(marked.shape)
    was_training = network.training
    network.eval()
    for n, halves in enumerate(SHIFTS):
        moved = [halves * step // 2 for step in network.stride]  # type: ignore[union-attr]
        there = [side for step in reversed(moved) for side in (step, -step)]
        image, drawn = F.pad(padded, there), F.pad(marked, there)
        part, total = torch.zeros_like(sums), torch.zeros_like(weights)
        for m, place in enumerate(places):
            if cancelled():
                network.train(was_training)
                raise Cancelled
            total[place] += weight
            if drawn[place].any():
                here = drawn[place].to(device)
                found = relevance(
                    network,
                    image[(slice(None), *place)][None].to(device),
                    method,
                    layer,
                    lambda logits, here=here: logits[:, number][:, here].sum(),  # type: ignore[misc]
                )
                part[place] += weight * found[0]
            progress((n + (m + 1) / len(places)) / len(SHIFTS))
        back = [-side for side in there]
        sums += F.pad(part, back)
        weights += F.pad(total, back)
    network.train(was_training)
    result = (sums / weights)[inside]
    return (result - result.mean()).relu()
