"""A segmenter adapts to local cases: better at its own labels, or at new ones."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...adapter import merged
from ...card import Card, Preprocessing
from ...card.figures import NOT_TAUGHT
from ...errors import LLMBoostError
from ...inference.content import seen_of
from ...inference.preprocessing import preprocess
from ...io.dataset import Dataset, DatasetCase, digest_of, load, read_dataset, unlabeled_cases
from ...io.datasetcheck import gaps
from ...io.labels import exchanged
from ...model import Model
from ..advice import advise, facts_of
from ..loss import IGNORED
from ..patches import TrainingPatches, Volume
from ..plan import TrainingPlan, has_side, make_plan
from ..precision import computing, training_dtype
from ..regularizers import Consistency, Distillation
from ..segmentation import Regularizer, SegmentationTask, mean_dice_of, read_volume
from ..train import case_digests, default_labels
from ..trainer import TrainingConfig
from .cases import MOST_HELD_OUT, Cases
from .common import IMPROVE, NEW_LABELS, RATE, AdaptSettings, End, Measured, adapter_entry, better_goal, new_goal
from .lora import default_rank, default_wise_alpha, interpolate
from .onbase import OnBase

MOST_UNLABELED = 64  # cases: more would take time from training


class SegmenterAdaptation(ABC):
    """What an adapter of a segmenter and a network of its own share of an :class:`.common.Adaptation`.

    Args:
        data: the data set with the labels in the network's order.
        goal: the card of what is to be made; network and figures are left to be set.

    Attributes:
        precision: that measuring is done in.
        every, showing: see :class:`.cases.Cases`.
    """

    aim: str
    precision = "float32"  # as for users

    def __init__(
        self, base: Model, cases: Cases, data: Dataset, goal: Card, settings: AdaptSettings, device: torch.device
    ) -> None:
        self.base, self.data, self.goal, self.settings, self.device = base, data, goal, settings, device
        folder, checked, train, val = data.folder, cases.checked, cases.train, cases.val
        self.every, self.showing = cases.every, cases.showing
        self.untaught, notes = gaps(cases.dataset, checked, train, val)
        self.warnings = [*checked.notes, *notes]
        preprocessing = goal.preprocessing
        if preprocessing.slice_axis is None and min(checked.load(train[0])[0][0].shape) == 1:
            raise LLMBoostError(f"{folder}: single slices, but '{base.card.name}' needs volumes; choose another base")
        self.train = [read_volume(data, case, preprocessing, checked.take) for case in train]
        self.val = [read_volume(data, case, preprocessing, checked.take) for case in val]
        unlabeled = unlabeled_cases(cases.dataset)[:MOST_UNLABELED] if settings.consistency else []
        self.unlabeled = [_unlabeled_volume(case, preprocessing) for case in unlabeled]
        empty = [volume.id for volume in self.train if not bool((volume.label > 0).any())]
        if len(empty) == len(train):
            raise LLMBoostError(f"{folder}: the cases to learn from have no labeled voxels; label some")
        self.warnings += [f"{id}: nothing is labeled; it is learned from as an example of nothing" for id in empty]
        self.rank = settings.rank or default_rank(len(train))
        self.labels = {label.value: label.name for label in goal.labels}
        self.digests = [digest_of(case) for case in [*train, *unlabeled]]
        self.identity = case_digests(cases.dataset, [*train, *unlabeled], val)
        self.counts = len(train), len(val)

    def learned_from(self, purpose: str) -> tuple[str, ...]:
        """From how many cases of which kind, in words.

        Args:
            purpose: of the cases that are held out.
        """
        (train, val), unlabeled = self.counts, len(self.unlabeled)
        held = f"{val} held out to {purpose}" if val else "none held out: too few"
        found = f"{train} case(s) to learn from, {held}"
        return (found, f"{unlabeled} case(s) without a label map teach, too") if unlabeled else (found,)

    def measure(self, network: nn.Module) -> Measured:
        """Dice on the cases held out."""
        with computing(self.device, training_dtype(self.device, self.precision)):
            return _measure(network, self.val, self.goal)

    def judge(self, result: nn.Module, advice: str = "") -> Measured:
        """The same of what was made; that it could not be measured is a warning, to which ``advice`` is added."""
        if not self.val:
            self.warnings.append(
                f"{len(self.train)} case(s): too few to hold one out, so how good the model is now was not measured"
                + advice
            )
        return self.measure(result)

    def afterwards(self, _elapsed: float, measuring: float) -> float:
        return measuring  # as before the training

    def training(self, _network: nn.Module, minutes: float | None) -> SegmentationTask:
        config = self.config(minutes)
        preprocessing, regularizers = self.goal.preprocessing, self.regularizers(config)
        # of a base with more labels, classes are counted otherwise
        regions = self.data.region_classes if list(self.labels) == list(self.data.labels) else ()
        how = self.labels, regularizers, regions, self.goal.activation
        return SegmentationTask(self.train, self.val, preprocessing, config, *how)

    @abstractmethod
    def config(self, minutes: float | None) -> TrainingConfig:
        """How is trained, in so many minutes or the settings' steps."""
        settings = self.settings
        assert settings.rate is not None
        return TrainingConfig(
            steps=settings.steps,
            minutes=minutes,
            clock=settings.clock,
            batch=settings.batch,
            rate=settings.rate,
            validations=settings.validations,
            seed=settings.seed,
            contrast=settings.contrast,
            thick=settings.thick,
        )

    def regularizers(self, config: TrainingConfig) -> list[Regularizer]:
        """What is added to the loss."""
        if not self.unlabeled:
            return []
        patches = TrainingPatches(self.unlabeled, self.goal.preprocessing, config.samples, config.seed)
        return [Consistency(patches, self.settings.consistency)]

    def advice(self, after: Measured) -> list[str]:
        return advise(facts_of(self.labels, self.train, after.label_dice), len(self.train))

    def describe(self, end: End, before: Measured) -> Card:
        figures: dict[str, Any] = {"before": before.mean_dice, "after": end.after.mean_dice}
        if self.val:
            figures["after_per_label"] = end.after.label_dice
        if self.untaught and self.aim == NEW_LABELS:
            figures[NOT_TAUGHT] = self.untaught
        return replace(self.goal, training={}, figures=figures)


