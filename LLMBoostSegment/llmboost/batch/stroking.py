"""Segmenting many cases from strokes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from .. import __version__
from ..card import SEGMENTATION, Card, Preprocessing
from ..errors import LLMBoostError
from ..io.case import ALL_FRAMES, InputCase
from ..io.image import Image
from ..messages.strokes import BACKGROUND
from ..messages.words import StrokesMethod
from ..model import Model
from ..provenance import provenance
from ..report.thumbnail import draw_thumbnail
from ..strokes.files import read_strokes, strokes_file
from ..strokes.volume import StrokedVolume
from .engine import run_cases
from .overview import picture_of
from .segmenting import check_format, write_labelmap
from .summary import Row, nothing_found
from .work import Options, Progress, Work

WALKER = Card(
    name="random walker",
    title="Random walker",
    description="Spreads strokes as far as the image is alike; no model.",
    task=SEGMENTATION,
    labels=(),
    modality="",
    preprocessing=Preprocessing(),
    network={},
    booster={},
    version=__version__,
)


@dataclass(frozen=True, kw_only=True)
class StrokesOptions(Options):
    """What to write for each case: a segmentation of this format."""

    format: str = "seg.nrrd"


@dataclass(frozen=True)
class StrokesSource:
    """From what cases are segmented.

    Attributes:
        strokes: the file with them, see :func:`..strokes.files.read_strokes`; of several cases, the folder with theirs.
        model: that knows what is painted, and learns from it before it answers; without, the walker does.
        device: that the walker computes on.
        keep: the adapter to write of what the model learns from the strokes of one image, and the model's own file;
            None: none.
    """

    strokes: Path
    model: Model | None = None
    device: torch.device | str = "cpu"
    keep: tuple[Path, Path] | None = None


@dataclass
class StrokesRow(Row):
    """A case in the summary.

    Attributes:
        method: what answered, see :class:`..messages.words.StrokesMethod`.
        strokes: how many there were.
        share: of what the model has learned from them that is used, 0 to 1.
        unsure: places where a stroke would help most, the least sure one first: right, anterior, superior, in mm.
        kept: the adapter that was written of what the model has learned; empty: none.
    """

    method: str = ""
    strokes: int = 0
    share: float = 0.0
    volumes_ml: dict[str, float] = field(default_factory=dict)
    unsure: list[list[float]] = field(default_factory=list)
    kept: str = ""

    def columns(self) -> dict[str, object]:
        if not self.method:
            return {}
        answered = {"method": self.method, "strokes": self.strokes, "share": self.share}
        volumes = {f"{name} (mL)": ml for name, ml in self.volumes_ml.items()}
        return {**answered, "unsure places": len(self.unsure), **volumes}

    def flags(self) -> list[str]:
        return nothing_found(self.volumes_ml)


def stroke_cases(
    source: StrokesSource,
    cases: dict[str, InputCase],
    output: Path,
    options: StrokesOptions,
    *,
    resume: bool = False,
    overwrite: bool = False,
    report: Callable[[StrokesRow], None] = lambda row: None,
    progress: Progress = lambda text, fraction: None,
) -> list[StrokesRow]:
    """Segment each case from its strokes into ``output``, see :func:`.engine.run_cases`.

    Args:
        progress: called while a case is computed, with its id and the fraction done.

    Raises:
        LLMBoostError: as :func:`.engine.run_cases`, one file for several cases or all frames of one, or what several
            cases teach is to be kept.
    """
    if source.keep and (len(cases) > 1 or resume):
        raise LLMBoostError("--keep: keeps what is learned from one image, which is computed; leave out --resume")
    if not source.strokes.is_dir() and len(cases) > 1:
        raise LLMBoostError(
            f"{source.strokes}: one file of strokes for {len(cases)} images; give a folder, with a file of each name"
        )
    if options.frame == ALL_FRAMES:
        raise LLMBoostError("--frame all: strokes are painted in one frame; give its number")
    check_format(options.format, options.frame)
    return run_cases(
        _Stroking(source, options, progress), cases, output, resume=resume, overwrite=overwrite, report=report
    )


class _Stroking(Work[StrokesRow, StrokesOptions]):
    row = StrokesRow

    def __init__(self, source: StrokesSource, options: StrokesOptions, progress: Progress) -> None:
        super().__init__(source.model.card if source.model else WALKER, options, progress)
        self.source = source

    def files(self, id: str) -> list[str]:
        return [f"{id}.{self.options.format}"]

    def also_read(self, case: InputCase) -> dict[str, Path]:
        return {"strokes": strokes_file(self.source.strokes, case)}

    def compute(self, row: StrokesRow, case: InputCase, channels: list[Image], folder: Path) -> None:
        model = self.source.model
        card = model.card if model else None
        painted, labels = read_strokes(strokes_file(self.source.strokes, case), channels[0], card)
        try:
            volume = StrokedVolume(channels, card, self.source.device)
            found = volume.update(painted, self.options.roi, model, self.watch(row.id))
        except LLMBoostError as error:  # knows images, but not their files
            raise LLMBoostError(f"{case.names[0]}: {error}") from error
        values = [label.value for label in labels]
        drawn = np.zeros(BACKGROUND + 1, np.min_scalar_type(max(values)))  # no more than what the strokes are about
        drawn[values] = values
        whole = np.zeros(painted.shape, drawn.dtype)
        whole[found.box] = drawn[found.labels]
        np.copyto(whole, drawn[painted], where=painted > 0)  # outside of the box, too
        labelmap = channels[0].with_array(whole)
        (path,) = (folder / name for name in self.files(row.id))
        answered = {"Method": found.method, "Strokes": found.strokes, "Share": found.share}
        made_by = {**provenance(self.card), **{f"LLMBoost.{what}": str(value) for what, value in answered.items()}}
        write_labelmap(labelmap, replace(self.card, labels=labels), case, path, made_by, guided=True)
        draw_thumbnail(channels, folder / picture_of(row.id), labelmap, labels)
        row.output, row.method, row.strokes, row.share = path.name, found.method, found.strokes, found.share
        row.seconds = round(found.seconds, 3)
        row.warnings += found.warnings
        if self.source.keep and found.method == StrokesMethod.TAUGHT:
            kept, base = self.source.keep
            row.warnings += volume.keep(base, kept)[1]
            row.kept = str(kept)
        counts = np.bincount(whole.ravel(), minlength=max(values) + 1)
        voxel_ml = abs(float(np.linalg.det(labelmap.affine[:3, :3]))) / 1000
        row.volumes_ml = {label.name: round(float(counts[label.value] * voxel_ml), 4) for label in labels}
        places = [labelmap.affine @ [*place, 1] for place in found.unsure]
        row.unsure = [[round(float(mm), 2) for mm in (-x, -y, z)] for x, y, z, _ in places]
