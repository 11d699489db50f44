"""A classifier adapts to local images: better at its own classes, or at new ones."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ...card import Card, Looks
from ...errors import LLMBoostError
from ...inference import looks
from ...inference.classify import features_of, probabilities
from ...io.imageset import ImageSet, read_image_set
from ...metrics.classification import classification_scores
from ...model import Model
from ..classification.task import (
    ClassificationConfig,
    ClassificationTask,
    digest_of,
    image_digests,
    read_images,
)
from ..classification.train import (
    RESAMPLES,
    ClassificationRecipe,
    augmentation_of,
    calibrate,
    class_labels,
)
from .common import IMPROVE, NEW_LABELS, RATE, AdaptSettings, End, Measured, adapter_entry, better_goal, new_goal
from .lora import default_rank
from .onbase import OnBase

BATCH = 16


class ClassifierAdapter(OnBase):
    """An :class:`.common.Adaptation`: images of "val" select, calibrate and set the thresholds."""

    def __init__(self, base: Model, data: Path | ImageSet, settings: AdaptSettings, device: torch.device) -> None:
        card, data = base.card, data if isinstance(data, ImageSet) else read_image_set(data)
        assert card.classification is not None
        preprocessing, input_region = card.preprocessing, card.classification.input_region
        self.base, self.data, self.device = base, data, device
        self.settings = settings = replace(settings, scope=settings.scope or "adapter", rate=settings.rate or RATE)
        self.preprocessing, self.input_region = preprocessing, input_region
        self.aim = _aim(card, data, settings.task)
        train, val = data.split("train"), data.split("val")
        if not train or not val:
            raise LLMBoostError(f"{data.path}: images to learn from and to hold out are needed; give more")
        self.train, self.val = (read_images(samples, preprocessing, input_region) for samples in (train, val))
        self.rank = settings.rank or default_rank(len(train))
        self.labels = dict(enumerate(data.classes))
        self.digests = [digest_of(image) for image in self.train.images]
        self.identity = image_digests((train, self.train), (val, self.val))
        self.counts = len(train), len(val)
        self.options = {"classes": len(data.classes)}
        self.warnings = list(data.notes)
        self._config: ClassificationConfig | None = None

    def reasons(self) -> tuple[str, ...]:
        card, data, (train, val) = self.base.card, self.data, self.counts
        goal = "better at its own classes" if self.aim == IMPROVE else f"for new classes: {', '.join(data.classes)}"
        return (
            f"model '{card.name}' {card.version}, {goal}",
            f"{train} image(s) to learn from, {val} held out",
            f"rank {self.rank}",
            *data.notes,
        )

    def measure(self, network: nn.Module) -> Measured:
        return Measured(auc=self._scores(network, resamples=0)["auc"])

    def afterwards(self, elapsed: float, _measuring: float) -> float:
        return 0.2 * elapsed

    def config(self, minutes: float | None) -> ClassificationConfig:
        """How is trained, in so many minutes or the settings' steps."""
        settings = self.settings
        return ClassificationConfig(
            steps=settings.steps,
            minutes=minutes,
            clock=settings.clock,
            batch=min(BATCH, len(self.train)),
            rate=settings.rate or RATE,
            validations=settings.validations,
            seed=settings.seed,
            balanced=True,
            first=self.aim == IMPROVE,
            patience=settings.patience,
        )

    def training(self, _network: nn.Module, minutes: float | None) -> ClassificationTask:
        preprocessing, self._config = self.preprocessing, self.config(minutes)
        augmentation = augmentation_of(ClassificationRecipe(self._config), preprocessing, self.input_region)
        images, multi_label = (self.train, self.val), self.data.multi_label
        return ClassificationTask(*images, preprocessing, self._config, augmentation, self.labels, multi_label)

    def conclude(self, network: nn.Module, _before: Measured) -> End:
        result, tensors = self.adapted(network)
        if self.aim == NEW_LABELS:  # for its own classes, what the base knows stays the usual
            ood_score = cast(Any, result).ood_score
            ood_score.fit(features_of(result, self.train.images))
            tensors = tensors | {f"ood_score.{name}": buffer.cpu() for name, buffer in ood_score.named_buffers()}
        return End(result, tensors, self.measure(result), None)

    def advice(self, _after: Measured) -> list[str]:
        return []

    def describe(self, end: End, before: Measured) -> Card:
        meaning = calibrate(end.network, self.val, self.data, self.preprocessing, self.input_region)
        assert self._config is not None
        return replace(
            self._goal(),
            classification=replace(meaning, looks=self._looks()),
            training={"config": asdict(self._config), "base": self.base.card.training},
            figures={"before": before.auc, "after": end.after.auc, **self._certainty(end.network)},
            adapter=adapter_entry(self),
        )

    def _certainty(self, network: nn.Module) -> dict[str, Any]:
        """Figures that tell whether anything was learned, see :mod:`llmboost.card.figures`."""
        scores = self._scores(network, resamples=RESAMPLES)
        return {f"after_{key}": scores[key] for key in ("auc_ci95", "balanced_accuracy") if scores.get(key) is not None}

    def _scores(self, network: nn.Module, resamples: int) -> dict[str, Any]:
        images, multi_label = self.val, self.data.multi_label
        found = probabilities(network, images.images, mirror=self.preprocessing.mirror, multi_label=multi_label)
        truth = images.targets.numpy().astype(int)
        return classification_scores(found.numpy(), truth, multi_label=multi_label, resamples=resamples)

    def _looks(self) -> Looks:
        """For the base's own classes, what it knows stays the usual, and local images are usual, too; for new ones,
        these alone are."""
        assert self.base.card.classification is not None
        local, others = self.train.images.numpy(), self.val.images.numpy()
        known = self.base.card.classification.looks
        if self.aim == IMPROVE and known is not None:
            return looks.widened(known, np.concatenate([local, others]))
        return looks.fit(local, others, self.preprocessing.mirror, self.input_region == "mask")

    def _goal(self) -> Card:
        card, data, learned_from = self.base.card, self.data, f"{self.counts[0]} image(s)"
        if self.aim == IMPROVE:
            return better_goal(card, learned_from)
        goal = new_goal(card, data, data.classes, learned_from)
        return replace(goal, labels=class_labels(data.classes), modality=data.modality or card.modality)


def _aim(card: Card, data: ImageSet, asked: str | None) -> str:
    """Whether the images are of the model's own classes; raises LLMBoostError if it cannot learn from them."""
    preprocessing = card.preprocessing
    if data.flat != (preprocessing.slice_axis is not None) or data.color != preprocessing.color:
        kinds = ("volumes", "slices")
        raise LLMBoostError(
            f"{data.path}: {kinds[data.flat]}{' in color' * data.color}, but '{card.name}' takes"
            f" {kinds[preprocessing.slice_axis is not None]}{' in color' * preprocessing.color}; choose another base"
        )
    same = [label.name.casefold() for label in card.labels] == [name.casefold() for name in data.classes]
    if asked == IMPROVE and not same:
        raise LLMBoostError(
            f"{data.path}: classes {', '.join(data.classes)}, but '{card.name}' has"
            f" {', '.join(label.name for label in card.labels)}; teach them as new ones"
        )
    return asked or (IMPROVE if same else NEW_LABELS)
