"""`llmboost segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import library
from ..errors import LLMBoostError
from .terminal import DeviceOption, MirrorOption, ModelOption, console, progress_bar


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
    from .. import batch
    from ..cases import ALL_FRAMES, find_cases
    from ..device import choose_device
    from ..model import load_model
    from ..roi import Roi

    if format not in batch.FORMATS:
        raise LLMBoostError(f"--format {format}: use one of {', '.join(batch.FORMATS)}")
    if frame not in ("", ALL_FRAMES) and not frame.isdecimal():
        raise LLMBoostError(f"--frame {frame}: give a number counted from 0, or 'all'")
    # the command line counts to the right and to the front, as Slicer does; the engine to the left and to the back
    box = Roi((-roi[0], -roi[1], roi[2]), roi[3:]) if roi else None
    loaded = load_model(library.find(model), choose_device(device))
    cases = find_cases(inputs, loaded.card.preprocessing, series)
    options = batch.BatchOptions(format, uncertainty, probabilities, mirror, box, frame)
    with progress_bar() as progress:
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
