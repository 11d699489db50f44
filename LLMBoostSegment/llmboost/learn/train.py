"""From a data set folder to a model file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..booster import Booster, BoosterConfig
from ..card import SEGMENTATION, Card, Label, read_card
from ..errors import LLMBoostError
from ..model import load_model, save_model
from ..networks import DEFAULT_SEGMENTER, PEERS, build, describe
from .curve import draw_curve
from .dataset import Dataset, check, read_dataset
from .plan import Plan, make_plan
from .trainer import CHECKPOINT, Outcome, Trainer, TrainingConfig, read_volume

# Okabe & Ito's colours, told apart by colour-blind people too
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


@dataclass(frozen=True)
class Recipe:
    """All that is chosen by hand; the rest comes from the data (:mod:`.plan`).

    ``options`` are fields of the network's config; ``card`` are fields of the model's card to set, such as title,
    description, labels with terminology, licence. ``start`` is a model file of the same network, whose weights training
    starts from.
    """

    config: TrainingConfig
    network: str = DEFAULT_SEGMENTER
    options: dict[str, Any] = field(default_factory=dict)
    booster: BoosterConfig | None = None
    card: dict[str, Any] = field(default_factory=dict)
    start: Path | None = None


def train(
    folder: Path,
    output: Path,
    recipe: Recipe,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda event: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Card:
    """Train on the split "train", select on "val", and write a model file.

    Log, checkpoint and curve lie in a folder named after ``output`` with ``.run`` for its extension.

    Raises:
        LLMBoostError: anything wrong with the data set (all of it at once), a training that cannot go on, a model that
            would be overwritten, or a start that does not fit.
        Cancelled: before the first validation.
    """
    run = check_output(output, resume)
    dataset = read_dataset(folder)
    cases, val = dataset.split("train"), dataset.split("val")
    check(dataset, [*cases, *val])
    plan = make_plan(dataset, cases)
    report({"event": "plan", "reasons": plan.reasons})
    config = replace(recipe.config, batch=plan.batch)

    torch.manual_seed(recipe.config.seed)
    network = build(recipe.network, _options(recipe, dataset, plan), recipe.booster)
    if recipe.start:
        _start_from(network, recipe.start)
    trainer = Trainer(
        network,
        [read_volume(dataset, case, plan.preprocessing) for case in cases],
        [read_volume(dataset, case, plan.preprocessing) for case in val],
        plan.preprocessing,
        config,
        run,
        device,
        report,
        cancelled,
    )
    if resume:
        trainer.resume()
    outcome = trainer.run()

    network.load_state_dict({**network.state_dict(), **outcome.state})
    if isinstance(network.booster, Booster):
        network.booster.merge_lora()
    card = _card(output, recipe, dataset, plan, network, outcome, config, len(cases), len(val))
    card = save_model(network, card, output)
    draw_curve(run)
    return card


def check_output(output: Path, resume: bool) -> Path:
    """The run folder of a training that is to write ``output``.

    Raises:
        LLMBoostError: no model file's name, or an earlier training or its model would be overwritten.
    """
    run = run_folder(output)
    if (run / CHECKPOINT).exists() and not resume:
        raise LLMBoostError(f"{run}: holds an earlier training; continue it with --resume, or choose another --output")
    check_free(output, resume)
    return run


def check_free(output: Path, resume: bool = False) -> None:
    """Raises LLMBoostError unless ``output`` is a model file's name, and free, or that of a training to go on with."""
    if output.suffix != ".safetensors":
        raise LLMBoostError(f"{output}: a model file ends in .safetensors; choose another output")
    if output.exists() and not resume:
        raise LLMBoostError(f"{output}: exists already; choose another output, or remove it")


def run_folder(output: Path) -> Path:
    """Where a training that writes ``output`` keeps its log and checkpoint."""
    return output.with_suffix(".run")


def made_with() -> dict[str, str]:
    """When and with which versions a model was trained, for its card."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "llmboost": __version__,
        "torch": torch.__version__.split("+")[0],
    }


def default_labels(names: dict[int, str]) -> tuple[Label, ...]:
    """Labels by name and value, coloured in turn; their terminology says no more than "tissue"."""
    return tuple(Label(value, name, PALETTE[n % len(PALETTE)]) for n, (value, name) in enumerate(names.items()))


def _start_from(network: torch.nn.Module, path: Path) -> None:
    try:
        network.load_state_dict(load_model(path).network.state_dict())
    except RuntimeError as error:
        raise LLMBoostError(f"{path}: is another network than the one to train, so it is no start for it") from error


def _options(recipe: Recipe, dataset: Dataset, plan: Plan) -> dict[str, Any]:
    options = {"channels": plan.preprocessing.channels, "classes": len(dataset.labels) + 1, **recipe.options}
    if recipe.network == "plain-vit":
        patch = tuple(math.prod(steps) for steps in zip(*plan.strides, strict=True))
        return {"window": plan.preprocessing.window, "patch": patch, **options}
    if recipe.network in PEERS:
        return {"window": plan.preprocessing.window, "strides": plan.strides, **options}
    return {"strides": plan.strides, **options}


def _card(
    output: Path,
    recipe: Recipe,
    dataset: Dataset,
    plan: Plan,
    network: torch.nn.Module,
    outcome: Outcome,
    config: TrainingConfig,
    train_cases: int,
    val_cases: int,
) -> Card:
    network_entry, booster_entry = describe(network)
    fields: dict[str, Any] = {
        "name": output.stem,
        "title": dataset.name,
        "description": f"Trained on {dataset.name}",
        "task": SEGMENTATION,
        "labels": default_labels(dataset.labels),
        "modality": ", ".join(dataset.modalities),
        "preprocessing": plan.preprocessing,
        "network": network_entry,
        "booster": booster_entry,
        "license": dataset.license,
        "citation": dataset.reference,
        "training": {
            "data": dataset.name,
            "data_license": dataset.license,
            "train_cases": train_cases,
            "val_cases": val_cases,
            **({"start": read_card(recipe.start).training} if recipe.start else {}),
            "steps": outcome.steps,
            "minutes": round(outcome.seconds / 60, 1),
            "config": asdict(config),
            **made_with(),
        },
        "figures": {"val_dice": outcome.dice, "val_dice_per_label": outcome.label_dice},
    }
    return Card(**{**fields, **recipe.card})
