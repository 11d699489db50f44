"""`llmboost evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from .. import library
from ..errors import LLMBoostError
from ..files import printable
from .terminal import DatasetArgument, DeviceOption, MirrorOption, ModelOption, console, messages, progress_bar

if TYPE_CHECKING:
    from ..card import Card


def evaluate(
    dataset: DatasetArgument,
    model: ModelOption,
    json_file: Annotated[Path, typer.Option("--json", help="The file to write.")],
    asked: Annotated[
        str,
        typer.Option(
            "--split",
            help="train, val, test (default), or all: every labeled case, the default if none are for testing.",
        ),
    ] = "",
    html_file: Annotated[
        Path | None,
        typer.Option("--report", help="Also write a report with pictures of the worst cases (.html)."),
    ] = None,
    device: DeviceOption = "auto",
    mirror: MirrorOption = False,
) -> None:
    """Measure a model on the labeled cases of a split."""
    path = library.find(model)  # a wrong name is told before anything heavy is imported
    from .. import evaluation
    from ..inference.device import choose_device
    from ..model import load_model
    from ..report import observer, write_report

    if json_file.suffix == ".jsonl":
        raise LLMBoostError(f"--json {json_file}: choose another extension, a .jsonl file keeps the history beside it")
    loaded = load_model(path, choose_device(device))
    data, split = evaluation.open_split(dataset, asked)
    if html_file is not None and html_file.exists():
        raise LLMBoostError(f"--report {html_file}: exists already; choose another name, or remove it")
    observed = observer(data)
    with progress_bar() as progress:
        task = progress.add_task(loaded.card.name, total=len(data.split(split)))
        watching: dict[str, Any] = {"report": lambda case: progress.advance(task)}
        watching |= {"seen": observed.see} if html_file is not None else {}
        result = evaluation.evaluate(loaded, data, split, mirror=mirror, **watching)
    evaluation.write_evaluation(result, json_file)
    if html_file is not None:
        write_report(html_file, loaded.card, result, observed)
    title = f"{loaded.card.name}, {split}"
    if loaded.card.classification:
        _print_classification(title, result)
    else:
        _print_segmentation(title, loaded.card, result)
    for warning in result.get("warnings", ()):
        messages.print(f"warning: {warning}")
    if split == "all" != asked:
        messages.print("no splits.json tells which cases are for testing: all that are labeled were measured")


def _print_segmentation(title: str, card: Card, result: dict[str, Any]) -> None:
    table = Table("label", "Dice", "HD95 (mm)", "NSD (1 mm)", title=f"{title}: {len(result['cases'])}")
    for label in card.labels:
        key = str(label.value)
        cells = [result[measure].get(key, {}).get("mean") for measure in ("dice", "hd95_mm", "nsd_1mm")]
        table.add_row(label.name, *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    console.print(table)
    mean, interval = result["mean_dice"], result["mean_dice_ci95"]
    around = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    console.print("mean Dice undefined: nothing is labeled" if mean is None else f"mean Dice {mean:.4f}{around}")
    for name, means in result.get("regions", {}).items():
        dice = "undefined" if means["dice"] is None else f"{means['dice']:.4f}"
        console.print(f"Dice of region {printable(name)}: {dice}")


def _print_classification(title: str, result: dict[str, Any]) -> None:
    table = Table("measure", "value", "95 % interval", title=f"{title}: {result['n']}")
    names = {
        "auc": "AUC",
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "sensitivity": f"sensitivity ({result['positive']})",
        "specificity": f"specificity ({result['positive']})",
        "kappa": "weighted kappa",
        "brier": "Brier score",
        "calibration_error": "calibration error",
    }
    for key, name in names.items():
        if key in result:
            interval = result.get(f"{key}_ci95")
            value = "-" if result[key] is None else f"{result[key]:.4f}"
            table.add_row(name, value, f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else "")
    console.print(table)
