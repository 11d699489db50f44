"""Cross-validation: a network for each part of the cases, which learns from all others; measured on what they did not
see, and kept together as one model (after nnU-Net, Isensee et al. 2021, Nature Methods)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..card import Card, read_card
from ..ensemble import combine
from ..errors import LLMBoostError
from ..evaluation import evaluate_segmenter
from ..files import locked, write_whole
from ..io.dataset import Dataset, digest_of, read_dataset
from ..io.datasetcheck import check, settle
from ..jsonfile import read_json
from ..metrics.segmentation import summarize
from ..model import Model, load_model
from ..report import Observed, Training, write_report
from .checkpoint import differences
from .folds import folds
from .train import Recipe, check_free, made_with, plan_of, run_folder, train
from .trainer import CHECKPOINT
from .trainingreport import REPORT

SPLIT = "folds.json"
RESULT = "out_of_fold.json"
OUT_OF_FOLD = "out of fold"  # in place of a split's name


@dataclass(frozen=True)
class Fold:
    """One of the trainings: its number from 0, its model file, and the data set with its cases in "train" and "val"."""

    number: int
    path: Path
    dataset: Dataset

    @property
    def started(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (run_folder(self.path) / CHECKPOINT).exists()


def folds_folder(output: Path) -> Path:
    """Where cross-validation that writes ``output`` keeps each fold's model and run folder, and what they show."""
    return output.with_suffix(".folds")


