"""`llmboost segment`."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import library
from ..errors import LLMBoostError
from ..files import visible
from .terminal import (
    ClusterOption,
    DeviceOption,
    ExplainOption,
    FastOption,
    FormatOption,
    FrameOption,
    InputsArgument,
    LayerOption,
    MethodOption,
    MirrorOption,
    ModelOption,
    OutputOption,
    OverwriteOption,
    PartOption,
    Place,
    ResumeOption,
    RoiOption,
    SchedulerFileOption,
    SeriesOption,
    TargetOption,
    TimeLimitOption,
    WorkersOption,
    box_of,
    check_frame,
    conclude,
    explanation_of,
    load_for,
    messages,
    progress_bar,
    tell,
    telling_when_stopped,
)


def segment(
    inputs: InputsArgument,
    model: ModelOption,
    output: OutputOption,
    device: DeviceOption = "auto",
    format: FormatOption = "seg.nrrd",
    series: SeriesOption = "auto",
    frame: FrameOption = "",
    roi: RoiOption = None,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Also write an entropy map a case.")] = False,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write a map a label.")] = False,
    report: Annotated[
        bool,
        typer.Option("--report", help="Also write a report a case (HTML, PDF; with --format dcm also DICOM SR)."),
    ] = False,
    mirror: MirrorOption = False,
    fast: FastOption = False,
    explain: ExplainOption = False,
    target: TargetOption = None,
    method: MethodOption = "grad-cam",
    layer: LayerOption = "after",
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    workers: WorkersOption = 0,
    cluster: ClusterOption = "",
    scheduler_file: SchedulerFileOption = None,
    part: PartOption = "",
    time_limit: TimeLimitOption = None,
) -> None:
    """Segment images: one file a case, and summary.json and summary.csv beside them."""
    path = library.find(model)  # a wrong name is told before anything heavy is imported
    from .. import batch
    from ..card import SEGMENTATION
    from ..io.cases import find_cases
    from ..studies import Selection

    if format not in batch.FORMATS:
        raise LLMBoostError(f"--format {format}: use one of {', '.join(batch.FORMATS)}")
    check_frame(frame)
    place = Place(workers, cluster, scheduler_file, part, time_limit)
    place.check()
    loaded = load_for(SEGMENTATION, path, place.device(device))
    if fast:
        loaded.faster()  # where it cannot be, that is told before anything is read
    chosen = Selection.of(series, loaded.card)
    cases = place.cases(find_cases(inputs, loaded.card.preprocessing, chosen, tell))
    explanation = explanation_of(explain, target, method, layer)
    options = batch.SegmentOptions(
        format=format,
        uncertainty=uncertainty,
        probabilities=probabilities,
        report=report,
        mirror=mirror,
        fast=fast,
        roi=box_of(roi),
        frame=frame,
        explain=explanation,
    )
    done = 0
    with telling_when_stopped(lambda: done, len(cases)), progress_bar() as progress:
        task = progress.add_task(f"segmenting with {loaded.card.name}", total=len(cases))

        def advance(text: str, fraction: float) -> None:
            progress.update(task, description=f"segmenting {visible(text)}", completed=done + fraction)
            if not (messages.is_terminal or fraction or done):  # where there is no bar, the first case's alone
                tell(text)

        def told(row: batch.SegmentRow) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done)
            found = ", ".join(f"{name} {ml:.2f} mL" for name, ml in row.volumes_ml.items())
            volumes = found if any(row.volumes_ml.values()) else "nothing was found"
            lines = [f"{row.id}: {volumes}" if row.status == batch.OK else f"{row.status}: {row.error}"]
            if row.intracranial_ml is not None:
                lines.append(f"  total intracranial volume {row.intracranial_ml:.1f} mL")
            if row.asymmetry_percent:
                indices = ", ".join(f"{name} {percent:+.1f} %" for name, percent in row.asymmetry_percent.items())
                lines.append(f"  asymmetry index, above 0 where the left is larger: {indices}")
            lines += [f"  {row.quality['text']}"] if row.quality else []
            for line in (*lines, *(f"  warning: {warning}" for warning in row.warnings)):
                progress.console.print(visible(line))

        engine = place.engine(path, device, advance)
        rows = batch.segment_cases(
            loaded, cases, output, options, resume=resume, overwrite=overwrite, report=told, engine=engine
        )
    empty = sum(row.status == batch.OK and not any(row.volumes_ml.values()) for row in rows)
    conclude(rows, "segmented", output, computed=done, empty=empty)
