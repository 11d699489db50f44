"""Classifying one case: whether the model knows such images at all, calibrated probabilities, the decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..card import CLASSIFICATION
from ..card.modality import differ
from ..errors import Cancelled, LLMBoostError
from ..io.image import Image
from ..model import Model
from . import looks
from .classifier_input import classifier_input
from .preprocessing import orient
from .roi import Roi

BATCH = 32  # images at a time


@dataclass(frozen=True)
class Range:
    """Whether a case is of the kind that a model knows.

    Attributes:
        score: how far it is from the training images, see :mod:`.looks`; of several slices, the middle one's. Of a
            model whose card tells no looks, the distance of its features, see :mod:`.networks.ood_score`.
        limit: what 99 % of images of the training's kind do not exceed; 0: the model does not tell.
        reasons: what speaks against it, in words.
    """

    score: float
    limit: float
    reasons: tuple[str, ...] = ()

    @property
    def outside(self) -> bool:
        return bool(self.reasons)


@dataclass(frozen=True)
class Finding:
    """What a model says of a case; of one that it refuses, nothing but why: no probabilities, no decision.

    Attributes:
        probabilities: of each class, calibrated; of several slices the mean.
        decision: the names of the classes that are reported: one, or with several labels any number.
        slices: of a 2D model that was given several slices: the index of each along the image's slice axis.
        slice_probabilities: (slices, classes), in the same order.
        range: whether the model knows such images.
        warnings: what a user should know before believing the result.
    """

    probabilities: tuple[float, ...]
    decision: tuple[str, ...]
    slices: tuple[int, ...]
    slice_probabilities: np.ndarray
    range: Range
    seconds: float
    warnings: tuple[str, ...] = ()

    @property
    def refused(self) -> bool:
        return not self.probabilities


def refusal(known: Range) -> str:
    """Why a case is refused, in a line."""
    return f"not an image that this model knows: {'; '.join(known.reasons)}"


def classify(
    model: Model,
    channels: Sequence[Image],
    *,
    roi: Roi | None = None,
    slice_number: int | None = None,
    modality: str = "",
    anyway: bool = False,
    cancelled: Callable[[], bool] = lambda: False,
) -> Finding:
    """Classify a case, unless it is of another kind than the model knows.

    Args:
        model: a classifier.
        channels: one image a channel; a mask, where the model takes one.
        roi: limits what the model sees.
        slice_number: of a 2D model, the one slice to look at, counted along the image's slice axis; by default all.
        modality: of the images, in DICOM's terms, where it is known.
        anyway: answer for a case of another kind, too, with a warning.
        cancelled: asked between batches.

    Raises:
        LLMBoostError: the model is no classifier, or cannot take the image.
        Cancelled: ``cancelled`` answered True.
    """
    started = time.monotonic()
    card, classification = model.card, model.card.classification
    if card.task != CLASSIFICATION or classification is None:
        raise LLMBoostError(f"model '{card.name}' segments; use a classification model")
    whole = channels[0]
    if slice_number is not None:
        channels = [one_slice(whole, model, slice_number), *channels[1:]]
    if roi:
        channels = [roi.crop(channels[0]), *channels[1:]]
    framed, _place = classifier_input(channels, card.preprocessing, classification.input_region)
    if cancelled():
        raise Cancelled
    known = known_range(model, framed, modality)
    if known.outside and not anyway:
        none = np.empty((0, len(card.labels)), np.float32)
        return Finding((), (), (), none, known, time.monotonic() - started, known.reasons)
    found = []
    for batch in torch.from_numpy(framed).split(BATCH):
        if cancelled():
            raise Cancelled
        found.append(
            probabilities(
                model.network,
                batch,
                mirror=card.preprocessing.mirror,
                multi_label=classification.multi_label,
                temperature=classification.temperature,
            )
        )
    each = torch.cat(found).numpy()
    mean = each.mean(axis=0)
    numbers = range(0)
    if card.preprocessing.slice_axis is None:
        each = each[:0]
    else:
        across = slice_axis_of(whole, model)
        # slices lie as the network's axis runs, and are counted as the image's own does
        seen = orient(channels[0], card.preprocessing).direction[:, card.preprocessing.slice_axis]
        each = each if seen @ whole.direction[:, across] > 0 else each[::-1]
        first = slice_number or (roi.bounds(whole)[across].start if roi else 0)
        numbers = range(first, first + len(each))
    return Finding(
        probabilities=tuple(float(p) for p in mean),
        decision=decide(model, mean),
        slices=tuple(numbers),
        slice_probabilities=each,
        range=known,
        seconds=time.monotonic() - started,
        warnings=(*([card.doubts] if card.doubts else []), *known.reasons),
    )


def probabilities(
    network: nn.Module,
    images: Tensor,
    *,
    mirror: tuple[int, ...] = (),
    multi_label: bool = False,
    temperature: float = 1.0,
) -> Tensor:
    """Probabilities (N, classes) on the CPU of framed images (N, C, R, A, S): of the mean of the logits of an image and
    its mirror images along each choice of the axes ``mirror``."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    result = []
    with torch.inference_mode():
        for batch in images.split(BATCH):
            batch = batch.to(device).float()
            views = [axes for count in range(len(mirror) + 1) for axes in combinations(mirror, count)]
            logits = [network(batch.flip([axis + 2 for axis in axes]) if axes else batch) for axes in views]
            mean = torch.stack(logits).mean(dim=0) / temperature
            result.append((mean.sigmoid() if multi_label else mean.softmax(dim=1)).float().cpu())
    network.train(was_training)
    return torch.cat(result)


