"""Classifiers: trained on a part of the train split, selected on val, measured on the images of one split."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import LLMBoostError
from ...evaluation import evaluate_classifier
from ...io.imageset import read_image_set
from ...learn.classification.task import ClassificationConfig
from ...learn.classification.train import ClassificationRecipe, train_classifier
from ...learn.train import run_folder
from ...learn.trainer import CHECKPOINT
from ...model import load_model
from . import Cases, Context, Measure, settings_of
from .segmentation import booster_of, host_weights

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Settings:
    """What a row may set.

    Attributes:
        data: a .npz file in MedMNIST's form, or a folder of classes, in the folder of data.
        network, options, size: as of :class:`ClassificationRecipe`.
        booster: ``none``, or fields of :class:`BoosterConfig`.
        training: fields of :class:`ClassificationConfig`: steps or minutes, rate, batch and so on.
        fraction: the share of the train split's images that is trained on, class by class; the seed draws them.
        split: what is measured at the end.
    """

    data: str
    network: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    size: int = 0
    booster: str | dict[str, Any] = "none"
    training: dict[str, Any] = field(default_factory=dict)
    fraction: float = 1.0
    split: str = "val"


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Train, select, measure; the model file stays in the row's folder."""
    settings = settings_of(row, Settings)
    whole = context.data / settings.data
    part = share_of(whole, settings.fraction, row["seed"], context.folder / "data")
    try:
        config = ClassificationConfig(**{**settings.training, "seed": row["seed"]})
    except TypeError as error:
        raise LLMBoostError(
            f"row '{row['id']}': {error}; 'training' takes the fields of ClassificationConfig"
        ) from error
    booster = booster_of(settings.booster, row["seed"])
    recipe = ClassificationRecipe(config, settings.network, settings.options, booster, settings.size)
    file = context.folder / "model.safetensors"
    card = train_classifier(part, file, recipe, device=context.device, report=context.report)
    model = load_model(file, context.device)
    result = evaluate_classifier(model, read_image_set(whole), settings.split)
    shutil.rmtree(context.folder / "data", ignore_errors=True)
    (run_folder(file) / CHECKPOINT).unlink()
    return {
        "val": card.figures["val_auc"],
        "cases": [
            {"id": case["id"], "target": case["target"], "probabilities": [round(p, 4) for p in case["probabilities"]]}
            for case in result["cases"]
        ],
        "numbers": {
            "steps": card.training["steps"],
            "weights but the block's (M)": host_weights(model.network),
            "training (min)": card.training["minutes"],
            "inference (s an image)": round(float(np.mean([case["seconds"] for case in result["cases"]])), 4),
        },
    }


def share_of(path: Path, fraction: float, seed: int, folder: Path) -> Path:
    """``path`` with a share of the images to train on; a larger share holds all of a smaller one with the same seed."""
    if fraction == 1:
        return path
    if path.suffix != ".npz":
        raise LLMBoostError(f"{path}: a share of the images can be taken of .npz files alone; use fraction = 1.0")
    with np.load(path, allow_pickle=False) as file:
        arrays = {key: file[key] for key in file}
    labels = arrays["train_labels"].reshape(len(arrays["train_labels"]), -1)
    member = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = []
    for value in range(member.max() + 1):
        ours = order[member[order] == value]
        kept.extend(ours[: max(1, round(fraction * len(ours)))].tolist())
    kept.sort()
    for key in ("train_images", "train_labels"):
        arrays[key] = arrays[key][kept]
    folder.mkdir()
    np.savez(folder / path.name, **arrays)
    if path.with_suffix(".json").exists():
        shutil.copyfile(path.with_suffix(".json"), folder / f"{path.stem}.json")
    return folder / path.name


# -- measures: a case counts as often as its weight says, in each of the draws (draws, cases) --------------------------


def auc(cases: Cases, weights: Floats) -> Floats:
    """The mean of the classes' areas under the ROC curve, each against the others; a class without both kinds of cases
    is left out."""
    chances, truth = _arrays(cases)
    areas = [_area(chances[:, c], truth[:, c], weights) for c in range(truth.shape[1])]
    return _mean_of_known(np.stack(areas))


def _area(scores: Floats, truth: Floats, weights: Floats) -> Floats:
    """Positive cases above negative ones, equal ones counting half, by their weights (draws,); NaN without both."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # of equal scores, the first
    positive = np.add.reduceat((weights * truth)[:, order], starts, axis=1)
    negative = np.add.reduceat((weights * (1 - truth))[:, order], starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return np.divide((positive * below).sum(axis=1), pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def accuracy(cases: Cases, weights: Floats) -> Floats:
    """The share of right answers; of several labels a case, of right labels."""
    chances, truth = _arrays(cases)
    return weights @ _right(chances, truth).mean(axis=1) / weights.sum(axis=1)


def balanced_accuracy(cases: Cases, weights: Floats) -> Floats:
    """The mean of the classes' shares of right answers; of several labels a case, of each label's two sides."""
    chances, truth = _arrays(cases)
    right = _right(chances, truth)
    several = right.shape[1] > 1
    groups = [(right[:, c if several else 0], truth[:, c]) for c in range(truth.shape[1])]
    if several:
        groups += [(right[:, c], 1 - truth[:, c]) for c in range(truth.shape[1])]
    shares = []
    for correct, where in groups:
        count = weights @ where
        shares.append(np.divide(weights @ (correct * where), count, out=np.full(len(weights), np.nan), where=count > 0))
    return _mean_of_known(np.stack(shares))


def brier(cases: Cases, weights: Floats) -> Floats:
    """The sum over classes of squared differences of probability and truth."""
    chances, truth = _arrays(cases)
    return weights @ ((chances - truth) ** 2).sum(axis=1) / weights.sum(axis=1)


def _arrays(cases: Cases) -> tuple[Floats, Floats]:
    chances, truth = (np.array([case[key] for case in cases], float) for key in ("probabilities", "target"))
    return chances, truth


def _right(chances: Floats, truth: Floats) -> Floats:
    """1 where an answer is right: (cases, 1), or (cases, labels) where not every case has one label."""
    if (truth.sum(axis=1) == 1).all():
        return (chances.argmax(axis=1) == truth.argmax(axis=1)).astype(float)[:, None]
    return ((chances >= 0.5) == truth).astype(float)


def _mean_of_known(values: Floats) -> Floats:
    known = ~np.isnan(values)
    return np.divide(
        np.where(known, values, 0).sum(axis=0),
        known.sum(axis=0),
        out=np.full(values.shape[1], np.nan),
        where=known.any(axis=0),
    )


MEASURES = (
    Measure("auc", "AUC", of=auc),
    Measure("accuracy", "Accuracy", of=accuracy),
    Measure("balanced_accuracy", "Balanced accuracy", of=balanced_accuracy),
    Measure("brier", "Brier score", better="lower", of=brier),
)
