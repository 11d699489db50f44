"""A classifier adapts to local images: better at its own classes, or at new ones."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ...card import Card, Label
from ...classification_metrics import classification_scores
from ...classify import probabilities
from ...errors import LLMBoostError
from ...model import Model, save_tensors
from ...networks import build, describe
from ...predict import Cancelled
from ..adaptation import (
    IMPROVE,
    MINUTES,
    NEW_LABELS,
    Adapted,
    AdaptSettings,
    Figures,
    adapter_entry,
    run_of,
    where_to_keep,
)
from ..adapters import (
    BLOCKS,
    AdapterConfig,
    default_rank,
    fitted,
    inject,
    layer_by_layer,
    merged,
    towards,
    trained,
    unpack,
)
from ..checkpoint import learnt
from ..train import PALETTE, made_with
from ..trainer import CHECKPOINT
from .imageset import ImageSet, read_image_set
from .train import ClassificationRecipe, augmentation_of, features_of, settle
from .trainer import ClassificationConfig, ClassificationTrainer, Images, read_images

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
    """As :func:`llmboost.learn.adapt.adapt`, on labelled images: select, calibrate and set thresholds on "val"."""
    started = time.monotonic()
    card, data = base.card, read_image_set(path)
    assert card.classification is not None
    steps, framing = card.preprocessing, card.classification.framing
    if data.flat != (steps.slice_axis is not None) or data.color != steps.color:
        kinds = ("volumes", "slices")
        raise LLMBoostError(
            f"{path}: {kinds[data.flat]}{' in color' * data.color}, but '{card.name}' takes"
            f" {kinds[steps.slice_axis is not None]}{' in color' * steps.color}; choose another base"
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
    images, held_out = read_images(samples, steps, framing), read_images(val, steps, framing)
    rank = settings.rank or default_rank(len(samples))
    digests = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images.images]
    adapter = adapter_entry(card, settings, task, rank, digests)
    with run_of(output, adapter) as run, layer_by_layer():
        resume = (run / CHECKPOINT).exists()
        report({"event": "plan", "reasons": _reasons(card, task, data, len(images), len(held_out), rank)})
        if cancelled():
            raise Cancelled

        torch.manual_seed(settings.seed)
        network = _network(base, len(data.classes), settings).to(device)
        before = _measure(network, held_out, data, steps.mirror) if task == IMPROVE else Figures()
        if settings.block:
            unpack(network)
        inject(network, AdapterConfig(rank, settings.scope, settings.block))
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
            steps,
            config,
            augmentation_of(ClassificationRecipe(config), steps, framing),
            run,
            device,
            multi_label=data.multi_label,
            report=report,
            cancelled=lambda: cancelled() or finishing(),
        )
        # the base's weights begin the average
        trainer.averaged = {name: tensor.detach().clone() for name, tensor in learnt(network).items()}
        if resume:
            trainer.resume()
        outcome = trainer.run()
        if cancelled():
            raise Cancelled
        stopped = "finish" if finishing() else "budget" if trainer.fraction >= 1 else "early"
        network.load_state_dict({**network.state_dict(), **outcome.state})
        network.eval()
        if task == NEW_LABELS:  # for its own classes, what the base knows stays the usual
            cast(Any, network).familiarity.fit(features_of(network, images.images))
        tensors = towards(base.network, trained(network), settings.share)
        result = _network(base, len(data.classes), settings)
        if settings.block:
            unpack(result)
        result.load_state_dict(merged(base.network, result, tensors))
        result.eval().to(device)
        after = _measure(result, held_out, data, steps.mirror)
        meaning = settle(result, held_out, data, steps, framing)
        network_entry, booster_entry = describe(result)
        card = replace(
            card,
            name=output.stem,
            network=network_entry,
            booster=booster_entry,
            classification=meaning,
            training={
                "data": data.name,
                "data_license": data.license,
                "train_cases": len(images),
                "val_cases": len(held_out),
                "steps": outcome.steps,
                "minutes": round((time.monotonic() - started) / 60, 2),
                "config": asdict(config),
                "base": card.training,
                **made_with(),
            },
            figures={"before": before.auc, "after": after.auc, "held_out": len(held_out)},
            adapter=adapter,
            **_about(card, data, task, len(images)),
        )
        card = save_tensors(tensors, card, output)
    kept = where_to_keep(base_path, adapter, output)
    seconds = time.monotonic() - started
    return Adapted(card, before, after, None, None, outcome.steps, seconds, stopped, (*data.notes, *kept))


def _network(base: Model, classes: int, settings: AdaptSettings) -> nn.Module:
    options = {**base.card.network, "classes": classes}
    network = build(options.pop("name"), options, base.card.booster)
    fresh = settings.scope == "scratch"
    state = {name: tensor for name, tensor in fitted(base.network, network).items() if not fresh or BLOCKS in name}
    network.load_state_dict(state, strict=not fresh)
    return network.eval()


def _measure(network: nn.Module, images: Images, data: ImageSet, mirror: tuple[int, ...]) -> Figures:
    found = probabilities(network, images.images, mirror=mirror, multi_label=data.multi_label)
    scores = classification_scores(
        found.numpy(), images.targets.numpy().astype(int), multi_label=data.multi_label, resamples=0
    )
    return Figures(auc=scores["auc"])


def _about(card: Card, data: ImageSet, task: str, count: int) -> dict[str, Any]:
    if task == IMPROVE:
        return {
            "title": f"{card.title}, adapted",
            "description": f"{card.description} Adapted to {count} image(s) of {data.name}.",
        }
    return {
        "title": data.name,
        "description": f"{', '.join(data.classes)}: learnt from {count} image(s) of {data.name}.",
        "labels": tuple(Label(n, name, PALETTE[n % len(PALETTE)]) for n, name in enumerate(data.classes)),
        "modality": data.modality or card.modality,
        "license": "; ".join(text for text in (card.license, data.license) if text),
        "citation": "; ".join(text for text in (card.citation, data.reference) if text),
        "version": "1.0",
    }


def _reasons(card: Card, task: str, data: ImageSet, train: int, val: int, rank: int) -> tuple[str, ...]:
    goal = "better at its own classes" if task == IMPROVE else f"for new classes: {', '.join(data.classes)}"
    return (
        f"model '{card.name}' {card.version}, {goal}",
        f"{train} image(s) to learn from, {val} held out",
        f"rank {rank}",
        *data.notes,
    )
