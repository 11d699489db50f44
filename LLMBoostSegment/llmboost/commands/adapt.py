"""`llmboost adapt`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import library
from ..card import read_card
from ..card.figures import at_worst, worst_first
from ..files import printable
from ..messages.words import FOLDS, LEAST_FOLDS
from .news import CASES, LABELS, by_name, training_news
from .terminal import DatasetArgument, DeviceOption, console

if TYPE_CHECKING:
    from ..learn.adaptation.common import Adapted, AdaptSettings
    from ..learn.adaptation.crosscheck import CrossChecked


def adapt(
    base: Annotated[str, typer.Argument(metavar="BASE", help="The model to start from: a name or a file.")],
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Option("--output", help="The adapter file to write (.safetensors).")],
    minutes: Annotated[float | None, typer.Option("--minutes", help="Budget in minutes; by default 2.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Budget in steps, in place of minutes.")] = None,
    rank: Annotated[
        int | None, typer.Option("--rank", help="Of the low-rank updates; by default by the number of cases.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="improve (the base's labels) or new-labels; by default what the labels say."),
    ] = None,
    old: Annotated[
        Path | None, typer.Option("--old", help="Data set of the base's own: measures what the model unlearns.")
    ] = None,
    block: Annotated[
        bool, typer.Option("--block", help="Low-rank updates of the language model's block, too.")
    ] = False,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope",
            help="What learns: own (a small network of its own, by default of new labels), adapter, or full (all"
            " weights; by default of a small imported model).",
        ),
    ] = None,
    booster: Annotated[
        str, typer.Option("--booster", help="A booster for a base without one: none (default), smollm2 or random.")
    ] = "none",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: DeviceOption = "auto",
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds",
            help="Of new labels, and of classifiers: check on every case afterwards, by so many more networks that"
            " learn as long, each without one part of the cases. Of a run that ended: check alone.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run that wrote the output, up to a larger budget; replaces it."),
    ] = False,
) -> None:
    """Adapt a model to a few local cases: a small file that every command takes as --model.

    A run that was stopped is continued when it is started again; one that ended goes on with --resume.
    """
    started = time.monotonic()
    path = library.find(base)  # a wrong name is told before anything heavy is imported
    from ..inference.device import choose_device
    from ..learn.adaptation.common import MINUTES, AdaptSettings
    from ..learn.adaptation.crosscheck import check_folds, cross_check
    from ..learn.adaptation.flow import adapt as run
    from ..learn.adaptation.runs import has_ended

    settings = AdaptSettings(
        steps=steps, minutes=minutes, rank=rank, task=task, scope=scope, block=block, booster=booster, seed=seed
    )
    where = choose_device(device)
    if folds is not None:
        check_folds(read_card(path), dataset, settings, folds)
    if folds is None or resume or not has_ended(output):
        total = None if steps or resume else 60 * (minutes or MINUTES)
        with training_news(total, started) as tell:
            result = run(
                path,
                dataset,
                output,
                settings,
                device=where,
                old=old,
                resume=resume,
                report=tell,
                started=started,
            )
        _tell(result, output, settings)
        if folds is None:
            _offer_check(result)
    if folds is not None:
        with training_news() as tell:
            checked = cross_check(path, dataset, output, settings, folds, device=where, report=tell)
        _tell_checked(checked, output)


def _tell(result: Adapted, output: Path, settings: AdaptSettings) -> None:
    """What came of the training."""
    from ..learn.adaptation.common import MINUTES
    from ..learn.train import run_folder

    for warning in result.warnings:
        console.print(f"warning: {warning}")
    measure = "AUC" if result.card.classification else "Dice"
    figures = [("held-out cases", result.before.value, result.after.value)]
    figures.append(("old cases", result.old_before, result.old_after))
    for what, before, after in figures:
        if after is not None:
            start = f"{before:.4f} -> " if before is not None else ""
            console.print(f"{measure} on {what}: {start}{after:.4f}")
    if result.after.cases:
        names = {label.value: label.name for label in result.card.labels}
        cases = {printable(id): dice for id, dice in result.after.case_dice.items()}
        for what, each in (("label", by_name(names, result.after.label_dice)), ("case", cases)):
            console.print(f"  by {what}: {', '.join(worst_first(each, CASES))}")
    for line in result.advice:
        console.print(f"advice: {line}")
    megabytes, took = output.stat().st_size / 1e6, result.seconds / 60
    planned = "" if settings.steps else f"planned {settings.minutes or MINUTES:.1f}, "
    console.print(f"{output}: {megabytes:.1f} MB, {result.steps} steps; {planned}took {took:.1f} minutes")
    more = f"--steps {2 * result.steps}" if settings.steps else f"--minutes {max(1, math.ceil(2 * took))}"
    console.print(f"log and curve in {run_folder(output)}; to go on, the same command with {more} --resume")


def _offer_check(result: Adapted) -> None:
    """How a network of new labels, or a classifier is checked on every case, and for how long."""
    card, classes = result.card, result.card.classification
    count = min(card.training["train_cases"] + card.training["val_cases"], FOLDS)
    if (not classes.multi_label if classes else not card.adapter) and count >= LEAST_FOLDS:
        minutes = count * result.seconds / 60
        console.print(f"to check on every case, in about {minutes:.1f} minutes: the same command with --folds {count}")


def _tell_checked(checked: CrossChecked, output: Path) -> None:
    """What was found on every case."""
    from ..learn.train import run_folder
    from ..learn.trainingreport import REPORT

    for warning in checked.warnings:
        console.print(f"warning: {warning}")
    figures = checked.card.figures
    measure, cases = ("AUC", "images") if checked.card.classification else ("Dice", "cases")
    value, interval = (figures.get(f"out_of_fold_{measure.lower()}{which}") for which in ("", "_ci95"))
    around = f" (95 % interval {interval[0]:.2f} to {interval[1]:.2f})" if interval else ""
    told = "not measured" if value is None else f"{value:.4f}{around}"
    console.print(f"{measure} out of fold: {told}; {checked.count} {cases}, each by a network that had not seen it")
    if checked.before.value is not None:
        console.print(f"  the base on the same {cases}: {checked.before.value:.4f}")
    if checked.card.classification:
        console.print(
            f"  accuracy {figures['out_of_fold_accuracy']:.4f}, balanced {figures['out_of_fold_balanced_accuracy']:.4f}"
        )
    else:
        _tell_cases(checked)
    took = checked.seconds / 60
    console.print(f"checked by {checked.folds} networks in {took:.1f} minutes; report in {run_folder(output) / REPORT}")


def _tell_cases(checked: CrossChecked) -> None:
    """Dice by label and by case, the worst ones."""
    found = checked.found
    cases = {printable(case["id"]): case["dice"] for case in found.cases}
    labels = sorted(checked.card.labels, key=lambda label: found.label_dice.get(str(label.value), 2.0))
    for label in labels[:LABELS]:
        console.print(f"  {at_worst(printable(label.name), str(label.value), cases)}")
    each = {printable(id): dice for id, dice in found.case_dice.items()}
    console.print(f"  by case: {', '.join(worst_first(each, CASES))}")
