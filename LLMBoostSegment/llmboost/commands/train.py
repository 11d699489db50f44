"""`llmboost train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..card.figures import ADVICE
from ..errors import LLMBoostError
from .news import training_news
from .terminal import DatasetArgument, DeviceOption, console


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
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was stopped.")] = False,
) -> None:
    """Train a base model on a data set, within a budget."""
    from ..booster import hub
    from ..inference.device import choose_device
    from ..learn.base import NO_BOOSTER, BaseSettings, booster_of, train_base
    from ..learn.train import run_folder

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
        steps, minutes, booster_of(booster, seed=seed, **given), network, rate, size, pretrained, seed
    )
    with training_news() as tell:
        card = train_base(
            dataset,
            output,
            settings,
            device=choose_device(device),
            resume=resume,
            report=tell,
        )
    if card.classification:
        result = f"val AUC {card.figures['val_auc']:.3f}"
    else:
        known = card.figures["val_dice_per_label"]
        scores = [(label.name, known.get(str(label.value))) for label in card.labels]
        labels = ", ".join(f"{name} {'not measured' if dice is None else f'{dice:.3f}'}" for name, dice in scores)
        result = f"val Dice {card.figures['val_dice']:.3f} ({labels})"
    console.print(f"{output}: {result}; log and curve in {run_folder(output)}")
    if card.doubts:
        console.print(f"warning: {card.doubts}; {ADVICE}")
