"""`llmboost strokes`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import library
from ..errors import LLMBoostError
from ..files import visible
from ..messages.words import StrokesMethod
from .terminal import (
    DeviceOption,
    FormatOption,
    FrameOption,
    InputsArgument,
    OutputOption,
    OverwriteOption,
    ResumeOption,
    RoiOption,
    SeriesOption,
    box_of,
    check_frame,
    conclude,
    console,
    load_for,
    progress_bar,
    tell,
    telling_when_stopped,
)

if TYPE_CHECKING:
    from ..batch.stroking import StrokesRow
    from ..card import Card


def strokes(
    inputs: InputsArgument,
    painted: Annotated[
        Path,
        typer.Option(
            "--strokes",
            help="A label map on the image's grid (0 nothing painted, 1 to 254 the labels, 255 background), or a"
            " .seg.nrrd, of any values, with a segment named background. Of several images: the folder with one of each"
            " image's name.",
        ),
    ],
    output: OutputOption,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            help="A model that knows what is painted, by name, SNOMED code or value: it learns from the strokes, and"
            " draws the whole. By default, a random walker does.",
        ),
    ] = "",
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            help="Write what the model of --model learns from the strokes of one image as an adapter, a"
            " .safetensors file: with it as --model, the next image starts from there.",
        ),
    ] = None,
    device: DeviceOption = "auto",
    format: FormatOption = "seg.nrrd",
    series: SeriesOption = "auto",
    frame: FrameOption = "",
    roi: RoiOption = None,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
) -> None:
    """Segment images from a few strokes in each: one file a case, and summary.json and summary.csv beside them.

    What was painted stays as it was painted.
    """
    path = library.find(model) if model else None  # a wrong name is told before anything heavy is imported
    from ..batch import FORMATS, OK
    from ..batch.stroking import WALKER, StrokesOptions, StrokesSource, stroke_cases
    from ..card import SEGMENTATION
    from ..inference.device import choose_device
    from ..io.cases import find_cases
    from ..studies import Selection

    if format not in FORMATS:
        raise LLMBoostError(f"--format {format}: use one of {', '.join(FORMATS)}")
    if keep and not model:
        raise LLMBoostError("--keep: keeps what a model learns; name one by --model")
    if keep:
        from ..learn.train import check_free

        check_free(keep)
    check_frame(frame)
    loaded = load_for(SEGMENTATION, path, device) if path else None
    card = loaded.card if loaded else WALKER
    cases = find_cases(inputs, card.preprocessing, Selection.of(series, card), tell)
    options = StrokesOptions(format=format, roi=box_of(roi), frame=frame)
    done = 0
    with telling_when_stopped(lambda: done, len(cases)), progress_bar() as progress:
        task = progress.add_task("segmenting from strokes", total=len(cases))

        def advance(text: str, fraction: float) -> None:
            progress.update(task, description=f"segmenting {visible(text)}", completed=done + fraction)

        def report(row: StrokesRow) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done)
            volumes = ", ".join(f"{name} {ml:.2f} mL" for name, ml in row.volumes_ml.items())
            told = f"{row.id}: {_answered(row, card)} in {row.seconds:.1f} s: {volumes}"
            lines = [told if row.status == OK else f"failed: {row.error}"]
            for line in (*lines, *(f"  warning: {warning}" for warning in row.warnings)):
                progress.console.print(visible(line))

        rows = stroke_cases(
            StrokesSource(painted, loaded, choose_device(device), (keep, path) if keep and path else None),
            cases,
            output,
            options,
            resume=resume,
            overwrite=overwrite,
            report=report,
            progress=advance,
        )
    conclude(rows, "segmented", output, computed=done)
    if keep and not rows[0].kept:
        raise LLMBoostError(
            f"{keep}: not written, for nothing that was learned answered, but {_answered(rows[0], card)}"
        )
    if keep:
        console.print(visible(f"{keep}: what '{card.name}' has learned; use it as --model for the next image"))


def _answered(row: StrokesRow, card: Card) -> str:
    """Who did, in words."""
    if row.method == StrokesMethod.TAUGHT:
        return f"'{card.name}', taught by {row.strokes} strokes (by {row.share:.0%} of what they say)"
    if row.method == StrokesMethod.MODEL:
        return f"'{card.name}' as it is, for it agrees with {row.strokes} strokes"
    return f"random walker from {row.strokes} strokes"
