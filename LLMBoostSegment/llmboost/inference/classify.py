"""Classifying one case: whether the model knows such images at all, calibrated probabilities, the decision."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..card import CLASSIFICATION
from ..card.modality import differ
from ..errors import LLMBoostError, NotExplained
from ..explanation import Explanation, ExplanationSpec
from ..io.image import Image
from ..model import Model
from . import looks
from .classifier_input import Framed, classifier_input
from .explain_class import explain_class
from .memory import Batches
from .predict import evaluating
from .preprocessing import mirrorings, orient
from .roi import Roi
from .views import slice_axis_of, view_of_slices
from .watch import UNWATCHED, Watch

BATCH = 32  # images at a time
TOLD = 0.3  # the fraction of the work that is classifying, where the answer is explained, too


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
        seconds: that classifying took.
        warnings: what a user should know before believing the result.
        explanation: where the model looked; on request, and not of a case that it refuses.
    """

    probabilities: tuple[float, ...]
    decision: tuple[str, ...]
    slices: tuple[int, ...]
    slice_probabilities: np.ndarray
    range: Range
    seconds: float
    warnings: tuple[str, ...] = ()
    explanation: Explanation | None = None

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
    anyway: bool = False,
    explain: ExplanationSpec | None = None,
    watch: Watch = UNWATCHED,
) -> Finding:
    """Classify a case, unless it is of another kind than the model knows.

    Args:
        model: a classifier.
        channels: one image a channel; a mask, where the model takes one.
        roi: limits what the model sees.
        slice_number: of a 2D model, the one slice to look at, counted along the image's slice axis; by default all.
        anyway: answer for a case of another kind, too, with a warning.
        explain: also tell where the model looked, by default for the class that it decides for.

    Raises:
        LLMBoostError: the model is no classifier, cannot take the image, or has no class like what is to be explained.
        NotExplained: the answer is there, but no map can be made.
        Cancelled: whoever waits cancelled.
    """
    started = time.monotonic()
    card, classification = model.card, model.card.classification
    if card.task != CLASSIFICATION or classification is None:
        raise LLMBoostError(f"model '{card.name}' segments; use a classification model")
    number = explain.find(card, card.labels)[1] if explain else 0
    view = view_of_slices(model, channels, roi, slice_number)
    framed = Framed(
        channels[0], view, *classifier_input(view.channels, card.preprocessing, classification.input_region)
    )
    notes: dict[str, None] = {}
    watch = replace(watch, notice=notes.setdefault)
    classifying = watch.part(0, TOLD) if explain else watch
    watch.go_on()
    known, features = _known_range(model, framed, classifying)
    if known.outside and not anyway:
        none = np.empty((0, len(card.labels)), np.float32)
        return Finding((), (), (), none, known, time.monotonic() - started, known.reasons)
    images = torch.from_numpy(framed.images)
    logits = _logits(model.network, images, card.preprocessing.mirror, features, classifying)
    each = _probabilities(logits / classification.temperature, classification.multi_label).numpy()
    mean = each.mean(axis=0)
    slices, each = _in_order(model, framed, each)
    result = Finding(
        probabilities=tuple(float(p) for p in mean),
        decision=decide(model, mean),
        slices=tuple(slices),
        slice_probabilities=each,
        range=known,
        seconds=time.monotonic() - started,
        warnings=(*([card.doubts] if card.doubts else []), *known.reasons, *notes),
    )
    if explain is None:
        return result
    if explain.target is None:  # the class is decided for without calibration here
        raw = _probabilities(logits, classification.multi_label).mean(dim=0).numpy()
        names, decided = [label.name for label in card.labels], decide(model, raw)
        number = names.index(decided[0]) if decided else int(raw.argmax())
    try:
        return replace(result, explanation=explain_class(model, framed, explain, number, watch.part(TOLD, 1)))
    except LLMBoostError as error:
        raise NotExplained(str(error), result) from error


