"""A segmenter adapts to local cases: better at its own labels, or at new ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...adapter import merged
from ...card import SEGMENTATION, Card, Preprocessing
from ...card.figures import NOT_TAUGHT
from ...errors import LLMBoostError
from ...inference.predict import evaluating, tile
from ...inference.preprocessing import preprocess
from ...io.dataset import Dataset, DatasetCase, digest_of, load, read_dataset, unlabeled_cases
from ...io.datasetcheck import CheckedCases, check, gaps, settle
from ...io.labels import exchanged
from ...messages.words import HELD_OUT, LEAST_FOLDS
from ...model import Model
from ..advice import advise, facts_of
from ..loss import IGNORED
from ..patches import TrainingPatches, Volume
from ..plan import TrainingPlan, make_plan
from ..precision import computing, training_dtype
from ..regularizers import Consistency, Distillation
from ..segmentation import Regularizer, SegmentationTask, mean_dice_of, read_volume
from ..train import case_digests, default_labels
from ..trainer import TrainingConfig, now
from .common import IMPROVE, NEW_LABELS, OWN, RATE, AdaptSettings, Measured, better_goal, new_goal, shortened
from .lora import default_rank, default_wise_alpha, interpolate

MOST_HELD_OUT = 16  # cases: more would take time from training
MOST_UNLABELED = 64  # cases, for the same reason


class SegmenterAdaptation:
    """An :class:`.common.Adaptation`.

    Cases are held out, to choose the best weights by and for the figures: those of the split "val", or, without one,
    every fourth subject. Fewer than four cases are all learned from. One case held out is too few to choose by (on val,
    it cost 0.02 of Dice): with one or none, training goes to the end of the budget. If what comes of it is not better
    than the base on the cases held out, the base is kept.

    Attributes:
        every: ids of the labeled cases that are learned from or may be held out; ``showing`` those that show a label.
    """

    def __init__(
        self, base: Model, folder: Path, settings: AdaptSettings, device: torch.device, old: Path | None
    ) -> None:
        dataset = read_dataset(folder)
        self.base, self.device = base, device
        self.aim = settings.task or task_of(base.card, dataset)
        dataset, train, held, checked = _split(dataset)
        self.every = [case.id for case in (*train, *held)]
        self.showing = [id for id in self.every if checked.values[id] & dataset.labels.keys()]
        val = held[:MOST_HELD_OUT]
        self.untaught, notes = gaps(dataset, checked, train, val)
        self.warnings = [*checked.notes, *notes]
        if settings.scope is None:
            settings = replace(settings, scope=OWN if self.aim == NEW_LABELS else "adapter")
        if settings.rate is None:
            settings = replace(settings, rate=TrainingConfig.rate if settings.scope == OWN else RATE)
        self.plan: TrainingPlan | None
        if settings.scope == OWN:
            plan = make_plan(dataset, train, quick=True, load=checked.load)
            self.data, self.plan, self.goal = dataset, plan, _own_goal(dataset, plan, len(train))
        else:
            self.data, self.plan, self.goal = _goal(base, dataset, train, self.aim, checked)
        preprocessing = self.goal.preprocessing
        if preprocessing.slice_axis is None and min(checked.load(train[0])[0][0].shape) == 1:
            raise LLMBoostError(f"{folder}: single slices, but '{base.card.name}' needs volumes; choose another base")
        # for images that go less deep, kernels that do as well
        strides = {"strides": self.plan.strides} if self.plan else {}
        self.options: dict[str, Any] = {"classes": self.goal.classes, **strides}
        if self.plan and settings.scope == OWN:
            self.options |= {"channels": preprocessing.channels, **self.plan.network}
        self.train = [read_volume(self.data, case, preprocessing, checked.take) for case in train]
        self.val = [read_volume(self.data, case, preprocessing, checked.take) for case in val]
        unlabeled = unlabeled_cases(dataset)[:MOST_UNLABELED] if settings.consistency else []
        self.unlabeled = [_unlabeled_volume(case, preprocessing) for case in unlabeled]
        self.old = _old_volumes(old, base.card) if self.aim == IMPROVE else []
        empty = [volume.id for volume in self.train if not bool((volume.label > 0).any())]
        if len(empty) == len(train):
            raise LLMBoostError(f"{folder}: the cases to learn from have no labeled voxels; label some")
        self.warnings += [f"{id}: nothing is labeled; it is learned from as an example of nothing" for id in empty]
        if settings.wise_alpha is None and self.aim == IMPROVE and settings.scope != "scratch":
            settings = replace(settings, wise_alpha=default_wise_alpha(len(val)))
        self.settings = settings
        self.rank = settings.rank or default_rank(len(train))
        self.labels = {label.value: label.name for label in self.goal.labels}
        self.digests = [digest_of(case) for case in [*train, *unlabeled]]
        self.identity = case_digests([*train, *unlabeled], val)
        self.counts = len(train), len(val)

    def reasons(self) -> tuple[str, ...]:
        train, val = self.counts
        goal = "better at its own labels" if self.aim == IMPROVE else "for new labels"
        unlabeled, own = len(self.unlabeled), self.settings.scope == OWN
        purpose = "tell how good it is" if own else "choose the best by"
        held = f"{val} held out to {purpose}" if val else "none held out: too few"
        start = f"model '{self.base.card.name}' {self.base.card.version}, {goal}"
        return (
            "a small network of its own, from random weights, for new labels" if own else start,
            f"{train} case(s) to learn from, {held}",
            *((f"{unlabeled} case(s) without a label map teach, too",) if unlabeled else ()),
            *(() if own else (f"rank {self.rank}",)),
            *(self.plan.reasons if self.plan else ()),
        )

    def measure(self, network: nn.Module) -> Measured:
        # float32, as for users, but where that would take minutes from learning
        own = self.settings.scope == OWN
        with computing(self.device, training_dtype(self.device, "auto" if own else "float32")):
            return _measure(network, self.val, self.goal)

    def expected_measuring(self, network: nn.Module) -> float:
        patch_size, clock = self.goal.preprocessing.patch_size, self.settings.clock
        patches = sum(len(tile(volume.image, patch_size)[1]) for volume in self.val)
        patch = torch.zeros(1, self.goal.preprocessing.channels, *patch_size)
        times = []
        with evaluating(network), torch.inference_mode(), computing(self.device, training_dtype(self.device)):
            for _ in range(3):  # the first one is slower
                started = now(clock)
                network(patch.to(self.device))
                times.append(now(clock) - started)
        return patches * min(times)

    def measure_old(self, network: nn.Module) -> float | None:
        return _measure(network.to(self.device), self.old, self.base.card).mean_dice if self.old else None

    def afterwards(self, _elapsed: float, measuring: float) -> float:
        return measuring  # as before the training

    def training(self, _network: nn.Module, minutes: float | None) -> SegmentationTask:
        settings, preprocessing = self.settings, self.goal.preprocessing
        few = len(self.val) < 2
        config = TrainingConfig(
            steps=settings.steps,
            minutes=minutes,
            clock=settings.clock,
            batch=settings.batch,
            rate=settings.rate or RATE,
            validations=settings.validations,
            seed=settings.seed,
            contrast=settings.contrast,
            thick=settings.thick,
            first=self.aim == IMPROVE,
            last=few,
            patience=0 if few else settings.patience,
        )
        if self.plan and settings.scope == OWN:
            # averaged weights at the end of the budget are the best ones
            config = replace(config, batch=self.plan.batch, last=True, patience=0, **self.plan.training)
        regularizers: list[Regularizer] = []
        if settings.distill and self.aim == IMPROVE:
            regularizers.append(Distillation(self.base.network.to(self.device), settings.distill))
        if self.unlabeled:
            patches = TrainingPatches(self.unlabeled, preprocessing, config.samples, settings.seed)
            regularizers.append(Consistency(patches, settings.consistency))
        return SegmentationTask(self.train, self.val, preprocessing, config, self.labels, regularizers)

    def conclude(
        self, result: nn.Module, tensors: dict[str, Tensor], before: Measured
    ) -> tuple[dict[str, Tensor], Measured]:
        after, own = self.measure(result), self.settings.scope == OWN
        if not self.val:
            self.warnings.append(
                f"{len(self.train)} case(s): too few to hold one out, so how good the model is now was not measured"
                + ("; a check on every case tells" if own and len(self.train) >= LEAST_FOLDS else "")
            )
        elif self.aim == IMPROVE and (after.mean_dice or 0) <= (before.mean_dice or 0):
            self.warnings.append(
                "nothing was better than the base on the cases held out, so this is the base; add more cases"
            )
            base = self.base.network
            tensors, after = interpolate(base, tensors, 0.0), before
            result.load_state_dict(merged(base, result, tensors))
        return tensors, after

    def advice(self, after: Measured) -> list[str]:
        return advise(facts_of(self.labels, self.train, after.label_dice), len(self.train))

    def describe(self, _result: nn.Module, before: Measured, after: Measured) -> Card:
        figures: dict[str, Any] = {"before": before.mean_dice, "after": after.mean_dice}
        if self.val:
            figures["after_per_label"] = after.label_dice
        if self.untaught and self.aim == NEW_LABELS:
            figures[NOT_TAUGHT] = self.untaught
        return replace(self.goal, training={}, figures=figures)


def _measure(network: nn.Module, volumes: Sequence[Volume], card: Card) -> Measured:
    """Dice of each of the card's labels on the network's own grid."""
    values = [str(label.value) for label in card.labels]

    def scores(volume: Volume) -> dict[str, float | None]:
        found = mean_dice_of(network, volume, card.preprocessing)
        return {value: None if math.isnan(dice) else dice for value, dice in zip(values, found, strict=True)}

    return Measured(tuple({"id": volume.id, "dice": scores(volume)} for volume in volumes))


def task_of(card: Card, dataset: Dataset) -> str:
    """Whether the data set labels what the model labels: as many values, and names that agree ("Anterior" will do for
    "Anterior hippocampus")."""
    own = {label.value: set(label.name.casefold().split()) for label in card.labels}
    theirs = {value: set(name.casefold().replace("_", " ").split()) for value, name in dataset.labels.items()}
    same = own.keys() == theirs.keys()
    return IMPROVE if same and all(own[v] <= theirs[v] or theirs[v] <= own[v] for v in own) else NEW_LABELS


def _split(dataset: Dataset) -> tuple[Dataset, list[DatasetCase], list[DatasetCase], CheckedCases]:
    """The data set as it is learned from, its cases to learn from and to hold out, every file of them checked."""
    listed = (dataset.folder / "splits.json").exists()
    if listed and dataset.splits["val"]:
        train, val = dataset.split("train"), dataset.split("val")
    else:
        tests = dataset.splits["test"]
        every = [case for case in dataset.cases.values() if case.label and case.id not in tests]
        train = dataset.split("train") if listed else every
        val = []
        if not train:
            raise LLMBoostError(f"{dataset.folder}: no case has a label map; label some")
    checked = check(dataset, [*train, *val])
    dataset, checked = settle(dataset, checked, train)
    train, val = ([case for case in cases if case.id in dataset.cases] for cases in (train, val))

    def shows(case: DatasetCase) -> bool:
        return bool(checked.values[case.id] & dataset.labels.keys())

    if not val and len(train) >= HELD_OUT:
        subjects = sorted({_subject(dataset, case) for case in train if shows(case)})
        chosen = set(subjects[HELD_OUT - 1 :: HELD_OUT])
        val = [case for case in train if _subject(dataset, case) in chosen and shows(case)]
        train = [case for case in train if _subject(dataset, case) not in chosen]
    return dataset, train, val, checked


def _subject(dataset: Dataset, case: DatasetCase) -> str:
    return dataset.subjects.get(case.id, case.id)


def _goal(
    base: Model, dataset: Dataset, train: list[DatasetCase], task: str, checked: CheckedCases
) -> tuple[Dataset, TrainingPlan | None, Card]:
    """The data set with the labels in the network's order, how to train (None: as the base was), and the card."""
    card, learned_from = base.card, f"{len(train)} case(s)"
    channels = len(dataset.modalities)
    if channels != card.preprocessing.channels:
        raise LLMBoostError(
            f"{dataset.folder}: {channels} channel(s), but '{card.name}' takes {card.preprocessing.channels};"
            " choose another base"
        )
    if task == IMPROVE:
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
    if "strides" in card.network:
        unshuffle = card.network.get("unshuffle", 1)
        plan = make_plan(dataset, train, levels=_strides(card), unshuffle=unshuffle, quick=True, load=checked.load)
        preprocessing = plan.preprocessing
    goal = replace(
        new_goal(card, dataset, dataset.labels.values(), learned_from),
        labels=default_labels(dataset.labels),
        modality=", ".join(dataset.modalities),
        preprocessing=preprocessing,
        largest_component=False,
        cascade=None,
    )
    return dataset, plan, goal


