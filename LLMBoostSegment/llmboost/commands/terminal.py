"""What commands share: the terminal, a progress bar, and options that mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.text import Text

from ..errors import LLMBoostError
from ..files import check_regular, visible

if TYPE_CHECKING:
    from ..batch import Row
    from ..batch.engine import Engine
    from ..explanation import ExplanationSpec
    from ..inference.roi import Roi
    from ..io.case import InputCase
    from ..model import Model


class _Console(Console):
    """A console that shows text of files, in whatever it stands (lines, tables, progress bars), but never obeys it."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(_shown(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(_shown(segment.text), segment.style)


def _shown(text: str) -> str:
    return "\n".join(map(visible, text.split("\n")))


# names of files and models are printed as they are, whatever rich would read in their brackets and colons
console = _Console(soft_wrap=True, markup=False, emoji=False)
messages = _Console(stderr=True, soft_wrap=True, markup=False, emoji=False)

ModelOption = Annotated[str, typer.Option("--model", help="A model's name (see 'llmboost models list') or file.")]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
MirrorOption = Annotated[bool, typer.Option("--mirror", help="Average over mirrored images: twice the time or more.")]
DatasetArgument = Annotated[
    Path,
    typer.Argument(
        help="Data set: a folder with dataset.json, imagesTr and labelsTr; or, to classify, a MedMNIST .npz file or a"
        " folder with a folder a class."
    ),
]
InputsArgument = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Images, or folders of images, DICOM or BIDS.")
]
OutputOption = Annotated[Path, typer.Option("--output", help="Folder for the results; made if missing.")]
FormatOption = Annotated[
    str, typer.Option("--format", help="seg.nrrd, nii.gz, or dcm: a DICOM segmentation of a DICOM series.")
]
SeriesOption = Annotated[
    str,
    typer.Option(
        "--series",
        help="Of each study: auto (the series that suits the model best), all (that suit), a series' UID or number, or"
        ' a rule such as "modality=MR & description~T1 & thickness<2".',
    ),
]
FrameOption = Annotated[
    str, typer.Option("--frame", help="Of a series in time or a film: which frame, counted from 0, or 'all'.")
]
Box = tuple[float, float, float, float, float, float]
RoiOption = Annotated[
    Box | None,
    typer.Option("--roi", help="Compute in this box only: its center (R, A, S) and size along them, in mm."),
]
FastOption = Annotated[
    bool,
    typer.Option("--fast", help="A larger step from patch to patch (0.8 in place of 0.5): sooner, less sure at seams."),
]
ExplainOption = Annotated[
    bool, typer.Option("--explain", help="Also write a map of where the model looked, and a picture of it.")
]
TargetOption = Annotated[
    int | None,
    typer.Option("--explain-target", help="The value of what is explained; else the likeliest class, or first label."),
]
MethodOption = Annotated[str, typer.Option("--explain-method", help="grad-cam or attention-rollout.")]
LayerOption = Annotated[str, typer.Option("--explain-layer", help="after or before the booster.")]
ResumeOption = Annotated[
    bool,
    typer.Option("--resume", help="Leave cases alone that are done: same image, model and options, results unchanged."),
]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Replace files that are in the way: others' than this batch's, or changed since."),
]

WorkersOption = Annotated[
    int,
    typer.Option(
        "--workers",
        min=0,
        help="So many processes at work on this machine, each with the model. 0: one case at a time, here.",
    ),
]
ClusterOption = Annotated[
    str,
    typer.Option(
        "--cluster",
        help="Work on the workers of a Dask scheduler, such as tcp://HOST:8786, or in jobs of Slurm, slurm:FILE.yaml.",
    ),
]
SchedulerFileOption = Annotated[
    Path | None, typer.Option("--scheduler-file", help="As --cluster, with the file that the scheduler has written.")
]
PartOption = Annotated[
    str, typer.Option("--part", help="K/N: the K-th of N parts of the cases alone, counted from 1; for array jobs.")
]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(
        "--time-limit",
        min=0.001,
        help="Seconds a case, by workers and in parts; by default half an hour, or more where more is expected.",
    ),
]


def box_of(roi: Box | None) -> Roi | None:
    """The region of interest of ``--roi``."""
    from ..inference.roi import Roi

    return Roi.of_ras(roi) if roi else None


