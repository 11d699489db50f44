"""From a base model and a few local cases to an adapter file, within minutes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ...adapter import merged
from ...card import CLASSIFICATION, Card, Preprocessing
from ...card.figures import ADVICE, NOT_TAUGHT
from ...errors import Cancelled, LLMBoostError
from ...inference.preprocessing import preprocess
from ...io.dataset import (
    CheckedCases,
    Dataset,
    DatasetCase,
    check,
    digest_of,
    gaps,
    load,
    read_dataset,
    unlabeled_cases,
)
from ...io.labels import exchanged
from ...model import Model, load_model, save_tensors
from ..loss import IGNORED
from ..patches import TrainingPatches, Volume
from ..plan import Plan, make_plan
from ..regularizers import Consistency, Distillation
from ..train import case_digests, check_free, default_labels
from ..trainer import CHECKPOINT, Regularizer, Trainer, TrainingConfig, mean_dice_of, read_volume
from .common import (
    IMPROVE,
    MINUTES,
    NEW_LABELS,
    Adapted,
    AdaptSettings,
    Figures,
    adapted_card,
    adapter_entry,
    better_goal,
    network_of,
    new_goal,
    open_up,
    run_of,
    train_adapter,
    where_to_keep,
)
from .lora import default_rank, default_share, layer_by_layer, towards

HELD_OUT = 4  # every which subject is held out; fewer cases than that are all learned from
MOST_HELD_OUT = 16  # cases: more would take time from training
MOST_UNLABELED = 64  # cases, for the same reason


def adapt(
    base_path: Path,
    folder: Path,
    output: Path,
    settings: AdaptSettings,
    *,
    device: torch.device,
    old: Path | None = None,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
    finishing: Callable[[], bool] = lambda: False,
) -> Adapted:
    """Train an adapter of the model at ``base_path`` on the data set ``folder`` and write it to ``output``.

    Cases are held out, to choose the best weights by and for the figures: those of the split "val", or, without one,
    every fourth subject. Fewer than four cases are all learned from. One case held out is too few to choose by (on val,
    it cost 0.02 of Dice): with one or none, training goes to the end of the budget. If what comes of it is not better
    than the base on the cases held out, the base is kept. A killed run is continued when it is started again.

    Args:
        old: a data set of the base's own, to tell what it unlearnt: the split "val" is measured before and after.
        cancelled: ends with nothing written. ``finishing``: ends with the best so far.

    Raises:
        LLMBoostError: anything wrong with base, data set or output, or a training that cannot go on.
        Cancelled: when asked to.
    """
    started = time.monotonic()
    check_free(output)
    base = load_model(base_path)
    if base.card.task == CLASSIFICATION:
        from .classifier import adapt_classifier

        return adapt_classifier(base, base_path, folder, output, settings, device, report, cancelled, finishing)
    dataset = read_dataset(folder)
    task = settings.task or _task(base.card, dataset)
    train, val, checked = _split(dataset)
    untaught, gaps_found = gaps(dataset, checked, train, val)
    warnings = [*checked.notes, *gaps_found]
    dataset, plan, card = _goal(base, dataset, train, task, checked)
    if card.preprocessing.slice_axis is None and min(checked.load(train[0])[0][0].shape) == 1:
        raise LLMBoostError(f"{folder}: single slices, but '{base.card.name}' needs volumes; choose another base")

    torch.manual_seed(settings.seed)
    options: dict[str, Any] = {"classes": card.classes, **({"strides": plan.strides} if plan else {})}
    # for images that go less deep, kernels that do as well
    network = network_of(base, fresh=settings.scope == "scratch", **options)
    preprocessing = card.preprocessing
    unlabeled = unlabeled_cases(dataset)[:MOST_UNLABELED] if settings.consistency else []
    train_volumes = [read_volume(dataset, case, preprocessing, checked.take) for case in train]
    val_volumes = [read_volume(dataset, case, preprocessing, checked.take) for case in val]
    del checked  # with cases that are not used
    if not any(bool((volume.label > 0).any()) for volume in train_volumes):
        raise LLMBoostError(f"{folder}: the cases to learn from have no labeled voxels; label some")
    for volume in train_volumes:
        if not bool((volume.label > 0).any()):
            warnings.append(f"{volume.id}: nothing is labeled; it is learned from as an example of nothing")
    few = len(val) < 2
    if settings.share is None and task == IMPROVE and settings.scope != "scratch":
        settings = replace(settings, share=default_share(len(val)))
    rank = settings.rank or default_rank(len(train))
    adapter = adapter_entry(base.card, settings, task, rank, [digest_of(case) for case in [*train, *unlabeled]])
    labels = {label.value: label.name for label in card.labels}
    with run_of(output, adapter, labels, case_digests([*train, *unlabeled], val)) as run, layer_by_layer():
        resume = (run / CHECKPOINT).exists()
        report({"event": "plan", "reasons": _reasons(base.card, task, train, val, unlabeled, plan, rank, resume)})
        if cancelled():
            raise Cancelled
        network.to(device)
        before_seconds = time.monotonic()
        before = measure(network, val_volumes, card)  # of new labels for the time that it takes alone
        old_volumes = _old_volumes(old, base.card) if task == IMPROVE else []
        old_before = measure(base.network.to(device), old_volumes, base.card).mean_dice
        took = time.monotonic() - before_seconds
        before = before if task == IMPROVE else Figures()
        open_up(network, settings, rank, task)
        minutes = None
        if settings.steps is None:
            # what comes after the training takes as long as what came before it, and one validation more
            left = 60 * (settings.minutes or MINUTES) - (time.monotonic() - started) - 2 * took
            minutes = max(left, 1.0) / 60
        regularizers: list[Regularizer] = []
        if settings.distill and task == IMPROVE:
            regularizers.append(Distillation(base.network.to(device), settings.distill))
        trainer = Trainer(
            network,
            train_volumes,
            val_volumes,
            preprocessing,
            TrainingConfig(
                steps=settings.steps,
                minutes=minutes,
                batch=settings.batch,
                rate=settings.rate,
                validations=settings.validations,
                seed=settings.seed,
                contrast=settings.contrast,
                thick=settings.thick,
                first=task == IMPROVE,
                last=few,
                patience=0 if few else settings.patience,
            ),
            run,
            device,
            report,
            lambda: cancelled() or finishing(),
            regularizers,
            labels=labels,
        )
        if unlabeled:
            volumes = [_unlabeled_volume(case, preprocessing) for case in unlabeled]
            patches = TrainingPatches(
                volumes, preprocessing.patch_size, preprocessing.mirror, trainer.length, settings.seed
            )
            regularizers.append(Consistency(patches, settings.consistency, trainer))
        result = network_of(base, **options)
        tensors, outcome, stopped = train_adapter(base, trainer, result, settings, resume, cancelled, finishing)
        after = measure(result, val_volumes, card)
        if task == IMPROVE and val and (after.mean_dice or 0) <= (before.mean_dice or 0):
            warnings.append(
                "nothing was better than the base on the cases held out, so this is the base; add more cases"
            )
            tensors, after = towards(base.network, tensors, 0.0), before
            result.load_state_dict(merged(base.network, result, tensors))
        old_after = measure(result, old_volumes, card).mean_dice
        if not val:
            warnings.append(
                f"{len(train)} case(s): too few to hold one out, so how good the model is now was not measured"
            )
        training = {"steps": outcome.steps, "minutes": round((time.monotonic() - started) / 60, 2)}
        figures: dict[str, Any] = {"before": before.mean_dice, "after": after.mean_dice}
        if val:
            figures["after_per_label"] = after.label_dice
        if untaught and task == NEW_LABELS:
            figures[NOT_TAUGHT] = untaught
        if old_volumes:
            figures |= {"old_before": old_before, "old_after": old_after}
        counts = len(train), len(val)
        card = adapted_card(base.card, card, result, output, adapter, dataset, counts, training, figures)
        check_free(output)
        card = save_tensors(tensors, card, output)
        if card.doubts:
            warnings.append(f"{card.doubts}; {ADVICE}")
        warnings += where_to_keep(base_path, adapter, output)
    return Adapted(
        card,
        before,
        after,
        old_before,
        old_after,
        outcome.steps,
        time.monotonic() - started,
        stopped,
        tuple(warnings),
    )


def measure(network: nn.Module, volumes: Sequence[Volume], card: Card) -> Figures:
    """Dice of each of the card's labels on the network's own grid."""
    values = [str(label.value) for label in card.labels]

    def scores(volume: Volume) -> dict[str, float | None]:
        found = mean_dice_of(network, volume, card.preprocessing)
        return {value: None if math.isnan(dice) else dice for value, dice in zip(values, found, strict=True)}

    return Figures(tuple({"id": volume.id, "dice": scores(volume)} for volume in volumes))


def _task(card: Card, dataset: Dataset) -> str:
    """Whether the data set labels what the model labels: as many values, and names that agree ("Anterior" will do for
    "Anterior hippocampus")."""
    own = {label.value: set(label.name.casefold().split()) for label in card.labels}
    theirs = {value: set(name.casefold().replace("_", " ").split()) for value, name in dataset.labels.items()}
    same = own.keys() == theirs.keys()
    return IMPROVE if same and all(own[v] <= theirs[v] or theirs[v] <= own[v] for v in own) else NEW_LABELS


def _split(dataset: Dataset) -> tuple[list[DatasetCase], list[DatasetCase], CheckedCases]:
    """Cases to learn from and cases to hold out, every file of them checked."""
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

    def shows(case: DatasetCase) -> bool:
        return bool(checked.values[case.id] & dataset.labels.keys())

    if not val and len(train) >= HELD_OUT:
        subjects = sorted({_subject(dataset, case) for case in train if shows(case)})
        chosen = set(subjects[HELD_OUT - 1 :: HELD_OUT])
        val = [case for case in train if _subject(dataset, case) in chosen and shows(case)]
        train = [case for case in train if _subject(dataset, case) not in chosen]
    return train, val[:MOST_HELD_OUT], checked


def _subject(dataset: Dataset, case: DatasetCase) -> str:
    return dataset.subjects.get(case.id, case.id)


def _goal(
    base: Model, dataset: Dataset, train: list[DatasetCase], task: str, checked: CheckedCases
) -> tuple[Dataset, Plan | None, Card]:
    """The data set with the labels in the network's order, how to train (None: as the base was), and the card."""
    card, learnt_from = base.card, f"{len(train)} case(s)"
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
        card = better_goal(card, learnt_from)
        return replace(dataset, labels=labels), None, card
    plan = None
    preprocessing = card.preprocessing
    if "strides" in card.network:
        unshuffle = card.network.get("unshuffle", 1)
        plan = make_plan(dataset, train, levels=_strides(card), unshuffle=unshuffle, quick=True, load=checked.load)
        preprocessing = plan.preprocessing
    goal = replace(
        new_goal(card, dataset, dataset.labels.values(), learnt_from),
        labels=default_labels(dataset.labels),
        modality=", ".join(dataset.modalities),
        preprocessing=preprocessing,
        largest_component=False,
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
    image = torch.from_numpy(preprocess(images, preprocessing).array)
    return Volume(case.id, image, torch.full((1, *image.shape[1:]), IGNORED, dtype=torch.int16))


def _old_volumes(folder: Path | None, card: Card) -> list[Volume]:
    if folder is None:
        return []
    dataset = read_dataset(folder)
    dataset = replace(dataset, labels={label.value: label.name for label in card.labels})
    return [read_volume(dataset, case, card.preprocessing) for case in dataset.split("val")[:MOST_HELD_OUT]]


def _reasons(
    card: Card,
    task: str,
    train: list[DatasetCase],
    val: list[DatasetCase],
    unlabeled: list[DatasetCase],
    plan: Plan | None,
    rank: int,
    resume: bool,
) -> tuple[str, ...]:
    goal = "better at its own labels" if task == IMPROVE else "for new labels"
    held = f"{len(val)} held out to choose the best by" if val else "none held out: too few"
    return (
        f"model '{card.name}' {card.version}, {goal}",
        f"{len(train)} case(s) to learn from, {held}",
        *((f"{len(unlabeled)} case(s) without a label map teach, too",) if unlabeled else ()),
        f"rank {rank}",
        *(plan.reasons if plan else ()),
        *(("continues the run that was stopped",) if resume else ()),
    )
