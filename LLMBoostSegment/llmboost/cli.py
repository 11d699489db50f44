"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from . import __version__, library
from .card import read_card
from .errors import LLMBoostError

app = typer.Typer(
    help="Segment medical images with networks boosted by a language model's frozen block. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
models_app = typer.Typer(help="The models at hand.", no_args_is_help=True)
app.add_typer(models_app, name="models")
# names of files and models are printed as they are, whatever rich would read in their brackets and colons
console = Console(soft_wrap=True, markup=False, emoji=False)
messages = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)

LISTED = 3  # labels of a model in the list of models

ModelOption = Annotated[str, typer.Option("--model", help="A model's name (see 'llmboost models list') or file.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
MirrorOption = Annotated[bool, typer.Option("--mirror", help="Average over mirrored images: twice the time.")]
DatasetArgument = Annotated[
    Path, typer.Argument(help="Data set folder: dataset.json, imagesTr, labelsTr, splits.json.")
]


@app.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    # listed here for the help alone: main(), where errors end, takes it wherever it stands
    if version:
        console.print(__version__)
        raise typer.Exit


@app.command()
def segment(
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Images, or folders of images or DICOM.")],
    model: ModelOption,
    output: Annotated[Path, typer.Option("--output", help="Folder for the results; made if missing.")],
    device: DeviceOption = "auto",
    format: Annotated[
        str, typer.Option("--format", help="seg.nrrd, nii.gz, or dcm: a DICOM segmentation of a DICOM series.")
    ] = "seg.nrrd",
    series: Annotated[
        str | None, typer.Option("--series", help="UID of the DICOM series to take, where a folder holds several.")
    ] = None,
    frame: Annotated[
        str, typer.Option("--frame", help="Of a series in time: which volume, counted from 0, or 'all'.")
    ] = "",
    roi: Annotated[
        tuple[float, float, float, float, float, float] | None,
        typer.Option("--roi", help="Compute in this box only: its center (R, A, S) and size along them, in mm."),
    ] = None,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Also write an entropy map a case.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write a map a label.")] = False,
    mirror: MirrorOption = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave cases alone that are done.")] = False,
) -> None:
    """Segment images: one file a case, and summary.json and summary.csv beside them."""
    from . import batch
    from .cases import ALL_FRAMES, find_cases
    from .device import choose_device
    from .model import load_model
    from .roi import Roi

    if format not in batch.FORMATS:
        raise LLMBoostError(f"--format {format}: use one of {', '.join(batch.FORMATS)}")
    if frame not in ("", ALL_FRAMES) and not frame.isdecimal():
        raise LLMBoostError(f"--frame {frame}: give a number counted from 0, or 'all'")
    # the command line counts to the right and to the front, as Slicer does; the engine to the left and to the back
    box = Roi((-roi[0], -roi[1], roi[2]), roi[3:]) if roi else None
    loaded = load_model(library.find(model), choose_device(device))
    cases = find_cases(inputs, loaded.card.preprocessing, series)
    options = batch.BatchOptions(format, uncertainty, probabilities, mirror, box, frame)
    with _progress() as progress:
        task = progress.add_task(f"segmenting with {loaded.card.name}", total=len(cases))
        done = 0

        def advance(text: str, fraction: float) -> None:
            progress.update(task, description=f"segmenting {text}", completed=done + fraction)

        def report(row: batch.Row) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done)
            volumes = ", ".join(f"{name} {ml:.2f} mL" for name, ml in row.volumes_ml.items())
            progress.console.print(f"{row.id}: {volumes}" if row.status == batch.OK else f"failed: {row.error}")
            for warning in row.warnings:
                progress.console.print(f"  warning: {warning}")

        rows = batch.segment_cases(loaded, cases, output, options, resume=resume, report=report, progress=advance)
    failed = sum(row.status != batch.OK for row in rows)
    console.print(f"{len(rows) - failed} of {len(rows)} cases segmented, see {output / 'summary.csv'}")
    if failed:
        raise typer.Exit(1)


@app.command()
def train(
    dataset: DatasetArgument,
    output: Annotated[Path, typer.Option("--output", help="The model file to write (.safetensors).")],
    minutes: Annotated[float | None, typer.Option("--minutes", help="Budget in minutes; or give --steps.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Budget in steps; or give --minutes.")] = None,
    booster: Annotated[
        str,
        typer.Option(
            "--booster", help="smollm2, none, random (spectrum-matched), a Hugging Face folder, or hub:NAME[@REVISION]."
        ),
    ] = "smollm2",
    download: Annotated[
        bool, typer.Option("--download", help="Fetch from the hub what --booster hub:NAME lacks on this machine.")
    ] = False,
    residual: Annotated[str, typer.Option("--residual", help="none, inner, outer or hybrid.")] = "outer",
    place: Annotated[str, typer.Option("--place", help="The booster's place: head, middle or tail.")] = "tail",
    layer: Annotated[
        int | None,
        typer.Option("--layer", help="Which layer of the language model, from 0; by default two thirds of the way up."),
    ] = None,
    state: Annotated[str, typer.Option("--state", help="The block: frozen, lora or full.")] = "frozen",
    network: Annotated[str, typer.Option("--network", help="hybrid-vit or plain-vit.")] = "hybrid-vit",
    rate: Annotated[float, typer.Option("--rate", help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: DeviceOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Continue a training that was stopped.")] = False,
) -> None:
    """Train a base model on a data set, within a budget."""
    from .booster import BoosterConfig, hub
    from .device import choose_device
    from .learn.train import Recipe, run_folder
    from .learn.train import train as run_training
    from .learn.trainer import TrainingConfig

    if (minutes is None) == (steps is None):
        raise LLMBoostError("give a budget: either --minutes N or --steps N")
    if (minutes or steps or 0) <= 0:
        raise LLMBoostError("the budget must be greater than zero")
    layers = () if layer is None else (layer,)
    if download:
        hub.find(booster, layers, download=True)
    config = TrainingConfig(steps=steps, minutes=minutes, rate=rate, seed=seed)
    boosted = None
    if booster != "none":
        source, init = ("smollm2", "random") if booster == "random" else (booster, "pretrained")
        try:
            boosted = BoosterConfig(source, layers, init, state, residual, place, seed=seed)
        except ValueError as error:
            raise LLMBoostError(str(error)) from error
    recipe = Recipe(config, network, booster=boosted)
    with _progress() as progress:
        task = progress.add_task("preparing", total=1.0)
        card = run_training(
            dataset,
            output,
            recipe,
            device=choose_device(device),
            resume=resume,
            report=lambda event: _show_training(progress, task, event),
        )
    labels = ", ".join(f"{dice:.3f}" for dice in card.figures["val_dice_per_label"].values())
    console.print(
        f"{output}: val Dice {card.figures['val_dice']:.3f} ({labels}); log and curve in {run_folder(output)}"
    )


@app.command()
def evaluate(
    dataset: DatasetArgument,
    model: ModelOption,
    json_file: Annotated[Path, typer.Option("--json", help="The file to write.")],
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "test",
    device: DeviceOption = "auto",
    mirror: MirrorOption = False,
) -> None:
    """Measure a model on the labelled cases of a split."""
    from . import evaluate as evaluation
    from .device import choose_device
    from .learn.dataset import read_dataset
    from .model import load_model

    if json_file.suffix == ".jsonl":
        raise LLMBoostError(f"--json {json_file}: choose another extension, a .jsonl file keeps the history beside it")
    loaded = load_model(library.find(model), choose_device(device))
    data = read_dataset(dataset)
    with _progress() as progress:
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


@app.command()
def doctor() -> None:
    """Tell what works on this machine, and what to do about what does not."""
    from .doctor import examine

    findings = examine()
    table = Table("what", "state", "what to do")
    for finding in findings:
        table.add_row(finding.topic, finding.state, finding.remedy)
    console.print(table)
    if any(finding.fatal for finding in findings):
        raise typer.Exit(1)


@models_app.command("list")
def list_models() -> None:
    """List the installed models."""
    table = Table("name", "what", "modality", "labels", "version", "MB")
    damaged = []
    for name, path in library.installed().items():
        try:
            card = read_card(path)
        except LLMBoostError as error:
            damaged.append(str(error))
            continue
        labels = ", ".join(label.name for label in card.labels[:LISTED])
        if len(card.labels) > LISTED:
            labels += f" and {len(card.labels) - LISTED} more"
        size = f"{path.stat().st_size / 1e6:.1f}"
        table.add_row(name, card.title, card.modality, labels, card.version, size)
    console.print(table)
    for line in damaged:
        messages.print(f"warning: {line}")


@models_app.command("show")
def show_model(model: Annotated[str, typer.Argument(help="Name or file.")]) -> None:
    """Print a model's card as JSON."""
    console.print_json(read_card(library.find(model)).to_json())


@models_app.command("import")
def import_model(file: Annotated[Path, typer.Argument(help="A model file.")]) -> None:
    """Copy a model file into your library."""
    console.print(f"imported '{library.import_model(file).name}'")


@models_app.command("export")
def export_model(
    name: Annotated[str, typer.Argument(help="An installed model.")],
    file: Annotated[Path, typer.Argument(help="The file or folder to copy it to.")],
) -> None:
    """Copy an installed model to a file."""
    console.print(f"exported to {library.export_model(name, file)}")


@models_app.command("remove")
def remove_model(name: Annotated[str, typer.Argument(help="An imported model.")]) -> None:
    """Delete a model from your library; shipped ones stay."""
    console.print(f"removed {library.remove_model(name)}")


@contextmanager
def _progress() -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # in a log file, a bar is but noise around the lines that matter
    with Progress(*columns, console=messages, disable=not messages.is_terminal) as progress:
        yield progress


def _show_training(progress: Progress, task: Any, event: dict[str, Any]) -> None:
    match event["event"]:
        case "plan":
            for reason in event["reasons"]:
                console.print(f"  {reason}")
        case "step":
            description = f"step {event['step']}, loss {event['loss']:.3f}"
            progress.update(task, completed=event["fraction"], description=description)
        case "validation":
            console.print(f"step {event['step']}: val Dice {event['dice']:.4f} (best {event['best']:.4f})")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; errors that a user can mend are one line and exit status 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app([argument for argument in arguments if argument != "--debug"])
    except LLMBoostError as error:
        if "--debug" in arguments:
            raise
        messages.print(f"error: {error}", highlight=False)
        sys.exit(1)
    except KeyboardInterrupt:
        messages.print("stopped")
        sys.exit(130)


if __name__ == "__main__":
    main()