def _known_range(model: Model, framed: Framed, watch: Watch) -> tuple[Range, Tensor | None]:
    """Whether a case is of the kind that the model knows; and the features of its images, where those tell."""
    card, classification, features = model.card, model.card.classification, None
    assert classification is not None
    if classification.looks is not None:
        score, limit = float(np.median(looks.distance(classification.looks, framed.images))), classification.looks.limit
    elif not classification.range_limit:
        score = limit = 0.0
    else:
        plain = watch.part(0, 1 / len(mirrorings(card.preprocessing.mirror)))
        features = features_of(model.network, torch.from_numpy(framed.images), plain)
        score, limit = float(distance(model.network, features).median()), classification.range_limit
    modality, reasons = framed.case.modality, []
    if differ(modality, card.modality):
        reasons.append(f"the image is {modality}, and model '{card.name}' takes {card.modality}")
    if not any(np.ptp(image) > 0 for image in framed.images):
        reasons.append("the image is uniform: there is nothing to see")
    if limit and score > limit:
        reasons.append(
            f"the image is unlike those that model '{card.name}' was trained on"
            f" (distance {score:.2f}, usual up to {limit:.2f})"
        )
    return Range(score, limit, tuple(reasons)), features


def _in_order(model: Model, framed: Framed, each: np.ndarray) -> tuple[range, np.ndarray]:
    """Of a 2D model, the number of each slice along the image's slice axis, and their probabilities in that order."""
    case, view, axis = framed.case, framed.view, model.card.preprocessing.slice_axis
    if axis is None:
        return range(0), each[:0]
    across = slice_axis_of(case, model)
    # slices lie as the network's axis runs, and are counted as the image's own does
    seen = orient(view.crop, model.card.preprocessing).direction[:, axis]
    first = view.inside[across].start
    return range(first, first + len(each)), each if seen @ case.direction[:, across] > 0 else each[::-1]


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
    return _probabilities(_logits(network, images, mirror, None, UNWATCHED) / temperature, multi_label)


def _probabilities(logits: Tensor, multi_label: bool) -> Tensor:
    return logits.sigmoid() if multi_label else logits.softmax(dim=1)


def _logits(
    network: nn.Module, images: Tensor, mirror: tuple[int, ...], features: Tensor | None, watch: Watch
) -> Tensor:
    """Means over mirror images (N, classes); ``features`` of the images themselves, where they are known."""
    choices, found = mirrorings(mirror), []
    for n, axes in enumerate(choices):
        if features is not None and not axes:
            found.append(_outputs(network, cast(Any, network).head, features, UNWATCHED))
        else:
            part = watch.part(n / len(choices), (n + 1) / len(choices))
            there = images.flip([axis + 2 for axis in axes]) if axes else images
            found.append(_outputs(network, network, there, part))
    return torch.stack(found).mean(dim=0)


def features_of(network: nn.Module, images: Tensor, watch: Watch = UNWATCHED) -> Tensor:
    """What the classifier's head reads (N, width), on the CPU, of framed images (N, C, R, A, S)."""
    return _outputs(network, cast(Any, network).features, images, watch)


def distance(network: nn.Module, features: Tensor) -> Tensor:
    """How far the features (N, width) of images are from those of the training, (N,) on the CPU."""
    return _outputs(network, cast(Any, network).ood_score, features, UNWATCHED)


def _outputs(network: nn.Module, compute: Callable[[Tensor], Tensor], items: Tensor, watch: Watch) -> Tensor:
    """What a part of the network makes of all items, float32 on the CPU."""
    batches, found, done = Batches(network, BATCH, watch), [], 0
    with evaluating(network), torch.inference_mode():
        for batch, result in batches.over(lambda some: compute(some.to(batches.device).float()).float(), items):
            found.append(result)
            done += len(batch)
            watch.progress(done / len(items))
    return torch.cat(found)


def decide(model: Model, probabilities: np.ndarray) -> tuple[str, ...]:
    """The names of the classes that are reported: the positive one from its threshold on, else the likeliest other;
    where classes do not exclude each other, all from their thresholds on."""
    card, classification = model.card, model.card.classification
    assert classification is not None
    names = [label.name for label in card.labels]
    if classification.multi_label:
        return tuple(n for n, p, cut in zip(names, probabilities, classification.thresholds, strict=True) if p >= cut)
    if classification.positive:
        positive = names.index(classification.positive)
        if probabilities[positive] >= classification.thresholds[0]:
            return (classification.positive,)
        others = np.where(np.arange(len(names)) == positive, -1.0, probabilities)
        return (names[int(others.argmax())],)
    return (names[int(np.argmax(probabilities))],)
