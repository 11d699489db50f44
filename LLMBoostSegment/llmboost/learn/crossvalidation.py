"""Cross-validation: a network for each part of the cases, which learns from all others; measured on what they did not
see, and kept together as one model (after nnU-Net, Isensee et al. 2021, Nature Methods)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..card import Card, read_card
from ..ensemble import combine
from ..errors import Cancelled, LLMBoostError
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
from .plan import TrainingPlan
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
        keep_split(folder / SPLIT, dataset, parts, recipe)
        every = folds_in(folder, dataset, ids, parts)
        train_folds(every, recipe, plan, device=device, report=report)
        found = measure_folds(every, device, report)
        check_free(output, resume)
        card = combine(found.models, output, **_fields(dataset, found))
        result = found.result(card)
        write_result(folder / RESULT, result)
        if wanted:
            told = (first, *plan.reasons, *checked.notes)
            _report(every, card, result, found.seen, told)
            report({"event": "report", "text": f"report on all folds in {folder / REPORT}"})
        return card


def folds_in(folder: Path, dataset: Dataset, ids: Sequence[str], parts: Sequence[Sequence[str]]) -> list[Fold]:
    """The trainings, of which each has the cases of one part to be measured on, and the others of ``ids`` to learn
    from; their files lie in ``folder``."""
    return [
        Fold(number, folder / f"fold_{number}.safetensors", _without(dataset, ids, part))
        for number, part in enumerate(parts)
    ]


def train_folds(
    every: Sequence[Fold],
    recipe: Recipe,
    plan: TrainingPlan,
    *,
    device: torch.device,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Train the networks that are not there yet, all by one plan, and go on with one that was stopped.

    Args:
        report: is called with each training's events, with a "fold" such as "2 of 5", and the fraction that of all.

    Raises:
        LLMBoostError: as :func:`.train.train`.
        Cancelled: when asked to.
    """
    for fold in every:
        name = f"fold {fold.number} ({fold.number + 1} of {len(every)})"
        if fold.path.exists():
            report({"event": "plan", "reasons": (f"{name}: trained before",), "labels": fold.dataset.labels})
            continue
        tell = _of_fold(report, name, fold.number, len(every))
        train(
            fold.dataset,
            fold.path,
            recipe,
            device=device,
            resume=fold.started,
            report=tell,
            cancelled=cancelled,
            plan=plan,
        )
        if cancelled():
            fold.path.unlink()  # of a training that did not come to its end
            raise Cancelled


@dataclass(frozen=True)
class OutOfFold:
    """What each fold's network makes of the cases that it did not see.

    Attributes:
        cases: as :func:`..evaluation.evaluate_segmenter` gives them, with the number of the ``fold``.
        summary: of them, see :func:`..metrics.segmentation.summarize`.
        seen: what each fold showed.
    """

    models: list[Model]
    dataset: str
    cases: list[dict[str, Any]]
    summary: dict[str, Any]
    seen: list[Observed] = field(repr=False)

    @property
    def figures(self) -> dict[str, Any]:
        """For a card: the mean Dice and that of each label by value, with intervals."""
        dice = {value: found for value, found in self.summary["dice"].items() if found["mean"] is not None}
        intervals = {value: found["ci95"] for value, found in dice.items() if found["ci95"]}
        figures = {
            "out_of_fold_dice": self.summary["mean_dice"],
            "out_of_fold_dice_ci95": self.summary["mean_dice_ci95"],
            "out_of_fold_dice_per_label": {value: found["mean"] for value, found in dice.items()},
            "out_of_fold_dice_per_label_ci95": intervals,
        }
        return {name: figure for name, figure in figures.items() if figure is not None}

    def result(self, card: Card) -> dict[str, Any]:
        """In the form of :func:`..evaluation.evaluate_segmenter`, of the model that they speak of."""
        known = {"model": card.name, "digest": card.digest, "dataset": self.dataset}
        return {**known, "split": OUT_OF_FOLD, "mirror": False, **self.summary, "cases": self.cases, "warnings": []}


def measure_folds(
    every: Sequence[Fold],
    device: torch.device,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> OutOfFold:
    """Measure each network on what it did not see.

    Raises:
        LLMBoostError: a model or a case cannot be read.
        Cancelled: when asked to.
    """

    def measured(_case: dict[str, Any]) -> None:
        if cancelled():
            raise Cancelled

    models, seen = [], [Observed(fold.dataset.labels, fold.dataset.ignore) for fold in every]
    cases: list[dict[str, Any]] = []
    for fold in every:
        report({"event": "stage", "text": f"measuring the cases of fold {fold.number + 1} of {len(every)}"})
        models.append(load_model(fold.path, device))
        found = evaluate_segmenter(models[-1], fold.dataset, "val", report=measured, seen=seen[fold.number].see)
        cases += [{**case, "fold": fold.number} for case in found["cases"]]
    dataset = every[0].dataset
    summary = summarize(cases, groups=[dataset.subjects.get(case["id"], case["id"]) for case in cases])
    return OutOfFold(models, dataset.name, cases, summary, seen)


def write_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write what was measured out of fold; raises LLMBoostError."""
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())


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
    write_report(every[0].path.parent / REPORT, card, result, together(seen), Training(plan=told))


def together(seen: Sequence[Observed]) -> Observed:
    """What all folds showed."""
    every = Observed(seen[0].labels, seen[0].ignore)
    for one in seen:
        every.add(one)
    return every


def _fields(dataset: Dataset, found: OutOfFold) -> dict[str, Any]:
    """Of the card of all networks together."""
    models = found.models
    trainings = [model.card.training for model in models]
    members = [
        {"name": model.card.name, "digest": model.card.digest, "val_cases": model.card.training["val_cases"]}
        for model in models
    ]
    return {
        "title": dataset.name,
        "description": f"Trained on {dataset.name}: {len(models)} networks, each without one part of the cases",
        "figures": found.figures,
        "training": {
            "data": dataset.name,
            "data_license": dataset.license,
            "train_cases": found.summary["n_cases"],
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


def keep_split(path: Path, dataset: Dataset, parts: Sequence[Sequence[str]], recipe: Recipe) -> None:
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
        report({**event, **changed, "fold": f"{number + 1} of {count}"})

    return tell
