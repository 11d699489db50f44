"""What the engine and the panel rely on in a card without looking."""

from __future__ import annotations

import base64
import itertools
import math
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from .fields import (
    CLASSIFICATION,
    SEGMENTATION,
    STORED,
    Adapter,
    Cascade,
    Classification,
    Looks,
    Preprocessing,
    Subject,
    same_name,
)

if TYPE_CHECKING:
    from .card import Card

DIGEST = re.compile("[0-9a-f]{64}")
MAX_BLOCKS = 16  # of looks, along an axis
INPUT_REGIONS = ("square", "center", "mask", "whole")
NORMALIZATIONS = (
    *("zscore", "window", "scale", "range", "standard", "standard-content", "standard-nonzero"),
    *("percentiles", "lowest", "sigmoid", "tanh"),
)
RESAMPLINGS = ("smooth", "cubic", "linear", "fit", "none")
ORIENTATIONS = tuple(  # where axes run to: of the body's three directions each once, the one way or the other
    "".join(codes) for ways in itertools.product("RL", "AP", "SI") for codes in itertools.permutations(ways)
)
MAX_STEPS = 8  # of a channel's intensities
AVERAGES = ("probabilities", "logits")
MAX_LABEL = 2**16 - 1  # label maps are of 16 bits
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # of a name, it would break files and lines


def check(card: Card) -> None:
    """Raises ValueError unless the card's entries, of the right types, make sense together."""

    def require(fine: bool, what: str) -> None:
        if not fine:
            raise ValueError(what)

    require(card.task in (SEGMENTATION, CLASSIFICATION), f"task {card.task}")
    for name in (card.name, *(label.name for label in card.labels)):
        require(not CONTROL.search(name), f"the name {name!r}")
    _check_labels(card, require)
    _check_preprocessing(card.preprocessing, require)
    _check_tiling(card, require)
    if card.cascade is not None:
        _check_cascade(card, card.cascade, require)
    if card.subject is not None:
        _check_subject(card, card.subject, require)
    require((card.classification is not None) == (card.task == CLASSIFICATION), "classification")
    if card.classification is not None:
        _check_classification(card, card.classification, require)
    if card.adapter is not None:
        _check_adapter(card.adapter, require)


def _check_preprocessing(preprocessing: Preprocessing, require: Callable[[bool, str], None]) -> None:
    require(min(preprocessing.spacing) > 0, f"spacing {preprocessing.spacing}")
    require(min(preprocessing.patch_size) > 0, f"patch size {preprocessing.patch_size}")
    require(set(preprocessing.mirror) <= {0, 1, 2}, f"mirror {preprocessing.mirror}")
    require(len(preprocessing.normalization) == preprocessing.channels, f"{preprocessing.channels} channels")
    require(len(preprocessing.further) in (0, preprocessing.channels), "further steps of each channel")
    require(preprocessing.channels == 3 or not preprocessing.color, "color takes three channels")
    for how in (*preprocessing.normalization, *itertools.chain(*preprocessing.further)):
        require(how.kind in NORMALIZATIONS and how.std > 0, f"normalization {how}")
        as_stored = how.kind != "standard-content" or preprocessing.normalize == "before"
        require(as_stored, "content is that of an image as it is stored")
        require(how.kind != "percentiles" or 0 <= how.low < how.high <= 100, f"percentiles {how.low}, {how.high}")
    require(all(len(steps) <= MAX_STEPS for steps in preprocessing.further), "so many steps")
    require(not preprocessing.joint or preprocessing.normalize == "after", "channels are joined after resampling")
    if (foreground := preprocessing.foreground) is not None:
        require(not preprocessing.crop, "what is cut off is said twice")
        require(foreground.margin >= 0, f"margin {foreground.margin}")
        require(foreground.when in ("first", "last"), f"when {foreground.when}")
    require(0 <= preprocessing.slack < 1, f"slack {preprocessing.slack}")
    for name, value, known in (
        ("orientation", preprocessing.orientation, (*ORIENTATIONS, STORED)),
        ("resampling", preprocessing.resampling, RESAMPLINGS),
        ("normalize", preprocessing.normalize, ("before", "after")),
    ):
        require(value in known, f"{name} {value}")


def _check_tiling(card: Card, require: Callable[[bool, str], None]) -> None:
    for name, value, known in (
        ("places", card.tiling.places, ("fixed", "even", "whole")),
        ("average", card.tiling.average, AVERAGES),
        ("mirrorings", card.tiling.mirrorings, ("single", "all")),
        ("weight", card.tiling.weight, ("gaussian", "constant")),
        ("padding", card.tiling.padding, ("zero", "replicate")),
        ("back", card.tiling.back, ("averaged", "probabilities", "classes")),
        ("activation", card.activation, ("softmax", "sigmoid")),
    ):
        require(value in known, f"{name} {value}")
    require(0 <= card.tiling.overlap < 1, f"overlap {card.tiling.overlap}")
    by_logits = card.tiling.average == "logits"
    require(by_logits or card.activation == "softmax", "a sigmoid needs logits")
    require(by_logits or card.tiling.back != "probabilities", "probabilities are averaged already")
    sure = card.quality is not None or card.cascade is not None or card.subject is not None
    require(not (by_logits and sure), "quality, cascade and subject need probabilities")
    require(card.tiling.back != "classes" or not sure, "quality, cascade and subject need the image's grid")


