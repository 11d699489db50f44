"""`llmboost train`."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..card.figures import ADVICE
from ..errors import LLMBoostError
from .news import training_news
from .terminal import DatasetArgument, DeviceOption, console

if TYPE_CHECKING:
    from ..card import Card


def train(
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Option("--output", help="The model file to write (.safetensors).")],
    minutes: Annotated[float | None, typer.Option("--minutes", help="Budget in minutes; or give --steps.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Budget in steps; or give --minutes.")] = None,
    booster: Annotated[
        str,
        typer.Option(
            "--booster",
            help="none (default), smollm2, random (spectrum-matched), a Hugging Face folder, or hub:NAME[@REVISION].",
        ),
    ] = "none",
    download: Annotated[
        bool, typer.Option("--download", help="Fetch from the hub what --booster hub:NAME lacks on this machine.")
    ] = False,
    residual: Annotated[
        str | None, typer.Option("--residual", help="The booster's: none, inner, outer (default) or hybrid.")
    ] = None,
    place: Annotated[
        str | None, typer.Option("--place", help="The booster's place: head, middle or tail (default).")
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", help="Which layer of the language model, from 0; by default two thirds of the way up."),
    ] = None,
    state: Annotated[
        str | None, typer.Option("--state", help="The booster's block: frozen (default), lora or full.")
    ] = None,
    network: Annotated[
        str,
        typer.Option(
            "--network",
            help="To segment: hybrid-vit (default), plain-vit. To classify: vit-tiny or vit3d-tiny (defaults), vit-s,"
            " vit3d, vivit, vivit-tiny.",
        ),
    ] = "",
    size: Annotated[
        int, typer.Option("--size", help="To classify: voxels a side that images are brought to; by default as stored.")
    ] = 0,
    pretrained: Annotated[
        Path | None,
        typer.Option("--pretrained", help="With vit-s: a folder with a vision transformer's weights (.safetensors)."),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Peak learning rate; 3e-3 to segment, 5e-4 to classify.")
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            "--folds",
            help="Cross-validation in so many folds, kept together as one model. --minutes is then for all folds"
            " together, --steps for each.",
        ),
    ] = 0,
    batch: Annotated[
        int,
        typer.Option(
            "--batch",
            min=0,
            help="Patches or images a step, of all processes of torchrun together; by default from the data.",
        ),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was stopped.")] = False,
) -> None:
    """Train a base model on a data set, within a budget; on several devices: torchrun -m llmboost train."""
    from ..booster import NO_BOOSTER, booster_of, hub
    from ..learn.base import BaseSettings, train_base
    from ..learn.distributed import is_first, joined

    if (minutes is None) == (steps is None):
        raise LLMBoostError("give a budget: either --minutes N or --steps N")
    if rate is not None and rate <= 0:
        raise LLMBoostError("--rate must be greater than zero")
    layers = () if layer is None else (layer,)
    details = {"residual": residual, "place": place, "state": state, "layers": layers or None}
    given = {name: value for name, value in details.items() if value is not None}
    if given and booster == NO_BOOSTER:
        raise LLMBoostError("--residual, --place, --layer and --state are the booster's; add --booster smollm2")
    if download:
        hub.find(booster, layers, download=True)
    settings = BaseSettings(
        steps, minutes, booster_of(booster, seed=seed, **given), network, rate, size, pretrained, seed, folds, batch
    )
    with joined(device) as own, training_news() if is_first() else nullcontext(lambda event: None) as tell:
        card = train_base(dataset, output, settings, device=own, resume=resume, report=tell)
        if not is_first():
            return
    console.print(f"{output}: {_result(output, card)}")
    if card.doubts:
        console.print(f"warning: {card.doubts}; {ADVICE}")


def _result(output: Path, card: Card) -> str:
    """What was reached, and where more stands about it."""
    from ..learn.folds import RESULT, folds_folder
    from ..learn.train import run_folder

    figures, folded = card.figures, "folds" in card.training
    if card.classification:
        what, auc = "out-of-fold AUC" if folded else "val AUC", figures.get("out_of_fold_auc" if folded else "val_auc")
        result = f"{what} {'not measured' if auc is None else f'{auc:.3f}'}"
    else:
        name = "out_of_fold_dice" if folded else "val_dice"
        known, dice = figures[f"{name}_per_label"], figures.get(name)
        scores = [(label.name, known.get(str(label.value))) for label in card.labels]
        labels = ", ".join(f"{name} {'not measured' if one is None else f'{one:.3f}'}" for name, one in scores)
        what = "out-of-fold Dice" if folded else "val Dice"
        result = f"{what} {'not measured' if dice is None else f'{dice:.3f}'} ({labels})"
    if folded:
        return f"{card.training['folds']} networks together; {result}; case by case in {folds_folder(output) / RESULT}"
    return f"{result}; log and curve in {run_folder(output)}"
