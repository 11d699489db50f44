"""Cross-validation of classifiers: a network for each part of the images, which learns from all others; judged by what
they did not see, and kept together as one model. See :mod:`..crossvalidation` for segmenters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...card import Card, Classification
from ...ensemble import combine
from ...errors import LLMBoostError
from ...evaluation import judged
from ...inference.classify import probabilities
from ...io.imageset import ImageSet, Sample, read_image_set
from ...model import Model, load_model
from ...report import Training, write_report
from ..folds import (
    OUT_OF_FOLD,
    RESULT,
    SPLIT,
    alone_in,
    check_fresh,
    divided,
    folds,
    folds_folder,
    folds_in,
    keep_split,
    train_folds,
    training_of,
    write_result,
)
from ..train import check_free
from ..trainingreport import REPORT
from .task import Images, digest_of, read_images
from .train import (
    RESAMPLES,
    ClassificationRecipe,
    figures_of,
    fit_meaning,
    judged_cases,
    observe_worst,
    plan_images,
    scaled,
    train_classifier,
)


def cross_validate_classifier(
    path: Path,
    output: Path,
    recipe: ClassificationRecipe,
    count: int,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Card:
    """Train ``count`` classifiers, each without one part of the images in "train" and "val", and write them as one.

    As :func:`..crossvalidation.cross_validate` does of segmenters. Each part has about as many images of each class;
    images that are the same stay together. What an image out of fold means, its temperature and thresholds, is fitted
    to the other folds' images; the model's own, to all.

    Raises:
        LLMBoostError: as :func:`.train.train_classifier`; classes that do not exclude each other; fewer images than
            folds; or, to resume, other images or settings.
    """
    check_fresh(output, resume)
    folder = folds_folder(output)
    data = undivided(read_image_set(path))
    samples = data.splits["train"]
    plan = plan_images(data, recipe)
    images = read_images(samples, plan.preprocessing, plan.input_region)
    digests = digests_of(samples, images)
    classes = {sample.id: sample.target for sample in samples}
    parts = folds(list(digests), count, digests, recipe.config.seed, classes)
    wanted = recipe.report
    recipe, first = divided(recipe, parts)
    told = (first, *plan.reasons)
    report({"event": "plan", "reasons": told})
    with alone_in(folder):
        known = {id: f"{digest} {classes[id]}" for id, digest in digests.items()}
        pretrained = recipe.pretrained and recipe.pretrained.name
        keep_split(folder / SPLIT, parts, known, recipe, {"size": recipe.size, "pretrained": pretrained})
        every = folds_in(folder, parts, partial(holding_out, data))
        train_folds(every, partial(train_classifier, recipe=recipe, plan=plan, device=device), report)
        models = [load_model(fold.path, device) for fold in every]
        meaning, result = out_of_fold(models, data, images, parts)
        check_free(output, resume)
        card = combine(models, output, **_fields(data, models, meaning, result))
        result = write_result(folder / RESULT, card, result)
        if wanted:
            observed = observe_worst(result, samples, plan.preprocessing)
            write_report(folder / REPORT, card, result, observed, Training(plan=told))
            report({"event": "report", "text": f"report on all folds in {folder / REPORT}"})
    return card


def undivided(data: ImageSet) -> ImageSet:
    """The data set with the images of "train" and "val" in "train" alone; raises LLMBoostError where several classes
    may be true of one."""
    if data.multi_label:
        raise LLMBoostError(
            f"{data.path}: several classes may be true of an image, and folds are for classes that exclude each other;"
            " leave them out"
        )
    splits = {name: data.splits[name] for name in ("train", "val")}
    ids = [sample.id for samples in splits.values() for sample in samples]
    if len(set(ids)) < len(ids):  # files of the same name in both
        splits = {name: [replace(one, id=f"{name}/{one.id}") for one in samples] for name, samples in splits.items()}
    return replace(data, splits={"train": [*splits["train"], *splits["val"]], "val": [], "test": []})


def digests_of(samples: Sequence[Sample], images: Images) -> dict[str, str]:
    """What tells images from others, by their ids."""
    return {sample.id: digest_of(image)[:16] for sample, image in zip(samples, images.images, strict=True)}


def holding_out(data: ImageSet, part: Sequence[str]) -> ImageSet:
    """The undivided data set with a part of the images for validation, and the others to learn from."""
    held = set(part)
    chosen: dict[str, list[Sample]] = {"train": [], "val": [], "test": []}
    for sample in data.splits["train"]:
        chosen["val" if sample.id in held else "train"].append(sample)
    return replace(data, splits=chosen)


def out_of_fold(
    models: Sequence[Model], data: ImageSet, images: Images, parts: Sequence[Sequence[str]]
) -> tuple[Classification, dict[str, Any]]:
    """What each image is to the network that did not see it.

    Args:
        data: undivided; ``images`` are its own.
        parts: what each network did not see.

    Returns:
        what all networks' answers mean, and the measures in the form of :func:`...evaluation.judged`, with the
        ``fold`` of each case and ``folds``.
    """
    homes = {id: number for number, part in enumerate(parts) for id in part}
    numbers = np.array([homes[sample.id] for sample in data.splits["train"]])
    mirror = models[0].card.preprocessing.mirror
    plain = torch.empty(len(images), len(data.classes))
    for number, model in enumerate(models):
        mine = torch.from_numpy(numbers == number)
        plain[mine] = probabilities(model.network, images.images[mine], mirror=mirror)
    usual = models[0].card.classification
    assert usual is not None

    def fitted(chosen: Tensor) -> Classification:
        return fit_meaning(plain[chosen], images.targets[chosen], data, usual)

    chances, cuts = torch.empty_like(plain), np.full((len(images), 1), 0.5)
    for number in range(len(models)):
        mine = torch.from_numpy(numbers == number)
        others = fitted(~mine)
        chances[mine] = scaled(plain[mine], others.temperature).float()
        cuts[mine] = others.thresholds or 0.5
    cases = judged_cases(data.splits["train"], chances)
    cases = [{**case, "fold": int(number)} for case, number in zip(cases, numbers, strict=True)]
    meaning = fitted(torch.ones(len(images), dtype=torch.bool))
    result = judged(data, OUT_OF_FOLD, meaning, cases, thresholds=cuts, resamples=RESAMPLES)
    each = []
    for number in range(len(models)):
        found = judged(data, OUT_OF_FOLD, meaning, [case for case in cases if case["fold"] == number], resamples=0)
        each.append({"fold": number, **{key: found[key] for key in ("n", "auc", "accuracy")}})
    return meaning, {**result, "folds": each}


def _fields(data: ImageSet, models: Sequence[Model], meaning: Classification, result: dict[str, Any]) -> dict[str, Any]:
    """Of the card of all networks together."""
    return {
        "title": data.name,
        "description": f"Trained on {data.name}: {len(models)} networks, each without one part of the images",
        "classification": meaning,
        "figures": figures_of(result, "out_of_fold"),
        "training": training_of(models, data, len(data.splits["train"])),
    }