def _check_labels(card: Card, require: Callable[[bool, str], None]) -> None:
    """Each label has a value and a name of its own: results are told apart by both."""
    lowest = int(card.task == SEGMENTATION)
    values: dict[str, int] = {}
    for label in card.labels:
        require(lowest <= label.value <= MAX_LABEL, f"label value {label.value}")
        require(all(0 <= c <= 255 for c in label.color), f"color {label.color}")
        require(label.value not in values.values(), f"two labels have the value {label.value}")
        other = values.setdefault(same_name(label.name), label.value)
        require(other == label.value, f"values {other} and {label.value} are both called {label.name}")
    if card.intracranial:
        exclusive = card.task == SEGMENTATION and card.activation == "softmax"
        whole = card.cascade is None or not any(target.structure for target in card.cascade.targets)
        require(exclusive and whole, "what is inside the skull are labels that exclude each other, of a whole image")
        require(set(card.intracranial) <= set(values.values()), f"labels inside the skull {card.intracranial}")
    if card.cascade is not None and card.labels:
        highest = max(values.values()) * len(card.cascade.targets)
        require(highest <= MAX_LABEL, f"label value {highest}")


def _check_classification(card: Card, classification: Classification, require: Callable[[bool, str], None]) -> None:
    names = [label.name for label in card.labels]
    require(len(names) > 1 or classification.multi_label, "at least two classes")
    require(classification.input_region in INPUT_REGIONS, f"input region {classification.input_region}")
    require(classification.positive in ("", *names), f"positive class {classification.positive}")
    wanted = len(names) if classification.multi_label else int(bool(classification.positive))
    require(len(classification.thresholds) == wanted, f"{len(classification.thresholds)} thresholds")
    require(
        all(0 <= threshold <= 1 for threshold in classification.thresholds), f"thresholds {classification.thresholds}"
    )
    require(classification.temperature > 0, f"temperature {classification.temperature}")
    require(classification.range_limit >= 0, f"range limit {classification.range_limit}")
    if classification.looks is not None:
        _check_looks(classification.looks, require)


def _check_looks(looks: Looks, require: Callable[[bool, str], None]) -> None:
    require(0 <= looks.blocks <= MAX_BLOCKS, f"blocks {looks.blocks}")
    require(looks.limit > 0, f"limit {looks.limit}")
    data = base64.b64decode(looks.numbers, validate=True)
    measures = math.isqrt(len(data) // 2)  # n (n + 3) / 2 numbers of four bytes
    require(len(data) == 2 * measures * (measures + 3) or len(data) == 2 * (measures - 1) * (measures + 2), "looks")
    require(all(map(math.isfinite, struct.unpack(f"<{len(data) // 4}f", data))), "numbers of looks")


def _check_adapter(adapter: Adapter, require: Callable[[bool, str], None]) -> None:
    require(DIGEST.fullmatch(adapter.base_digest) is not None, f"base digest {adapter.base_digest}")
    require(adapter.rank >= 0, f"rank {adapter.rank}")


def _check_cascade(card: Card, cascade: Cascade, require: Callable[[bool, str], None]) -> None:
    texts = (cascade.localizer, cascade.subject, *(target.structure or "all" for target in cascade.targets))
    require(all(text and not CONTROL.search(text) for text in texts), "text expected")
    require(cascade.localizer != card.name, "a model cannot be its own localizer")
    sides = [target.side for target in cascade.targets]
    require(0 < len(set(sides)) == len(sides), "one target for each side")
    for low, high in (cascade.subject_ml, cascade.target_ml):
        require(0 < low < high, f"from {low} to {high} mL")
    require(0 <= cascade.certainty <= 1, f"certainty {cascade.certainty}")
    require(card.preprocessing.slice_axis is None, "a cascade needs a model of volumes")


def _check_subject(card: Card, subject: Subject, require: Callable[[bool, str], None]) -> None:
    require(bool(subject.name) and not CONTROL.search(subject.name), "text expected")
    volumes = card.task == SEGMENTATION and card.preprocessing.slice_axis is None
    require(volumes and card.cascade is None, "a subject needs a segmenter of volumes without a cascade")
    require(set(subject.places) <= {label.name for label in card.labels}, "places of the card's labels")
    require(3 <= subject.fewest <= len(subject.places), f"fewest {subject.fewest}")
    require(all(place[3] > 0 for place in subject.places.values()), "what places vary by")
    require(0 < subject.scale[0] < subject.scale[1], f"scale {subject.scale}")
    require(min(subject.misfit, subject.contrast, subject.rim) >= 0, "limits")
