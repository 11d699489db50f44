"""What a user names as input, sorted into cases: files, folders of files, DICOM series."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .card import Preprocessing
from .dicom import Series, are_pictures, choose_series, find_series, read_pictures, read_series
from .errors import LLMBoostError
from .image import PICTURES, READABLE, Image, read_volumes
from .learn.dataset import group_channels
from .segnrrd import EXTENSION

ALL_FRAMES = "all"


@dataclass(frozen=True)
class Case:
    """One case: a file a channel, or a DICOM series or picture; ``problem`` says why reading it is of no use."""

    id: str
    files: tuple[Path, ...]
    series: Series | None = None
    problem: str = ""

    @property
    def names(self) -> list[str]:
        """What a summary lists as the case's input."""
        if self.series is None:
            return [str(path) for path in self.files]
        where = self.files[0] if len(self.files) == 1 else self.files[0].parent
        return [f"{where} (series {self.series.uid})"]

    def read(self, steps: Preprocessing, frame: str = "") -> tuple[dict[str, list[Image]], tuple[str, ...]]:
        """The images to segment, each with one volume a channel, by id.

        For models of slices, a DICOM file without a place in space is a picture, see :mod:`.dicom.pictures`, and
        MONOCHROME1 images become their negatives, as in Slicer.

        Args:
            frame: of a series in time or a film: a number counted from 0, or "all"; then ids end in the frame's number.

        Returns:
            the images, and what a user should know of their reading, a line each.

        Raises:
            LLMBoostError: a file cannot be read, or frames and ``frame`` do not fit.
        """
        if self.problem:
            raise LLMBoostError(self.problem)
        notes: tuple[str, ...] = ()
        if self.series is not None:
            flat = steps.slice_axis is not None
            if flat and (steps.color or are_pictures(self.series)):
                frames = read_pictures(self.files[0], color=steps.color)
            else:
                volumes, notes = read_series(self.series, negative=flat)
                frames = [[volume] for volume in volumes]
        else:
            files = [read_volumes(path, color=steps.color) for path in self.files]
            names = [f"{path.name}: " if len(files) > 1 else "" for path in self.files]
            notes = tuple(name + note for name, volumes in zip(names, files, strict=True) for note in volumes[0].notes)
            counts = {len(volumes) for volumes in files}
            if len(files) == steps.channels and counts != {1} and len(counts) == 1:
                frames = [list(volumes) for volumes in zip(*files, strict=True)]
            else:  # the Decathlon stores channels as a fourth axis
                frames = [[volume for volumes in files for volume in volumes]]
        return _chosen(self.id, self.names[0], frames, frame), notes


def _chosen(id: str, name: str, frames: Sequence[list[Image]], frame: str) -> dict[str, list[Image]]:
    last = len(frames) - 1
    if frame == ALL_FRAMES:
        return {f"{id}_frame{n:03d}": channels for n, channels in enumerate(frames)} if last else {id: frames[0]}
    if not frame and last:
        raise LLMBoostError(f"{name}: {len(frames)} frames; choose one with --frame 0 to {last}, or give --frame all")
    number = int(frame or 0)
    if number > last:
        raise LLMBoostError(f"{name}: has no frame {number}; the last one is {last}")
    return {id: frames[number]}


def find_cases(inputs: Iterable[Path], steps: Preprocessing, series: str | None = None) -> dict[str, Case]:
    """Cases by id, named after their files; several channels by nnU-Net's CASE_0000 names.

    A folder of images is many cases; segmentations (.seg.nrrd) there are none, they may be an earlier run's results,
    and pictures (PNG, JPEG) are for 2D models only. A folder without images, at whatever depth it holds DICOM files,
    is one case, a series; for 2D models, if all series there are pictures, each file is a case, named after its place
    in the folder.

    Args:
        series: the UID of the DICOM series to take, where there are several.

    Raises:
        LLMBoostError: a folder without images, several DICOM series and no choice, or two inputs of the same name.
    """
    files: list[Path] = []
    cases: dict[str, Case] = {}
    for path in inputs:
        inside = _images(path, steps) if os.path.isdir(path) and series is None else []
        found = [] if inside else _dicom_cases(path, steps, series)
        if not found:
            files += inside or [path]
        for case in found:
            if case.id in cases:
                raise _same_name(case.files[0], case.id)
            cases[case.id] = case
    for id, paths in group_channels(files, steps.channels).items():
        if len(paths) > steps.channels or id in cases:
            raise _same_name(paths[-1], id)
        cases[id] = Case(id, tuple(paths))
    return cases


def _same_name(path: Path, id: str) -> LLMBoostError:
    return LLMBoostError(f"{path}: another input has the same name ('{id}'); results would overwrite each other")


def _dicom_cases(path: Path, steps: Preprocessing, uid: str | None) -> list[Case]:
    """The DICOM series of a folder or file, or its pictures; none for a file that is not DICOM: reading it will tell
    what it is."""
    # os.path: a name that is too long, or a loop of links, is nothing there, and no error
    folder = os.path.isdir(path)
    if not folder and (path.name.lower().endswith(READABLE) or not os.path.isfile(path)):
        return []
    name = Path(os.path.realpath(path)).name or "case"
    id = name if folder else _without_extension(name)
    try:
        found = find_series(path)
    except LLMBoostError as error:  # damaged; the other cases go on
        return [Case(id, (path,), problem=str(error))]
    if not found and not folder:
        return []
    if not found:
        raise LLMBoostError(f"{path}: no images in this folder ({', '.join(READABLE)}, or DICOM)")
    wanted = found if uid is None else [choose_series(found, uid, path)]
    if steps.slice_axis is None or not all(are_pictures(series) for series in wanted):
        series = choose_series(found, uid, path)
        return [Case(id, series.files, series)]
    pictures = {file: series for series in wanted for file in series.files}
    if len(pictures) > 1:
        base = path if folder else path.parent  # a DICOMDIR's
        ids = {file: _without_extension("_".join(file.relative_to(base).parts)) for file in pictures}
    else:
        ids = dict.fromkeys(pictures, id)
    return [Case(ids[file], (file,), replace(pictures[file], files=(file,))) for file in sorted(pictures)]


def _without_extension(name: str) -> str:
    return name[:-4] if name.lower().endswith(".dcm") else name


def _images(folder: Path, steps: Preprocessing) -> list[Path]:
    def fits(name: str) -> bool:
        if name.startswith(".") or name.endswith(EXTENSION):
            return False
        return name.endswith(READABLE) and (steps.slice_axis is not None or not name.endswith(PICTURES))

    try:
        return sorted(path for path in folder.iterdir() if fits(path.name.lower()))
    except OSError as error:
        raise LLMBoostError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
