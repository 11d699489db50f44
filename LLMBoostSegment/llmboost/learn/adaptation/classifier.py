"""A classifier adapts to local images: better at its own classes, or at new ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from ...card import Card, Looks
from ...card.figures import ADVICE
from ...errors import Cancelled, LLMBoostError
from ...inference import looks
from ...inference.classify import features_of, probabilities
from ...io.imageset import ImageSet, read_image_set
from ...metrics.classification import classification_scores
from ...model import Model, save_tensors
from ..checkpoint import learnt
from ..classification.train import (
    RESAMPLES,
    ClassificationRecipe,
    augmentation_of,
    calibrate,
    class_labels,
)
from ..classification.trainer import (
    ClassificationConfig,
    ClassificationTrainer,
    Images,
    digest_of,
    image_digests,
    read_images,
)
from ..train import check_free
from ..trainer import CHECKPOINT
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
from .lora import default_rank, layer_by_layer

BATCH = 16


def adapt_classifier(
    base: Model,
    base_path: Path,
    path: Path,
    output: Path,
    settings: AdaptSettings,
    device: torch.device,
    report: Callable[[dict[str, Any]], None],
    cancelled: Callable[[], bool],
    finishing: Callable[[], bool],
) -> Adapted:
    """As :func:`~llmboost.learn.adaptation.segmenter.adapt`: select, calibrate and thresholds on images of "val"."""
    started = time.monotonic()
    card, data = base.card, read_image_set(path)
    assert card.classification is not None
    preprocessing, input_region = card.preprocessing, card.classification.input_region
    if data.flat != (preprocessing.slice_axis is not None) or data.color != preprocessing.color:
        kinds = ("volumes", "slices")
        raise LLMBoostError(
            f"{path}: {kinds[data.flat]}{' in color' * data.color}, but '{card.name}' takes"
            f" {kinds[preprocessing.slice_axis is not None]}{' in color' * preprocessing.color}; choose another base"
        )
    same = [label.name.casefold() for label in card.labels] == [name.casefold() for name in data.classes]
    task = settings.task or (IMPROVE if same else NEW_LABELS)
    if task == IMPROVE and not same:
        raise LLMBoostError(
            f"{path}: classes {', '.join(data.classes)}, but '{card.name}' has"
            f" {', '.join(label.name for label in card.labels)}; teach them as new ones"
        )
    samples, val = data.split("train"), data.split("val")
    if not samples or not val:
        raise LLMBoostError(f"{path}: images to learn from and to hold out are needed; give more")
    images, held_out = read_images(samples, preprocessing, input_region), read_images(val, preprocessing, input_region)
    rank = settings.rank or default_rank(len(samples))
    digests = [digest_of(image) for image in images.images]
    adapter = adapter_entry(card, settings, task, rank, digests)
    labels = dict(enumerate(data.classes))
    cases = image_digests((samples, images), (val, held_out))
    with run_of(output, adapter, labels, cases) as run, layer_by_layer():
        resume = (run / CHECKPOINT).exists()
        report({"event": "plan", "reasons": _reasons(card, task, data, len(images), len(held_out), rank)})
        if cancelled():
            raise Cancelled

        torch.manual_seed(settings.seed)
        count = len(data.classes)
        network = network_of(base, fresh=settings.scope == "scratch", classes=count).to(device)
        before = _measure(network, held_out, data, preprocessing.mirror) if task == IMPROVE else Figures()
        open_up(network, settings, rank, task)
        minutes = None
        if settings.steps is None:
            minutes = max((settings.minutes or MINUTES) - 1.2 * (time.monotonic() - started) / 60, 1 / 60)
        config = ClassificationConfig(
            steps=settings.steps,
            minutes=minutes,
            batch=min(BATCH, len(images)),
            rate=settings.rate,
            validations=settings.validations,
            seed=settings.seed,
            balanced=True,
            first=task == IMPROVE,
            patience=settings.patience,
        )
        trainer = ClassificationTrainer(
            network,
            images,
            held_out,
            preprocessing,
            config,
            augmentation_of(ClassificationRecipe(config), preprocessing, input_region),
            run,
            device,
            multi_label=data.multi_label,
            report=report,
            cancelled=lambda: cancelled() or finishing(),
            labels=labels,
        )
        # the base's weights begin the average
        trainer.averaged = {name: tensor.detach().clone() for name, tensor in learnt(network).items()}
        result = network_of(base, classes=count)
        tensors, outcome, stopped = train_adapter(base, trainer, result, settings, resume, cancelled, finishing)
        if task == NEW_LABELS:  # for its own classes, what the base knows stays the usual
            ood_score = cast(Any, result).ood_score
            ood_score.fit(features_of(result, images.images))
            tensors |= {f"ood_score.{name}": buffer.cpu() for name, buffer in ood_score.named_buffers()}
        after = _measure(result, held_out, data, preprocessing.mirror)
        meaning = calibrate(result, held_out, data, preprocessing, input_region)
        meaning = replace(meaning, looks=_looks(card, task, images, held_out))
        goal = replace(_goal(card, data, task, len(images)), classification=meaning)
        training = {
            "steps": outcome.steps,
            "minutes": round((time.monotonic() - started) / 60, 2),
            "config": asdict(config),
        }
        figures = {"before": before.auc, "after": after.auc, **_certainty(result, held_out, data, preprocessing.mirror)}
        counts = len(images), len(held_out)
        card = adapted_card(card, goal, result, output, adapter, data, counts, training, figures)
        check_free(output)
        card = save_tensors(tensors, card, output)
    kept = where_to_keep(base_path, adapter, output)
    if card.doubts:
        kept.append(f"{card.doubts}; {ADVICE}")
    seconds = time.monotonic() - started
    return Adapted(card, before, after, None, None, outcome.steps, seconds, stopped, (*data.notes, *kept))


def _measure(network: nn.Module, images: Images, data: ImageSet, mirror: tuple[int, ...]) -> Figures:
    return Figures(auc=_scores(network, images, data, mirror, resamples=0)["auc"])


def _certainty(network: nn.Module, images: Images, data: ImageSet, mirror: tuple[int, ...]) -> dict[str, Any]:
    """Figures that tell whether anything was learned, see :mod:`llmboost.card.figures`."""
    scores = _scores(network, images, data, mirror, resamples=RESAMPLES)
    return {f"after_{key}": scores[key] for key in ("auc_ci95", "balanced_accuracy") if scores.get(key) is not None}


def _scores(
    network: nn.Module, images: Images, data: ImageSet, mirror: tuple[int, ...], resamples: int
) -> dict[str, Any]:
    found = probabilities(network, images.images, mirror=mirror, multi_label=data.multi_label)
    return classification_scores(
        found.numpy(), images.targets.numpy().astype(int), multi_label=data.multi_label, resamples=resamples
    )


def _looks(base: Card, task: str, images: Images, held_out: Images) -> Looks:
    """For the base's own classes, what it knows stays the usual, and local images are usual, too; for new ones, these
    alone are."""
    assert base.classification is not None
    local, others = images.images.numpy(), held_out.images.numpy()
    known = base.classification.looks
    if task == IMPROVE and known is not None:
        return looks.widened(known, np.concatenate([local, others]))
    return looks.fit(local, others, base.preprocessing.mirror, base.classification.input_region == "mask")


def _goal(card: Card, data: ImageSet, task: str, count: int) -> Card:
    learnt_from = f"{count} image(s)"
    if task == IMPROVE:
        return better_goal(card, learnt_from)
    return replace(
        new_goal(card, data, data.classes, learnt_from),
        labels=class_labels(data.classes),
        modality=data.modality or card.modality,
    )


def _reasons(card: Card, task: str, data: ImageSet, train: int, val: int, rank: int) -> tuple[str, ...]:
    goal = "better at its own classes" if task == IMPROVE else f"for new classes: {', '.join(data.classes)}"
    return (
        f"model '{card.name}' {card.version}, {goal}",
        f"{train} image(s) to learn from, {val} held out",
        f"rank {rank}",
        *data.notes,
    )
