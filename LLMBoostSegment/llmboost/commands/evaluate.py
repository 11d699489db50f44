"""`llmboost evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .. import library
from ..errors import LLMBoostError
from .terminal import DatasetArgument, DeviceOption, MirrorOption, ModelOption, console, progress_bar


def evaluate(
    dataset: DatasetArgument,
    model: ModelOption,
    json_file: Annotated[Path, typer.Option("--json", help="The file to write.")],
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    device: DeviceOption = "auto",
    mirror: MirrorOption = False,
) -> None:
    """Measure a model on the labelled cases of a split."""
    from .. import evaluate as evaluation
    from ..device import choose_device
    from ..learn.dataset import read_dataset
    from ..model import load_model

    if json_file.suffix == ".jsonl":
        raise LLMBoostError(f"--json {json_file}: choose another extension, a .jsonl file keeps the history beside it")
    loaded = load_model(library.find(model), choose_device(device))
    data = read_dataset(dataset)
    with progress_bar() as progress:
        task = progress.add_task(f"{loaded.card.name} on {split}", total=len(data.split(split)))
        result = evaluation.evaluate(loaded, data, split, mirror=mirror, report=lambda case: progress.advance(task))
    evaluation.write_evaluation(result, json_file)
    table = Table(
        "label", "Dice", "HD95 (mm)", "NSD (1 mm)", title=f"{loaded.card.name}, {split}: {len(result['cases'])}"
    )
    for label in loaded.card.labels:
        key = str(label.value)
        cells = [result[measure].get(key, {}).get("mean") for measure in ("dice", "hd95_mm", "nsd_1mm")]
        table.add_row(label.name, *("-" if cell is None else f"{cell:.3f}" for cell in cells))
    console.print(table)
    mean, interval = result["mean_dice"], result["mean_dice_ci95"]
    around = f" (95 % interval {interval[0]:.4f} to {interval[1]:.4f})" if interval else ""
    console.print("mean Dice undefined: nothing is labelled" if mean is None else f"mean Dice {mean:.4f}{around}")