def cross_validate(
    data: Path,
    output: Path,
    recipe: Recipe,
    count: int,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Card:
    """Train ``count`` networks, each without one part of the cases in "train" and "val", and write them as one model.

    Cases in "test" take no part. All networks share one plan, made from all cases. Each one's last weights are kept,
    for those of the best validation would be chosen by the very cases that are to judge them. A budget in minutes is
    for all networks together, one in steps for each. What the card tells, and ``out_of_fold.json`` in
    :func:`folds_folder` case by case, are measures of each case by the network that did not see it; together they are
    usually somewhat better on new cases.

    Raises:
        LLMBoostError: as :func:`.train.train`; fewer subjects than folds; or, to resume, other cases or settings.
    """
    folder = folds_folder(output)
    check_free(output, resume)
    if (folder / SPLIT).exists() and not resume:
        raise LLMBoostError(
            f"{folder}: holds an earlier cross-validation; continue it with --resume, or choose another --output"
        )
    dataset = read_dataset(data)
    cases = [dataset.cases[id] for id in (*dataset.splits["train"], *dataset.splits["val"])]
    checked = check(dataset, cases)
    dataset, checked = settle(dataset, checked, cases)
    ids = [case.id for case in cases if case.id in dataset.cases]
    parts = folds(ids, count, dataset.subjects, recipe.config.seed)
    minutes = recipe.config.minutes
    config = replace(recipe.config, last=True, minutes=None if minutes is None else minutes / count)
    recipe, wanted = replace(recipe, config=config, report=False), recipe.report
    plan = plan_of(dataset, [dataset.cases[id] for id in ids], recipe, checked)
    budget = f"{config.steps} steps each" if minutes is None else f"{config.minutes:.3g} of {minutes:g} minutes each"
    first = f"{count} folds of {min(map(len, parts))} to {max(map(len, parts))} cases, {budget}; measuring comes on top"
    report({"event": "plan", "reasons": (first, *plan.reasons, *checked.notes), "labels": dataset.labels})
    checked.loaded.clear()  # every fold reads what it needs

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LLMBoostError(f"{folder}: cannot be made ({error.strerror}); choose another output") from error
    with locked(folder, wait=False):
        _keep_split(folder / SPLIT, dataset, parts, recipe)
        every = [
            Fold(number, folder / f"fold_{number}.safetensors", _without(dataset, ids, part))
            for number, part in enumerate(parts)
        ]
        for fold in every:
            name = f"fold {fold.number} ({fold.number + 1} of {count})"
            if fold.path.exists():
                report({"event": "plan", "reasons": (f"{name}: trained before",), "labels": dataset.labels})
                continue
            tell = _of_fold(report, name, fold.number, count)
            train(
                fold.dataset,
                fold.path,
                recipe,
                device=device,
                resume=fold.started,
                report=tell,
                plan=plan,
            )
        card, result, seen = _conclude(every, output, device, report, resume)
        if wanted:
            told = (first, *plan.reasons, *checked.notes)
            _report(every, card, result, seen, told)
            report({"event": "report", "text": f"report on all folds in {folder / REPORT}"})
        return card


def _conclude(
    every: Sequence[Fold], output: Path, device: torch.device, report: Callable[[dict[str, Any]], None], resume: bool
) -> tuple[Card, dict[str, Any], list[Observed]]:
    """Measure each network on what it did not see, and write them all as one model; also gives what was measured, and
    what each fold showed."""
    models, seen = [], [Observed(fold.dataset.labels, fold.dataset.ignore) for fold in every]
    measured: list[dict[str, Any]] = []
    for fold in every:
        report({"event": "stage", "text": f"measuring the cases of fold {fold.number}"})
        models.append(load_model(fold.path, device))
        found = evaluate_segmenter(models[-1], fold.dataset, "val", seen=seen[fold.number].see)
        measured += [{**case, "fold": fold.number} for case in found["cases"]]
    dataset = every[0].dataset
    summary = summarize(measured, groups=[dataset.subjects.get(case["id"], case["id"]) for case in measured])
    check_free(output, resume)
    card = combine(models, output, **_fields(dataset, models, summary))
    result = {
        "model": card.name,
        "digest": card.digest,
        "dataset": dataset.name,
        "split": OUT_OF_FOLD,
        "mirror": False,
        **summary,
        "cases": measured,
        "warnings": [],
    }
    write_whole(folds_folder(output) / RESULT, (json.dumps(result, indent=1) + "\n").encode())
    return card, result, seen


def _report(
    every: Sequence[Fold], card: Card, result: Mapping[str, Any], seen: Sequence[Observed], told: Sequence[str]
) -> None:
    """A report of each fold in its run's folder, and one of all."""
    for fold, observed in zip(every, seen, strict=True):
        cases = [case for case in result["cases"] if case["fold"] == fold.number]
        groups = [fold.dataset.subjects.get(case["id"], case["id"]) for case in cases]
        own = {**result, **summarize(cases, groups=groups), "cases": cases}
        run = run_folder(fold.path)
        write_report(run / REPORT, read_card(fold.path), own, observed, Training(run / "curve.png", told))
    together = Observed(every[0].dataset.labels, every[0].dataset.ignore)
    for observed in seen:
        together.add(observed)
    write_report(every[0].path.parent / REPORT, card, result, together, Training(plan=told))


def _fields(dataset: Dataset, models: Sequence[Model], summary: Mapping[str, Any]) -> dict[str, Any]:
    """Of the card of all networks together."""
    dice = {value: found for value, found in summary["dice"].items() if found["mean"] is not None}
    intervals = {value: found["ci95"] for value, found in dice.items() if found["ci95"]}
    figures = {
        "out_of_fold_dice": summary["mean_dice"],
        "out_of_fold_dice_ci95": summary["mean_dice_ci95"],
        "out_of_fold_dice_per_label": {value: found["mean"] for value, found in dice.items()},
        "out_of_fold_dice_per_label_ci95": intervals,
    }
    trainings = [model.card.training for model in models]
    members = [
        {"name": model.card.name, "digest": model.card.digest, "val_cases": model.card.training["val_cases"]}
        for model in models
    ]
    return {
        "title": dataset.name,
        "description": f"Trained on {dataset.name}: {len(models)} networks, each without one part of the cases",
        "figures": {name: figure for name, figure in figures.items() if figure is not None},
        "training": {
            "data": dataset.name,
            "data_license": dataset.license,
            "train_cases": summary["n_cases"],
            "folds": len(models),
            "members": members,
            "steps": sum(training["steps"] for training in trainings),
            "minutes": round(sum(training["minutes"] for training in trainings), 1),
            "config": trainings[0]["config"],
            **made_with(),
        },
    }


def _without(dataset: Dataset, ids: Sequence[str], part: Sequence[str]) -> Dataset:
    """The data set with a part of the cases for validation, and the others to learn from."""
    return replace(dataset, splits={"train": [id for id in ids if id not in part], "val": list(part), "test": []})


def _keep_split(path: Path, dataset: Dataset, parts: Sequence[Sequence[str]], recipe: Recipe) -> None:
    """Write down what is trained on what; raises LLMBoostError if something else was when it began."""
    now = {
        "folds": {f"fold {number}": list(part) for number, part in enumerate(parts)},
        "known cases": {id: digest_of(dataset.cases[id])[:16] for part in parts for id in part},
        "settings": asdict(recipe.config),
        "network": {"name": recipe.network, "options": recipe.options},
        "booster": None if recipe.booster is None else asdict(recipe.booster),
        "start": read_card(recipe.start).digest if recipe.start else None,
    }
    if not path.exists():
        write_whole(path, (json.dumps(now, indent=1) + "\n").encode())
    elif differing := differences(read_json(path), now):
        raise LLMBoostError(
            f"{path}: another cross-validation ({differing}); continue it as it was started, or choose another --output"
        )


def _of_fold(
    report: Callable[[dict[str, Any]], None], name: str, number: int, count: int
) -> Callable[[dict[str, Any]], None]:
    """``report`` for one of the trainings: the plan was told already, and it is a part of the whole."""

    def tell(event: dict[str, Any]) -> None:
        changed: dict[str, Any] = {"reasons": (name,)} if event["event"] == "plan" else {}
        if "fraction" in event:
            changed["fraction"] = (number + event["fraction"]) / count
        report({**event, **changed})

    return tell