def _own_goal(dataset: Dataset, plan: TrainingPlan, cases: int) -> Card:
    """The card of a network of its own; network and figures are left to be set."""
    learned = ", ".join(dataset.labels.values())
    return Card(
        name="",
        title=shortened(learned),
        description=f"{learned}: learned from {cases} case(s).",
        task=SEGMENTATION,
        labels=default_labels(dataset.labels),
        modality=", ".join(dataset.modalities),
        preprocessing=plan.preprocessing,
        network={},
        booster={},
        one_piece=plan.one_piece,
        license=dataset.license,
        citation=dataset.reference,
    )


def _strides(card: Card) -> tuple[tuple[int, int, int], ...]:
    return tuple((int(a), int(b), int(c)) for a, b, c in card.network["strides"])


def _listed(labels: dict[int, str]) -> str:
    return ", ".join(f"{value} ({name})" for value, name in labels.items())


def _unlabeled_volume(case: DatasetCase, preprocessing: Preprocessing) -> Volume:
    images, _ = load(case)
    if len(images) != preprocessing.channels:
        raise LLMBoostError(f"{case.images[0]}: {len(images)} channel(s), the model takes {preprocessing.channels}")
    image = torch.from_numpy(preprocess(images, preprocessing).array)
    return Volume(case.id, image, torch.full((1, *image.shape[1:]), IGNORED, dtype=torch.int16))


def _old_volumes(folder: Path | None, card: Card) -> list[Volume]:
    if folder is None:
        return []
    dataset = read_dataset(folder)
    dataset = replace(dataset, labels={label.value: label.name for label in card.labels})
    return [read_volume(dataset, case, card.preprocessing) for case in dataset.split("val")[:MOST_HELD_OUT]]
