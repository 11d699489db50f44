"""What a user names as input, sorted into cases: files, folders of files, DICOM series."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .card import Preprocessing
from .dicom import Series, choose_series, find_series, read_series
from .errors import LLMBoostError
from .image import PICTURES, READABLE, Image, read_volumes
from .learn.dataset import group_channels
from .segnrrd import EXTENSION

ALL_FRAMES = "all"


@dataclass(frozen=True)
class Case:
    """One case: a file a channel, or a DICOM series; ``problem`` says why reading it is of no use."""

    id: str
    files: tuple[Path, ...]
    series: Series | None = None
    problem: str = ""

    @property
    def names(self) -> list[str]:
        """What a summary lists as the case's input."""
        if self.series is None:
            return [str(path) for path in self.files]
        return [f"{self.series.files[0].parent} (series {self.series.uid})"]

    def read(self, steps: Preprocessing, frame: str = "") -> tuple[dict[str, list[Image]], tuple[str, ...]]:
        """The images to segment, each with one volume a channel, by id.

        Args:
            frame: of a series in time: a number counted from 0, or "all"; then ids end in the frame's number.

        Returns:
            the images, and what was repaired in reading, a line each.

        Raises:
            LLMBoostError: a file cannot be read, or frames and ``frame`` do not fit.
        """
        if self.problem:
            raise LLMBoostError(self.problem)
        notes: tuple[str, ...] = ()
        if self.series is not None:
            volumes, notes = read_series(self.series)
            frames = [[volume] for volume in volumes]
        else:
            files = [read_volumes(path, color=steps.color) for path in self.files]
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
        raise LLMBoostError(
            f"{name}: {len(frames)} volumes in time; choose one with --frame 0 to {last}, or give --frame all"
        )
    number = int(frame or 0)
    if number > last:
        raise LLMBoostError(f"{name}: has no frame {number}; the last one is {last}")
    return {id: frames[number]}


def find_cases(inputs: Iterable[Path], steps: Preprocessing, series: str | None = None) -> dict[str, Case]:
    """Cases by id, named after their files; several channels by nnU-Net's CASE_0000 names.

    A folder of images is many cases; segmentations (.seg.nrrd) there are none, they may be an earlier run's results,
    and pictures (PNG, JPEG) are for 2D models only. A folder without images, at whatever depth it holds DICOM files,
    is one case, a series.

    Args:
        series: the UID of the DICOM series to take, where there are several.

    Raises:
        LLMBoostError: a folder without images, several DICOM series and no choice, or two inputs of the same name.
    """
    files: list[Path] = []
    cases: dict[str, Case] = {}
    for path in inputs:
        inside = _images(path, steps) if os.path.isdir(path) and series is None else []
        case = None if inside else _dicom_case(path, series)
        if case is None:
            files += inside or [path]
        elif case.id in cases:
            raise _same_name(path, case.id)
        else:
            cases[case.id] = case
    for id, paths in group_channels(files, steps.channels).items():
        if len(paths) > steps.channels or id in cases:
            raise _same_name(paths[-1], id)
        cases[id] = Case(id, tuple(paths))
    return cases


def _same_name(path: Path, id: str) -> LLMBoostError:
    return LLMBoostError(f"{path}: another input has the same name ('{id}'); results would overwrite each other")


def _dicom_case(path: Path, uid: str | None) -> Case | None:
    """The DICOM series of a folder or file, or None for a file that is not DICOM: reading it will tell what it is."""
    # os.path: a name that is too long, or a loop of links, is nothing there, and no error
    folder = os.path.isdir(path)
    if not folder and (path.name.lower().endswith(READABLE) or not os.path.isfile(path)):
        return None
    name = Path(os.path.realpath(path)).name or "case"
    id = name[:-4] if name.lower().endswith(".dcm") and not folder else name
    try:
        found = find_series(path)
    except LLMBoostError as error:  # damaged; the other cases go on
        return Case(id, (path,), problem=str(error))
    if not found and not folder:
        return None
    if not found:
        raise LLMBoostError(f"{path}: no images in this folder ({', '.join(READABLE)}, or DICOM)")
    series = choose_series(found, uid, path)
    return Case(id, series.files, series)


def _images(folder: Path, steps: Preprocessing) -> list[Path]:
    def fits(name: str) -> bool:
        if name.startswith(".") or name.endswith(EXTENSION):
            return False
        return name.endswith(READABLE) and (steps.slice_axis is not None or not name.endswith(PICTURES))

    try:
        return sorted(path for path in folder.iterdir() if fits(path.name.lower()))
    except OSError as error:
        raise LLMBoostError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