class SegmenterAdapter(SegmenterAdaptation, OnBase):
    """An :class:`.common.Adaptation` of a base.

    One case held out is too few to choose by (on val, it cost 0.02 of Dice): with one or none, training goes to the end
    of the budget. If what comes of it is not better than the base on the cases held out, the base is kept.
    """

    def __init__(
        self,
        base: Model,
        cases: Cases,
        aim: str,
        settings: AdaptSettings,
        device: torch.device,
        old: Path | None = None,
    ) -> None:
        self.aim = aim
        if settings.rate is None:
            settings = replace(settings, rate=RATE)
        if settings.wise_alpha is None and aim == IMPROVE and settings.scope != "scratch":
            settings = replace(settings, wise_alpha=default_wise_alpha(len(cases.val)))
        data, self.plan, goal = _goal(base, cases, aim)
        super().__init__(base, cases, data, goal, settings, device)
        # for images that go less deep, kernels that do as well
        strides = {"strides": self.plan.strides} if self.plan else {}
        self.options = {"classes": goal.outputs, **strides}
        self.old = _old_volumes(old, base.card) if aim == IMPROVE else []

    def reasons(self) -> tuple[str, ...]:
        goal = "better at its own labels" if self.aim == IMPROVE else "for new labels"
        return (
            f"model '{self.base.card.name}' {self.base.card.version}, {goal}",
            *self.learned_from("choose the best by"),
            "all weights learn" if self.settings.scope == "full" else f"rank {self.rank}",
            *(self.plan.reasons if self.plan else ()),
        )

    def measure_old(self, network: nn.Module) -> float | None:
        return _measure(network.to(self.device), self.old, self.base.card).mean_dice if self.old else None

    def config(self, minutes: float | None) -> TrainingConfig:
        few = len(self.val) < 2
        patience = 0 if few else self.settings.patience
        return replace(super().config(minutes), first=self.aim == IMPROVE, last=few, patience=patience)

    def regularizers(self, config: TrainingConfig) -> list[Regularizer]:
        distill = self.settings.distill if self.aim == IMPROVE else 0.0
        of = self.base.network.to(self.device), distill, self.base.card.activation
        teacher = [Distillation(*of)] if distill else []
        return [*teacher, *super().regularizers(config)]

    def conclude(self, network: nn.Module, before: Measured) -> End:
        result, tensors = self.adapted(network)
        after = self.judge(result)
        if self.val and self.aim == IMPROVE and (after.mean_dice or 0) <= (before.mean_dice or 0):
            self.warnings.append(
                "nothing was better than the base on the cases held out, so this is the base; add more cases"
            )
            base = self.base.network
            tensors, after = interpolate(base, tensors, 0.0), before
            result.load_state_dict(merged(base, result, tensors))
        return End(result, tensors, after, self.measure_old(result))

    def describe(self, end: End, before: Measured) -> Card:
        training = {"base": self.base.card.training}
        return replace(super().describe(end, before), training=training, adapter=adapter_entry(self))


