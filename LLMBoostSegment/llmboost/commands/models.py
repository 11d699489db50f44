"""`llmboost models ...`."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Column, Table

from .. import library
from ..card import SEGMENTATION, STORED, Card, read_card
from ..card.figures import measured
from ..card.sheet import sheet
from ..errors import LLMBoostError
from ..files import visible
from .terminal import console, messages

TOLD = 300  # characters of the terms of a model's data
LISTED = 3  # labels of a model in the list of models

app = typer.Typer(help="The models at hand.", no_args_is_help=True)


@app.command("list")
def list_models() -> None:
    """List the installed models, with the figure of each, and an adapter's base."""
    table = Table(Column("name", no_wrap=True), "what", "modality", "labels", "figure", "version", "MB")
    table.columns[1].min_width = 12
    damaged, doubtful = [], []
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
        base = f" (adapted from {card.adapter.base} {card.adapter.base_version})" if card.adapter else ""
        figure = measured(card) + (" (!)" if card.doubts else "")
        doubtful += [card.doubts] if card.doubts else []
        table.add_row(name, card.title + base, card.modality, labels, figure, card.version, size)
    console.print(table)
    for line in [*damaged, *doubtful]:
        messages.print(f"warning: {line}")


@app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="Name or file.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole card, for programs.")] = False,
) -> None:
    """Tell what a model takes and finds, how good it is, where it comes from, and how long a patch takes here."""
    path = library.find(model)
    card = read_card(path)
    if not as_json:
        table = Table.grid(Column(style="bold", no_wrap=True), Column(overflow="fold"), padding=(0, 2))
        rows = sheet(card, time=_pace(path, card))
        rows["File"] = f"{path}, version {card.version}, {path.stat().st_size / 1e6:.1f} MB"
        console.print(card.title, card.description, sep="\n")
        for name, text in rows.items():
            if text:
                table.add_row(name, text)
        console.print(table)
        return
    fields = json.loads(card.to_json())
    if card.classification and (looks := card.classification.looks):  # as long as a book
        fields["classification"]["looks"]["numbers"] = f"{len(looks.numbers)} characters"
    console.print_json(data=fields)
    messages.print(f"{measured(card)}" + (f"; warning: {card.doubts}" if card.doubts else ""))


def _pace(path: Path, card: Card) -> str:
    """What one patch of a segmenter takes here; empty where the model cannot be loaded."""
    from ..inference.pace import seconds_a_patch
    from ..model import load_model

    if card.task != SEGMENTATION:
        return ""
    with suppress(LLMBoostError):
        return f"{seconds_a_patch(load_model(path)):.1g} s a patch, on this machine's processor"
    return ""


@app.command("combine")
def combine_models(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL...", help="Names or files of segmenters, at least two.")
    ],
    output: Annotated[Path, typer.Option("--output", help="The model file to write (.safetensors).")],
) -> None:
    """Make one model of several that were trained for the same: it gives the mean of their probabilities."""
    paths = [library.find(model) for model in models]
    from ..ensemble import combine
    from ..learn.train import check_free
    from ..model import load_model

    check_free(output)
    card = combine([load_model(path) for path in paths], output)
    console.print(f"{output}: {card.network['members']} networks together; `llmboost evaluate` measures them")


@app.command("import")
def import_model(
    path: Annotated[
        Path,
        typer.Argument(
            help="A model file; or nnU-Net v2's folder of results, a MONAI bundle or a model of Auto3DSeg: a folder, or"
            " a zip of it."
        ),
    ],
    anyway: Annotated[bool, typer.Option("--anyway", help="Also a model that has learned nothing.")] = False,
    name: Annotated[str, typer.Option("--name", help="Of others: what it is to be called here.")] = "",
    fold: Annotated[
        str | None,
        typer.Option("--fold", help="Of nnU-Net's and Auto3DSeg's: which folds: 0, or 0,1,2 together, or all."),
    ] = None,
    terms: Annotated[str, typer.Option("--license", help="Of others: under which it may be used.")] = "",
    orientation: Annotated[
        Literal["RAS", "stored"] | None,
        typer.Option("--orientation", help="Of nnU-Net's: how the images lay that it was trained on."),
    ] = None,
) -> None:
    """Copy a model file into your library, or translate a model of nnU-Net v2, MONAI or Auto3DSeg into one."""
    if path.suffix == library.EXTENSION:
        if name or fold or terms or orientation:
            raise LLMBoostError(f"{path}: a model file, which says all that itself; leave the options out")
        card = library.import_model(path, anyway=anyway)
    else:
        from ..foreign import import_foreign
        from ..foreign.nnunet import PROGRAM

        card = import_foreign(path, name=name, folds=fold, terms=terms, orientation=orientation or "")
        axes = card.preprocessing.orientation
        lies = "as they are stored" if axes == STORED else f"turned to {', '.join(axes)}"
        other = " (--orientation says otherwise)" if card.origin and card.origin.program == PROGRAM else ""
        messages.print(f"license: {card.license}; images are taken {lies}{other}")
        if told := card.training.get("data_license"):
            messages.print(f"its data have terms of their own: {visible(str(told))[:TOLD]}")
    console.print(f"imported '{card.name}'")
    if card.doubts:
        messages.print(f"warning: {card.doubts}")


@app.command("find")
def find_models() -> None:
    """List models that nnU-Net, TotalSegmentator, MONAI and Auto3DSeg keep on this machine, for `models import`."""
    from ..foreign import models_at_hand

    imported: dict[tuple[str, str], list[str]] = {}
    for name, path in library.installed().items():
        with suppress(LLMBoostError):
            if origin := read_card(path).origin:
                imported.setdefault((origin.program, origin.source), []).append(name)
    table = Table("of", "folds", "MB", "imported as", Column("folder", overflow="fold"))
    found = models_at_hand()
    for model in found:
        megabytes = sum(path.stat().st_size for path in model.checkpoints.values()) / 1e6
        names = ", ".join(imported.get((model.program, model.source), []))
        table.add_row(model.program, ", ".join(model.checkpoints), f"{megabytes:.0f}", names, str(model.folder))
    if found:
        console.print(table)
    else:
        messages.print("none found; nnUNet_results, TOTALSEG_WEIGHTS_PATH and MONAI_DATA_DIRECTORY tell where to look")


@app.command("export")
def export_model(
    name: Annotated[str, typer.Argument(help="An installed model.")],
    file: Annotated[Path, typer.Argument(help="The file or folder to copy it to.")],
) -> None:
    """Copy an installed model to a file."""
    console.print(f"exported to {library.export_model(name, file)}")


@app.command("remove")
def remove_model(name: Annotated[str, typer.Argument(help="An imported model.")]) -> None:
    """Delete a model from your library; shipped ones stay."""
    console.print(f"removed {library.remove_model(name)}")
