"""`llmboost models ...`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .. import library
from ..card import read_card
from ..errors import LLMBoostError
from .terminal import console, messages

LISTED = 3  # labels of a model in the list of models

app = typer.Typer(help="The models at hand.", no_args_is_help=True)


@app.command("list")
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


@app.command("show")
def show_model(model: Annotated[str, typer.Argument(help="Name or file.")]) -> None:
    """Print a model's card as JSON."""
    console.print_json(read_card(library.find(model)).to_json())


@app.command("import")
def import_model(file: Annotated[Path, typer.Argument(help="A model file.")]) -> None:
    """Copy a model file into your library."""
    console.print(f"imported '{library.import_model(file).name}'")


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