def _measure(network: nn.Module, volumes: Sequence[Volume], card: Card) -> Measured:
    """Dice of each of the card's labels on the network's own grid."""
    values = [str(label.value) for label in card.labels]

    def scores(volume: Volume) -> dict[str, float | None]:
        found = mean_dice_of(network, volume, card.preprocessing, activation=card.activation)
        return {value: None if math.isnan(dice) else dice for value, dice in zip(values, found, strict=True)}

    return Measured(tuple({"id": volume.id, "dice": scores(volume)} for volume in volumes))


def _goal(base: Model, cases: Cases, aim: str) -> tuple[Dataset, TrainingPlan | None, Card]:
    """The data set with the labels in the network's order, how to train (None: as the base was), and the card."""
    card, dataset, train, learned_from = base.card, cases.dataset, cases.train, f"{len(cases.train)} case(s)"
    channels = len(dataset.modalities)
    if channels != card.preprocessing.channels:
        raise LLMBoostError(
            f"{dataset.folder}: {channels} channel(s), but '{card.name}' takes {card.preprocessing.channels};"
            " choose another base"
        )
    if aim == IMPROVE:
        labels = {label.value: label.name for label in card.labels}
        if labels.keys() != dataset.labels.keys():
            raise LLMBoostError(
                f"{dataset.folder}: labels {_listed(dataset.labels)}, but '{card.name}' has {_listed(labels)};"
                ' mark what was not drawn with the label "ignore", or teach them as new labels'
            )
        if wrong := exchanged(dataset.labels, labels):
            raise LLMBoostError(f"{dataset.folder / 'dataset.json'}: {wrong} for '{card.name}'; renumber the labels")
        card = better_goal(card, learned_from)
        return replace(dataset, labels=labels), None, card
    plan = None
    preprocessing = card.preprocessing
    if card.origin:  # it sees images as it always did
        sided = any(map(has_side, dataset.labels.values()))
        preprocessing = replace(preprocessing, mirror=() if sided else preprocessing.mirror)
    elif "strides" in card.network:
        unshuffle = card.network.get("unshuffle", 1)
        plan = make_plan(
            dataset, train, levels=_strides(card), unshuffle=unshuffle, quick=True, load=cases.checked.load
        )
        preprocessing = plan.preprocessing
    goal = replace(
        new_goal(card, dataset, dataset.labels.values(), learned_from),
        labels=default_labels(dataset.labels),
        modality=", ".join(dataset.modalities),
        preprocessing=preprocessing,
        activation="softmax",  # new labels are taken to exclude each other
        largest_component=False,
        one_piece=(),
        intracranial=(),
        cascade=None,
    )
    return dataset, plan, goal


def _strides(card: Card) -> tuple[tuple[int, int, int], ...]:
    return tuple((int(a), int(b), int(c)) for a, b, c in card.network["strides"])


def _listed(labels: dict[int, str]) -> str:
    return ", ".join(f"{value} ({name})" for value, name in labels.items())


def _unlabeled_volume(case: DatasetCase, preprocessing: Preprocessing) -> Volume:
    images, _ = load(case)
    if len(images) != preprocessing.channels:
        raise LLMBoostError(f"{case.images[0]}: {len(images)} channel(s), the model takes {preprocessing.channels}")
    image = torch.from_numpy(preprocess(seen_of(images, preprocessing)[0], preprocessing).array)
    return Volume(case.id, image, torch.full((1, *image.shape[1:]), IGNORED, dtype=torch.int16))


def _old_volumes(folder: Path | None, card: Card) -> list[Volume]:
    if folder is None:
        return []
    dataset = read_dataset(folder)
    dataset = replace(dataset, labels={label.value: label.name for label in card.labels})
    return [read_volume(dataset, case, card.preprocessing) for case in dataset.split("val")[:MOST_HELD_OUT]]
