"""Segmenters: trained on a part of the train split, selected on val, measured on the cases of one split."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ...booster import BoosterConfig
from ...errors import LLMBoostError
from ...evaluation import evaluate
from ...io.dataset import Dataset, DatasetCase, read_dataset
from ...learn.train import Recipe, run_folder, train
from ...learn.trainer import CHECKPOINT, TrainingConfig
from ...model import load_model
from ...networks import DEFAULT_SEGMENTER
from ..footprint import measured
from ..nnunet import train_nnunet
from ..sources import PHANTOM, read_source
from . import Context, Measure, settings_of

NNUNET = "nnunet"
MEASURES = (
    Measure("dice", "Dice"),
    Measure("hd95_mm", "HD95 (mm)", better="lower"),
    Measure("nsd_1mm", "NSD (1 mm)"),
)


@dataclass(frozen=True)
class Settings:
    """What a row may set.

    Attributes:
        data: a data set in the folder of data, or what else :mod:`..sources` knows.
        network, options: of the network, see :mod:`...networks`; ``nnunet``: nnU-Net's own program trains, and of the
            settings data, minutes, fraction, split and sides count alone.
        booster: ``none``, or fields of :class:`BoosterConfig`.
        steps, minutes, clock, optimizer, kernels, rate, validations: of :class:`TrainingConfig`.
        quick: by the plan for minutes, see :class:`...learn.train.Recipe`.
        fraction: the share of the train split's subjects that is trained on; the seed draws them.
        split: what is measured at the end.
        sides: how many cases, numbered one after the other, show one subject.
        memory: also measure the peak memory of ``llmboost segment`` on the first case, in a process of its own.
    """

    data: str
    network: str = DEFAULT_SEGMENTER
    options: dict[str, Any] = field(default_factory=dict)
    booster: str | dict[str, Any] = "none"
    steps: int | None = None
    minutes: float | None = None
    clock: str = "wall"
    optimizer: str = "adamw"
    kernels: float = 8.0
    rate: float = 1e-3
    validations: int = 10
    quick: bool = False
    fraction: float = 1.0
    split: str = "val"
    sides: int = 1
    memory: bool = False


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Train, select, measure; the model file stays in the row's folder."""
    settings = settings_of(row, Settings)
    dataset = read_source(settings.data, context, settings.sides)
    part = part_of(dataset, settings.fraction, row["seed"], context.folder / "data")
    file = context.folder / "model.safetensors"
    train_by = _by_nnunet if settings.network == NNUNET else _by_ourselves
    trained = train_by(settings, part, file, row["seed"], context)
    model = load_model(file, context.device)
    result = evaluate(model, dataset, settings.split)
    for folder in (part, context.folder / PHANTOM):
        shutil.rmtree(folder, ignore_errors=True)
    peak = _peak(file, dataset.split(settings.split)[0], context) if settings.memory else None
    return {
        "val": trained.val,
        "cases": [
            {
                "id": case["id"],
                "subject": dataset.subjects.get(case["id"], case["id"]),
                **{measure.name: _mean(case[measure.name]) for measure in MEASURES},
            }
            for case in result["cases"]
        ],
        "numbers": {
            "steps": trained.steps,
            "weights but the block's (M)": host_weights(model.network),
            "training (min)": trained.minutes,
            "inference (s a case)": round(float(np.mean([case["seconds"] for case in result["cases"]])), 3),
            **({"peak memory (GB)": peak} if peak is not None else {}),
        },
    }


@dataclass(frozen=True)
class Trained:
    """How a training went: the mean Dice on val, its steps and minutes."""

    val: float
    steps: int
    minutes: float


def _by_ourselves(settings: Settings, part: Path, file: Path, seed: int, context: Context) -> Trained:
    config = TrainingConfig(
        steps=settings.steps,
        minutes=settings.minutes,
        clock=settings.clock,
        optimizer=settings.optimizer,
        kernels=settings.kernels,
        rate=settings.rate,
        validations=settings.validations,
        seed=seed,
    )
    recipe = Recipe(config, settings.network, settings.options, booster_of(settings.booster, seed))
    recipe = replace(recipe, quick=settings.quick)
    card = train(part, file, recipe, device=context.device, report=context.report)
    (run_folder(file) / CHECKPOINT).unlink()
    return Trained(card.figures["val_dice"], card.training["steps"], card.training["minutes"])


def _by_nnunet(settings: Settings, part: Path, file: Path, seed: int, context: Context) -> Trained:
    if settings.minutes is None:
        raise LLMBoostError(f"network '{NNUNET}': is trained for minutes; give them")
    data = read_dataset(part)
    used = train_nnunet(data, file, settings.minutes, seed)
    val = evaluate(load_model(file, context.device), data, "val")["mean_dice"]
    return Trained(val, int(used["steps"]), used["minutes"])


def booster_of(setting: str | Mapping[str, Any], seed: int) -> BoosterConfig | None:
    """The booster that a recipe describes; ``seed`` is that of random weights unless the recipe gives one.

    Raises:
        LLMBoostError: there is no such booster.
    """
    if setting == "none":
        return None
    try:
        fields = {"seed": seed, **dict(setting)}  # type: ignore[arg-type]
        return BoosterConfig(**{**fields, "layers": tuple(fields.get("layers", ()))})
    except (TypeError, ValueError) as error:
        raise LLMBoostError(f"booster {setting}: {error}; use 'none' or the fields of BoosterConfig") from error


def host_weights(network: nn.Module) -> float:
    """Millions of weights, but for those of the language model's block."""
    return round(sum(p.numel() for name, p in network.named_parameters() if "booster.blocks." not in name) / 1e6, 3)


def part_of(dataset: Dataset, fraction: float, seed: int, folder: Path) -> Path:
    """A data set folder with a share of the subjects to train on, by links to the files of ``dataset``.

    A larger share holds all of a smaller one with the same seed.
    """
    cases = dataset.split("train")
    subjects = sorted({dataset.subjects[case.id] for case in cases})
    drawn = np.random.default_rng(seed).permutation(subjects)[: max(1, round(fraction * len(subjects)))]
    train = [case.id for case in cases if dataset.subjects[case.id] in set(drawn.tolist())]
    folder.mkdir()
    for name in ("imagesTr", "labelsTr"):
        (folder / name).symlink_to((dataset.folder / name).resolve(), target_is_directory=True)
    shutil.copyfile(dataset.folder / "dataset.json", folder / "dataset.json")
    splits = {**dataset.splits, "train": train}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
    return folder


def _peak(model: Path, case: DatasetCase, context: Context) -> float:
    """GB of the whole process that segments one case."""
    with tempfile.TemporaryDirectory(dir=context.folder) as output:
        where: list[str | Path] = ["--output", output, "--device", str(context.device)]
        command = [sys.executable, "-m", "llmboost", "segment", *case.images, "--model", model, *where]
        return round(measured(command)[1], 3)


def _mean(scores: Mapping[str, float | None]) -> float | None:
    """Over the labels with a value."""
    values = [value for value in scores.values() if value is not None]
    return float(np.mean(values)) if values else None
