"""What commands share: the terminal, a progress bar, and options that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# names of files and models are printed as they are, whatever rich would read in their brackets and colons
console = Console(soft_wrap=True, markup=False, emoji=False)
messages = Console(stderr=True, soft_wrap=True, markup=False, emoji=False)

ModelOption = Annotated[str, typer.Option("--model", help="A model's name (see 'llmboost models list') or file.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
MirrorOption = Annotated[bool, typer.Option("--mirror", help="Average over mirrored images: twice the time.")]
DatasetArgument = Annotated[
    Path, typer.Argument(help="Data set folder: dataset.json, imagesTr, labelsTr, splits.json.")
]


@contextmanager
def progress_bar() -> Iterator[Progress]:
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
