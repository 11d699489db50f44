"""A case that a user names: its files, what they are called, and how they are read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..card import Preprocessing
from ..errors import LLMBoostError
from ..files import check_regular, digest_of
from .dicom import Series, are_pictures, read_pictures, read_series
from .image import Image, read_volumes
from .imagecheck import files_of

ALL_FRAMES = "all"


class Unsuitable(LLMBoostError):
    """What there is, the model does not take."""


@dataclass(frozen=True)
class InputCase:
    """One case: a file a channel, or a DICOM series or picture; ``problem`` says why reading it is of no use.

    Attributes:
        named: what the user named, or where a study lies: the folder of a series; by default the first file.
        unsuitable: whether the problem is that the model does not take what is there.
        chosen: of a study, what was taken and what was left, and why, for the summary.
        notes: what a user should know of how it was found, a line each.
    """

    id: str
    files: tuple[Path, ...]
    series: Series | None = None
    problem: str = ""
    named: Path | None = None
    unsuitable: bool = False
    chosen: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def place(self) -> Path:
        """The absolute path of what the user named."""
        return Path(os.path.abspath(self.named or self.files[0]))

    @property
    def names(self) -> list[str]:
        """What a summary lists as the case's input. A series goes by its number: its UID could tell who it is of."""
        if self.series is None:
            return [str(path) for path in self.files]
        where = self.files[0] if len(self.files) == 1 else self.files[0].parent
        number: int | str | None = self.series.number
        part = f"#{self.series.part}" if self.series.part else ""
        if number is None:
            number = hashlib.sha256(self.series.uid.encode()).hexdigest()[:8]
        return [f"{where} (DICOM series {number}{part})"]

    def check(self) -> None:
        """Raises LLMBoostError if there is no use in reading it, as Unsuitable where the model does not take it."""
        if self.problem:
            raise (Unsuitable if self.unsuitable else LLMBoostError)(self.problem)

    def digest(self) -> str:
        """The SHA-256 of the digests of all files that are read.

        Raises:
            LLMBoostError: as :meth:`read`.
        """
        self.check()
        total = hashlib.sha256()
        for named in self.files:
            for path in (named,) if self.series is not None else files_of(named):
                check_regular(path)
                total.update(bytes.fromhex(digest_of(path)))
        return total.hexdigest()

    def read(
        self, preprocessing: Preprocessing, frame: str = "", taken: Container[str] = ()
    ) -> tuple[dict[str, list[Image]], tuple[str, ...]]:
        """The images to segment, each with one volume a channel, by id.

        For models of slices, a DICOM file without a place in space is a picture, see :mod:`.dicom.pictures`, and
        MONOCHROME1 images become their negatives, as in Slicer.

        Args:
            frame: of a series in time or a film: a number counted from 0, or "all"; then ids end in the frame's number.
            taken: ids of other cases, which no frame gets.

        Returns:
            the images, and what a user should know of their reading, a line each.

        Raises:
            LLMBoostError: a file cannot be read, or frames and ``frame`` do not fit.
        """
        self.check()
        notes: tuple[str, ...] = ()
        if self.series is not None:
            flat = preprocessing.slice_axis is not None
            if flat and (preprocessing.color or are_pictures(self.series)):
                frames = read_pictures(self.files[0], color=preprocessing.color)
            else:
                volumes, notes = read_series(self.series, negative=flat)
                frames = [[volume] for volume in volumes]
            kind = self.series.modality
            frames = [[replace(channel, modality=kind) for channel in channels] for channels in frames]
        else:
            files = [read_volumes(path, color=preprocessing.color) for path in self.files]
            names = [f"{path.name}: " if len(files) > 1 else "" for path in self.files]
            notes = tuple(name + note for name, volumes in zip(names, files, strict=True) for note in volumes[0].notes)
            counts = {len(volumes) for volumes in files}
            if len(files) == preprocessing.channels and counts != {1} and len(counts) == 1:
                frames = [list(volumes) for volumes in zip(*files, strict=True)]
            else:  # the Decathlon stores channels as a fourth axis
                frames = [[volume for volumes in files for volume in volumes]]
        return _chosen(self.id, self.names[0], frames, frame, taken), (*self.notes, *notes)


def _chosen(
    id: str, name: str, frames: Sequence[list[Image]], frame: str, taken: Container[str]
) -> dict[str, list[Image]]:
    last = len(frames) - 1
    if frame == ALL_FRAMES and not last:
        return {id: frames[0]}
    if frame == ALL_FRAMES:
        ids = [f"{id}_frame{n:03d}" for n in range(len(frames))]
        ids = [f"{one}_of_{id}" if one in taken else one for one in ids]
        return dict(zip(ids, frames, strict=True))
    if not frame and last:
        raise LLMBoostError(f"{name}: {len(frames)} frames; choose one with --frame 0 to {last}, or give --frame all")
    number = int(frame or 0)
    if number > last:
        raise LLMBoostError(f"{name}: has no frame {number}; the last one is {last}")
    return {id: frames[number]}
