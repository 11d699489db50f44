"""`llmboost classify`."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import library
from ..files import visible
from .terminal import (
    ClusterOption,
    DeviceOption,
    ExplainOption,
    FrameOption,
    InputsArgument,
    LayerOption,
    MethodOption,
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
    progress_bar,
    tell,
    telling_when_stopped,
)


def classify(
    inputs: InputsArgument,
    model: ModelOption,
    output: OutputOption,
    device: DeviceOption = "auto",
    series: SeriesOption = "auto",
    frame: FrameOption = "",
    roi: RoiOption = None,
    slice_number: Annotated[
        int | None,
        typer.Option("--slice", help="With a 2D model: this slice alone, counted from 0; by default the mean of all."),
    ] = None,
    explain: ExplainOption = False,
    target: TargetOption = None,
    method: MethodOption = "grad-cam",
    layer: LayerOption = "after",
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Answer for images of another kind than the model knows, too.")
    ] = False,
    resume: ResumeOption = False,
    overwrite: OverwriteOption = False,
    workers: WorkersOption = 0,
    cluster: ClusterOption = "",
    scheduler_file: SchedulerFileOption = None,
    part: PartOption = "",
    time_limit: TimeLimitOption = None,
) -> None:
    """Classify images: summary.csv and summary.json with each class's probability, calibrated.

    An image that is not of the kind that the model knows is refused, with the reason.
    """
    path = library.find(model)  # a wrong name is told before anything heavy is imported
    from .. import batch
    from ..card import CLASSIFICATION
    from ..io.cases import find_cases
    from ..studies import Selection

    check_frame(frame)
    place = Place(workers, cluster, scheduler_file, part, time_limit)
    place.check()
    loaded = load_for(CLASSIFICATION, path, place.device(device))
    chosen = Selection.of(series, loaded.card)
    cases = place.cases(find_cases(inputs, loaded.card.preprocessing, chosen, tell))
    explanation = explanation_of(explain, target, method, layer)
    options = batch.ClassifyOptions(
        roi=box_of(roi), slice_number=slice_number, frame=frame, explain=explanation, anyway=anyway
    )
    done = 0
    with telling_when_stopped(lambda: done, len(cases)), progress_bar() as progress:
        task = progress.add_task(f"classifying with {loaded.card.name}", total=len(cases))

        def advance(text: str, fraction: float) -> None:
            progress.update(task, description=f"classifying {visible(text)}", completed=done + fraction)

        def report(row: batch.ClassifyRow) -> None:
            nonlocal done
            done += 1
            progress.update(task, completed=done)
            chances = ", ".join(f"{name} {p:.0%}" for name, p in row.probabilities.items())
            decision = ", ".join(row.decision) or "none"
            first = f"{row.id}: {decision} ({chances})" if row.status == batch.OK else f"{row.status}: {row.error}"
            for line in (first, *(f"  warning: {warning}" for warning in row.warnings)):
                progress.console.print(visible(line))

        engine = place.engine(path, device, advance)
        rows = batch.classify_cases(
            loaded, cases, output, options, resume=resume, overwrite=overwrite, report=report, engine=engine
        )
    conclude(rows, "classified", output, computed=done)
