"""Cross-validation: a network for each part of the cases, which learns from all others; measured on what they did not
see, and kept together as one model (after nnU-Net, Isensee et al. 2021, Nature Methods)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..card import Card, read_card
from ..ensemble import combine
from ..errors import Cancelled
from ..evaluation import evaluate_segmenter
from ..io.dataset import Dataset, digest_of, read_dataset
from ..io.datasetcheck import check, settle
from ..metrics.segmentation import summarize
from ..model import Model, load_model
from ..report import Observed, Training, write_report
from .folds import (
    OUT_OF_FOLD,
    RESULT,
    SPLIT,
    Fold,
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
from .train import Recipe, check_free, plan_of, run_folder, train
from .trainingreport import REPORT


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
    check_fresh(output, resume)
    folder = folds_folder(output)
    dataset = read_dataset(data)
    cases = [dataset.cases[id] for id in (*dataset.splits["train"], *dataset.splits["val"])]
    checked = check(dataset, cases)
    dataset, checked = settle(dataset, checked, cases)
    ids = [case.id for case in cases if case.id in dataset.cases]
    parts = folds(ids, count, dataset.subjects, recipe.config.seed)
    wanted = recipe.report
    recipe, first = divided(recipe, parts)
    plan = plan_of(dataset, [dataset.cases[id] for id in ids], recipe, checked)
    report({"event": "plan", "reasons": (first, *plan.reasons, *checked.notes), "labels": dataset.labels})
    checked.loaded.clear()  # every fold reads what it needs

    with alone_in(folder):
        keep_split(folder / SPLIT, parts, digests_of(dataset, ids), recipe)
        every = folds_in(folder, parts, partial(holding_out, dataset, ids))
        train_folds(every, partial(train, recipe=recipe, plan=plan, device=device), report)
        found = measure_folds(every, device, report)
        check_free(output, resume)
        card = combine(found.models, output, **_fields(dataset, found))
        result = write_result(folder / RESULT, card, found.result)
        if wanted:
            told = (first, *plan.reasons, *checked.notes)
            _report(every, card, result, found.seen, told)
            report({"event": "report", "text": f"report on all folds in {folder / REPORT}"})
        return card


def digests_of(dataset: Dataset, ids: Sequence[str]) -> dict[str, str]:
    """What tells cases from others."""
    return {id: digest_of(dataset.cases[id])[:16] for id in ids}


def holding_out(dataset: Dataset, ids: Sequence[str], part: Sequence[str]) -> Dataset:
    """The data set with a part of the cases for validation, and the others of ``ids`` to learn from."""
    return replace(dataset, splits={"train": [id for id in ids if id not in part], "val": list(part), "test": []})


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

    @property
    def result(self) -> dict[str, Any]:
        """In the form of :func:`..evaluation.evaluate_segmenter`, but for what tells of the model."""
        known = {"dataset": self.dataset, "split": OUT_OF_FOLD, "mirror": False}
        return {**known, **self.summary, "cases": self.cases, "warnings": []}


def measure_folds(
    every: Sequence[Fold[Dataset]],
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


def _report(
    every: Sequence[Fold[Dataset]], card: Card, result: Mapping[str, Any], seen: Sequence[Observed], told: Sequence[str]
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
    return {
        "title": dataset.name,
        "description": f"Trained on {dataset.name}: {len(models)} networks, each without one part of the cases",
        "figures": found.figures,
        "training": training_of(models, dataset, found.summary["n_cases"]),
    }