def distance(network: nn.Module, images: Tensor) -> Tensor:
    """How far framed images (N, C, R, A, S) are from those of the training, (N,) on the CPU."""
    device = next(network.parameters()).device
    classifier = cast(Any, network)
    with torch.inference_mode():
        return torch.cat(
            [classifier.ood_score(classifier.features(batch.to(device).float())).cpu() for batch in images.split(BATCH)]
        )


def decide(model: Model, chances: np.ndarray) -> tuple[str, ...]:
    """The names of the classes that are reported: the positive one from its threshold on, else the likeliest other;
    where classes do not exclude each other, all from their thresholds on."""
    card, classification = model.card, model.card.classification
    assert classification is not None
    names = [label.name for label in card.labels]
    if classification.multi_label:
        return tuple(n for n, p, cut in zip(names, chances, classification.thresholds, strict=True) if p >= cut)
    if classification.positive:
        positive = names.index(classification.positive)
        if chances[positive] >= classification.thresholds[0]:
            return (classification.positive,)
        others = np.where(np.arange(len(names)) == positive, -1.0, chances)
        return (names[int(others.argmax())],)
    return (names[int(np.argmax(chances))],)


def one_slice(image: Image, model: Model, index: int) -> Image:
    """The slice ``index`` of an image, counted along its slice axis: that of one voxel, of the largest spacing, or the
    one that the model's card names."""
    axis = slice_axis_of(image, model)
    if model.card.preprocessing.slice_axis is None:
        raise LLMBoostError(f"model '{model.card.name}' takes volumes; a slice cannot be chosen")
    if not 0 <= index < image.shape[axis]:
        raise LLMBoostError(f"slice {index}: the image has slices 0 to {image.shape[axis] - 1}")
    place = tuple(np.s_[index : index + 1] if n == axis else np.s_[:] for n in range(3))
    shift = image.direction[:, axis] * image.spacing[axis] * index
    x, y, z = (float(mm) for mm in shift + image.origin)
    return replace(image, array=image.array[(..., *place)], origin=(x, y, z))


def slice_axis_of(image: Image, model: Model) -> int:
    """The axis (i, j, k: 0, 1, 2) of ``image`` that a 2D model takes its slices across."""
    wanted = model.card.preprocessing.slice_axis
    if wanted is None:
        return 2
    across = orient(image, model.card.preprocessing).direction[:, wanted]
    return int(np.abs(across @ image.direction).argmax())


def known_range(model: Model, framed: np.ndarray, modality: str) -> Range:
    """Whether a case, as :func:`.input_region.frame` gives it, is of the kind that the model knows."""
    card, classification = model.card, model.card.classification
    assert classification is not None
    score, limit = _distance(model, framed)
    reasons = []
    if differ(modality, card.modality):
        reasons.append(f"the image is {modality}, and model '{card.name}' takes {card.modality}")
    if not any(np.ptp(part) > 0 for part in framed):
        reasons.append("the image is uniform: there is nothing to see")
    if limit and score > limit:
        reasons.append(
            f"the image is unlike those that model '{card.name}' was trained on"
            f" (distance {score:.2f}, usual up to {limit:.2f})"
        )
    return Range(score, limit, tuple(reasons))


def _distance(model: Model, framed: np.ndarray) -> tuple[float, float]:
    classification = model.card.classification
    assert classification is not None
    if classification.looks is not None:
        return float(np.median(looks.distance(classification.looks, framed))), classification.looks.limit
    return float(distance(model.network, torch.from_numpy(framed)).median()), classification.range_limit