def explanation_of(wanted: bool, target: int | None, method: str, layer: str) -> ExplanationSpec | None:
    """What ``--explain`` and its companions ask for.

    Raises:
        LLMBoostError: there is no such method or layer.
    """
    if not wanted:
        return None
    from ..explanation import ExplanationSpec

    return ExplanationSpec(target, method, layer)


def load_for(task: str, path: Path, device: str) -> Model:
    """The model of ``--model``, whose file was found; raises LLMBoostError if it is for another task."""
    from ..card import CLASSIFICATION
    from ..inference.device import choose_device
    from ..model import load_model

    model = load_model(path, choose_device(device))
    if model.card.task != task:
        does, command = ("classifies", "classify") if model.card.task == CLASSIFICATION else ("segments", "segment")
        raise LLMBoostError(f"model '{model.card.name}' {does}; use `llmboost {command}`, or another --model")
    return model


class Place(NamedTuple):
    """Where a batch is done: what ``--workers``, ``--cluster``, ``--scheduler-file``, ``--part`` and ``--time-limit``
    say."""

    workers: int
    cluster: str
    scheduler_file: Path | None
    part: str = ""
    limit: float | None = None

    @property
    def here(self) -> bool:
        """Whether by this process."""
        return not (self.workers or self.cluster or self.scheduler_file or self.part)

    def check(self) -> None:
        """Raises LLMBoostError if options contradict each other, or what they name is not there."""
        from ..batch.part import Part

        given = {"--workers": self.workers, "--cluster": self.cluster, "--scheduler-file": self.scheduler_file}
        named = [option for option, value in given.items() if value]
        if len(named) > 1:
            raise LLMBoostError(f"{' and '.join(named)} contradict each other; give one of them")
        if self.here and self.limit:
            raise LLMBoostError("--time-limit: is for cases in other processes; give --workers, too")
        if self.part:
            Part.of(self.part)
        if self.scheduler_file:
            check_regular(self.scheduler_file)

    def device(self, device: str) -> str:
        """For the model in this process, which computes nothing where others do."""
        return device if self.here else "cpu"

    def cases(self, cases: dict[str, InputCase]) -> dict[str, InputCase]:
        """Those of this part."""
        from ..batch.part import Part

        if not self.part:
            return cases
        part = Part.of(self.part)
        chosen = part.choose(cases)
        tell(f"{part}: {len(chosen):,} of {_counted(len(cases))}; the others are other parts' work")
        return chosen

    def engine(self, model: Path, device: str, progress: Callable[[str, float], None]) -> Engine:
        """What does the cases."""
        from ..batch.engine import Here, Workers

        if self.here:
            return Here(progress)
        return Workers(
            model=model,
            device=device,
            count=0 if self.cluster or self.scheduler_file else self.workers or 1,
            cluster=self.cluster,
            scheduler_file=self.scheduler_file,
            limit=self.limit,
            tell=tell,
        )


def conclude(rows: Sequence[Row], done: str, output: Path, *, computed: int, empty: int = 0) -> None:
    """Tell how a batch went; raises typer.Exit(1) if a case failed or was refused.

    Args:
        computed: how many of the rows are new.
        empty: in how many nothing was found.
    """
    from ..batch import REFUSED

    before = len(rows) - computed
    if before:
        console.print(f"{_counted(before)} done before, left alone")
    without = sum(bool(row.error) for row in rows)
    refused = sum(row.status == REFUSED for row in rows)
    told = f", {refused} refused: not of the kind that the model knows," if refused else ","
    if empty:
        told = f", {empty} of them empty: nothing was found;"
    console.print(f"{len(rows) - without} of {len(rows)} cases {done}{told} see {output / 'summary.csv'}")
    if without:
        raise typer.Exit(1)


@contextmanager
def telling_when_stopped(done: Callable[[], int], total: int) -> Iterator[None]:
    """On Ctrl-C, tell how far a batch has come, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        messages.print(f"{done()} of {_counted(total)} done now; the same command with --resume does the others")
        raise


def tell(note: str) -> None:
    """Tell what else there is to know, in one line."""
    messages.print(f"note: {visible(note)}", highlight=False)


def _counted(cases: int) -> str:
    return f"{cases:,} case{'s'[: cases != 1]}"


def check_frame(frame: str) -> None:
    """Raises LLMBoostError unless ``--frame`` is a number or "all"."""
    if frame not in ("", "all") and not frame.isdecimal():
        raise LLMBoostError(f"--frame {frame}: give a number counted from 0, or 'all'")


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
