"""Explaining a class of a classifier, in the patch that it sees."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from ..card import Label
from ..errors import Cancelled, LLMBoostError
from ..inference.classifier_input import classifier_input
from ..inference.classify import decide, known_range, one_slice, probabilities, refusal
from ..inference.preprocessing import orient
from ..inference.roi import Roi
from ..io.image import Image, resample
from ..model import Model
from .maps import relevance
from .target import find_target


def explain_class(
    model: Model,
    channels: Sequence[Image],
    target: int | None,
    method: str,
    layer: str,
    roi: Roi | None,
    slice_number: int | None,
    modality: str,
    anyway: bool,
    progress: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> tuple[np.ndarray, Label, list[str]]:
    """The map, not negative and not scaled, on the first channel's grid; what it explains; what a user should know."""
    card, whole = model.card, channels[0]
    assert card.classification is not None
    result = np.zeros(whole.shape, np.float32)
    part = whole.with_array(result)  # a view for the result of what is seen
    if slice_number is not None:
        channels = [one_slice(whole, model, slice_number), *channels[1:]]
        part = one_slice(part, model, slice_number)
    if roi:
        channels, part = [roi.crop(channels[0]), *channels[1:]], roi.crop(part)
    framed, place = classifier_input(channels, card.preprocessing, card.classification.input_region)
    if not anyway and (known := known_range(model, framed, modality)).outside:
        raise LLMBoostError(refusal(known))
    images = torch.from_numpy(framed)
    label, number = _target(model, images, target)
    axis = card.preprocessing.slice_axis
    found = []
    for n, image in enumerate(images):
        if cancelled():
            raise Cancelled
        found.append(class_relevance(model, image[None], number, method, layer)[0].numpy())
        progress((n + 1) / len(images))
    seen = place.with_array(found[0] if axis is None else np.concatenate(found, axis=axis))
    view = orient(part, card.preprocessing)
    view.array[...] = resample(seen, view, "linear", fill=0.0).array
    return result, label, []


def class_relevance(model: Model, images: Tensor, number: int, method: str, layer: str) -> Tensor:
    """How much each voxel of framed images (B, channels, R, A, S) matters for class ``number``: (B, R, A, S), the mean
    over the mirror images that the classifier's answer is the mean of."""
    card, device = model.card, next(model.network.parameters()).device
    assert card.classification is not None
    multi_label = card.classification.multi_label

    def score(logits: Tensor) -> Tensor:
        if multi_label:
            return logits[:, number].sum()
        others = [n for n in range(logits.shape[1]) if n != number]
        return (logits[:, number] - logits[:, others].logsumexp(dim=1)).sum()

    mirror = card.preprocessing.mirror
    views = [[axis + 1 for axis in axes] for n in range(len(mirror) + 1) for axes in combinations(mirror, n)]
    maps = []
    for axes in views:
        seen = images.flip([axis + 1 for axis in axes]) if axes else images
        found = relevance(model.network, seen.to(device), method, layer, score)
        maps.append(found.flip(axes) if axes else found)
    return torch.stack(maps).mean(dim=0)


def _target(model: Model, images: Tensor, value: int | None) -> tuple[Label, int]:
    labels, classification = model.card.labels, model.card.classification
    assert classification is not None
    if value is not None:
        return find_target(model.card, labels, value)
    each = probabilities(
        model.network, images, mirror=model.card.preprocessing.mirror, multi_label=classification.multi_label
    )
    mean = each.mean(dim=0).numpy()
    decided = decide(model, mean)
    likeliest = labels[int(mean.argmax())]
    label = next((label for label in labels if label.name in decided[:1]), likeliest)
    return find_target(model.card, labels, label.value)
