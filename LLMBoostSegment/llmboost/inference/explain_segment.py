"""Explaining a segment: patch by patch as it is drawn, the cascade's crops included."""

from __future__ import annotations

import time

import numpy as np
import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map
from torch import Tensor, nn

from ..explanation import Explanation, ExplanationSpec
from ..explanation.maps import relevance
from ..explanation.spec import scaled
from ..io.image import Image, resample
from ..model import Model
from .components import cleaned
from .content import seen_of
from .exclusive import classes_of
from .memory import Batches
from .predict import evaluating, probability_slabs, size_at_once, tile
from .preprocessing import longest_axis, orient, preprocess
from .regrid import covered
from .sides import without_sides
from .views import View, Views
from .watch import UNWATCHED, Watch

# Patches are explained as they lie and moved by so many halves of a token along each axis: tokens are coarse, and where
# their grid happens to lie on the image should not show. More places did no better on val: see the recipe
# explain_hippocampus.
SHIFTS = (0, 1)


def explain_segment(
    model: Model, seen: Views, spec: ExplanationSpec, reference: Image | None, watch: Watch
) -> Explanation:
    """Where a segmenter looked for a segment, by the segment's mean logit.

    Args:
        reference: what counts as the segment, where it is not zero, on the grid of the case; None: what the model
            draws.

    Raises:
        LLMBoostError: there is nothing like what is to be explained.
        Cancelled: whoever waits cancelled.
    """
    started, card, case = time.monotonic(), model.card, seen.case
    label, number = spec.find(card, seen.labels)
    if not case.sides_known:
        merged, places = without_sides(card.labels)
        label = merged[places[number % len(places)]]
    heat = case.with_array(np.zeros(case.shape, np.float32))
    target, number = divmod(number, len(card.labels))
    notes = [f"{label.name}: not found, so there is nothing to explain"]
    view = next((view for view in seen.views if view.number == target), None)
    if view is None:
        notes = list(seen.notes) or notes
    elif _explain_view(model, view, heat, number + 1, spec, reference, watch):
        notes = []
    return scaled(heat, label, spec, started, notes, seen.localizer)


def _explain_view(
    model: Model, view: View, heat: Image, number: int, spec: ExplanationSpec, reference: Image | None, watch: Watch
) -> bool:
    """Put the map of what is seen of class ``number`` into ``heat``; False where there is no such segment."""
    card, preprocessing = model.card, model.card.preprocessing
    channels, box = seen_of(view.channels, preprocessing)
    first, work = channels[0], preprocess(channels, preprocessing)
    volume = torch.from_numpy(work.array)
    if reference is None:
        mask = _drawn(model, work, watch.part(0, 1 / 3)) == number
    else:
        there = first.with_array(view.turned(view.part(reference.array))[box])
        mask = mask_on(there, work.with_array(work.array[0])).array
    if not mask.any():
        return False
    marked = torch.from_numpy(mask)
    patch_size = size_at_once(model.network, volume.shape[1:], preprocessing.patch_size, card.tiling)
    output = number - (card.activation == "sigmoid")  # which has none of the background
    found = segment_relevance(model.network, volume, marked, patch_size, output, spec, watch.part(1 / 3, 1))
    place = orient(first.with_array(view.turned(view.part(heat.array))[box]), preprocessing)
    near = covered(place, work)
    place.array[near] = resample(work.with_array(found.numpy()), place.cut(near), "linear").array
    return True


def _drawn(model: Model, work: Image, watch: Watch) -> np.ndarray:
    """The class that the model gives to each voxel of the network's grid."""
    card, preprocessing = model.card, model.card.preprocessing
    axis, volume = longest_axis(work, preprocessing), torch.from_numpy(work.array)
    slabs = probability_slabs(
        model.network, volume, preprocessing.patch_size, axis=axis, tiling=card.tiling, watch=watch
    )
    indices = torch.cat([classes_of(slab, card.activation) for slab in slabs], dim=axis).numpy()
    return cleaned(indices, card)


def mask_on(segment: Image, grid: Image) -> Image:
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
    spec: ExplanationSpec,
    watch: Watch = UNWATCHED,
) -> Tensor:
    """How much each voxel of a volume (channels, R, A, S) matters for the mean logit of output ``number`` over ``mask``
    (R, A, S): float32 (R, A, S), not negative, that much above its mean over the volume."""
    weight = compute_importance_map(patch_size, mode="gaussian")
    padded, places, inside = tile(volume, patch_size)
    marked = tile(mask[None], patch_size)[0][0]
    sums, weights, total = torch.zeros(marked.shape), torch.zeros(marked.shape), torch.zeros(marked.shape)
    for place in places:
        total[place] += weight
    batches = Batches(network, 1, watch)
    with evaluating(network):
        for n, halves in enumerate(SHIFTS):
            moved = [halves * step // 2 for step in network.stride]  # type: ignore[union-attr]
            there = [side for step in reversed(moved) for side in (step, -step)]
            image, drawn, part = F.pad(padded, there), F.pad(marked, there), torch.zeros_like(sums)

            def compute(one: list[tuple[slice, ...]], image: Tensor = image, drawn: Tensor = drawn) -> Tensor:
                (place,) = one
                here = drawn[place].to(batches.device)
                patch = image[(slice(None), *place)][None].to(batches.device)
                return relevance(
                    network, patch, spec.method, spec.layer, lambda logits: logits[:, number][:, here].sum()
                )

            touched = [place for place in places if drawn[place].any()]
            for m, ((place,), found) in enumerate(batches.over(compute, touched)):
                part[place] += weight * found[0]
                watch.progress((n + (m + 1) / len(touched)) / len(SHIFTS))
            back = [-side for side in there]
            sums += F.pad(part, back)
            weights += F.pad(total, back)
    result = (sums / weights)[inside]
    return (result - result.mean()).relu()
