"""`llmboost adapt`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Annotated

import typer

from .. import library
from ..card.figures import worst_first
from ..files import printable
from .news import CASES, by_name, training_news
from .terminal import DatasetArgument, DeviceOption, console


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
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: DeviceOption = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the run that wrote the output, up to a larger budget; replaces it."),
    ] = False,
) -> None:
    """Adapt a model to a few local cases: a small file that every command takes as --model.

    A run that was stopped is continued when it is started again; one that ended goes on with --resume.
    """
    started = time.monotonic()
    from ..inference.device import choose_device
    from ..learn.adaptation.common import MINUTES, AdaptSettings
    from ..learn.adaptation.flow import adapt as run
    from ..learn.train import run_folder

    settings = AdaptSettings(steps=steps, minutes=minutes, rank=rank, task=task, block=block, seed=seed)
    total = None if steps or resume else 60 * (minutes or MINUTES)
    with training_news(total, started) as tell:
        result = run(
            library.find(base),
            dataset,
            output,
            settings,
            device=choose_device(device),
            old=old,
            resume=resume,
            report=tell,
            started=started,
        )
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
