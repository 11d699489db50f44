"""What a user names as input, sorted into cases: files, folders of files, DICOM series."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..card import Preprocessing
from ..errors import LLMBoostError
from ..files import check_regular, digest_of, printable
from .case_files import group_channels
from .dicom import Series, are_pictures, choose_series, find_series, read_pictures, read_series
from .image import PICTURES, READABLE, VOLUMES, Image, read_volumes
from .imagecheck import files_of
from .segnrrd import EXTENSION

ALL_FRAMES = "all"


@dataclass(frozen=True)
class InputCase:
    """One case: a file a channel, or a DICOM series or picture; ``problem`` says why reading it is of no use.

    ``named`` is what the user named: the folder of a series; by default the first file.
    """

    id: str
    files: tuple[Path, ...]
    series: Series | None = None
    problem: str = ""
    named: Path | None = None

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

    def digest(self) -> str:
        """The SHA-256 of the digests of all files that are read.

        Raises:
            LLMBoostError: as :meth:`read`.
        """
        if self.problem:
            raise LLMBoostError(self.problem)
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
        if self.problem:
            raise LLMBoostError(self.problem)
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
        return _chosen(self.id, self.names[0], frames, frame, taken), notes


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


def find_cases(
    inputs: Iterable[Path],
    preprocessing: Preprocessing,
    series: str | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> dict[str, InputCase]:
    """Cases by id, named after their files as the user names them; several channels by nnU-Net's CASE_0000 names.

    In a folder, each image is a case; segmentations (.seg.nrrd) are none, they may be an earlier run's results. So are,
    at whatever depth the folder holds them, DICOM files: one case, a series; or, for 2D models, if all series there are
    pictures, each file a case, named after its place in the folder. Pictures (PNG, JPEG) are for 2D models only, and
    beside DICOM they are none: they show what is there once more.

    Of inputs of one name, the first in the order of paths keeps it; the others' ids begin with what tells their folders
    apart, or end in their files' extension.

    Args:
        series: the UID of the DICOM series to take, where there are several; image files in folders are left alone.
        tell: is given a line on each thing that is left out or renamed.

    Raises:
        LLMBoostError: a folder without images, or one with several DICOM series and no choice.
    """
    files: dict[str, Path] = {}
    cases: dict[tuple[str, ...], InputCase] = {}
    for path in inputs:
        images, dicom = _sort(path, preprocessing, series, tell)
        for image in images:
            if files.setdefault(os.path.abspath(image), image) is not image:
                tell(f"{image}: named twice, taken once")
        for case in dicom:
            if cases.setdefault(tuple(map(os.path.abspath, case.files)), case) is not case:
                tell(f"{case.named or case.files[0]}: named twice, taken once")
    found = list(cases.values())
    for id, paths in group_channels(files.values(), preprocessing.channels).items():
        found += _cases_of(id, paths, preprocessing.channels)
    return _named_apart(found, tell)


def _cases_of(id: str, paths: list[Path], channels: int) -> Iterator[InputCase]:
    """The cases among files of one name: more than one has channels are several cases, by folder."""
    if len(paths) <= channels:
        yield InputCase(id, tuple(paths))
        return
    folders = defaultdict(list)
    for path in paths:
        folders[path.parent].append(path)
    for group in folders.values():
        yield from (
            [InputCase(id, tuple(group))] if len(group) <= channels else [InputCase(id, (path,)) for path in group]
        )


def _named_apart(cases: Sequence[InputCase], tell: Callable[[str], None]) -> dict[str, InputCase]:
    """The cases by ids of their own, which do not depend on their order."""
    groups = defaultdict(list)
    for case in cases:
        groups[case.id].append(case)
    ids, taken = {}, set(groups)
    for id, group in sorted(groups.items()):
        first, *others = sorted(group, key=lambda case: case.place)
        ids[first.place] = id
        for case, name in zip(others, _names_apart([first, *others])[1:], strict=True):
            number = 2
            unique = name
            while unique in taken:
                unique = f"{name}_{number}"
                number += 1
            taken.add(unique)
            ids[case.place] = unique
            tell(f"{case.named or case.files[0]}: another input is named '{printable(id)}', too; this is '{unique}'")
    return {ids[case.place]: replace(case, id=ids[case.place]) for case in cases}


def _names_apart(group: Sequence[InputCase]) -> list[str]:
    """Names for cases of one id: with their extension, if they lie in one folder, and as many of the folders above
    them, from those that differ, as it takes."""
    folders, ends = set(), []
    for case in group:
        extension = case.place.name[len(case.id) :].replace(".", "_")
        ends.append(case.id + extension if case.place.parent in folders else case.id)
        folders.add(case.place.parent)
    parents = [case.place.parent.parts[::-1] for case in group]  # the nearest first
    levels = [n for n in range(max(map(len, parents))) if len({parts[n : n + 1] for parts in parents}) > 1]
    names = ends
    for count in range(1, len(levels) + 1):
        outer = levels[:count][::-1]
        names = [
            "_".join([*(parts[n] for n in outer if n < len(parts)), end])
            for parts, end in zip(parents, ends, strict=True)
        ]
        if len(set(names)) == len(names):
            break
    return names


def _sort(
    path: Path, preprocessing: Preprocessing, series: str | None, tell: Callable[[str], None]
) -> tuple[list[Path], list[InputCase]]:
    """The image files and the DICOM cases of an input."""
    # os.path: a name that is too long, or a loop of links, is nothing there, and no error
    if not os.path.isdir(path):
        dicom = _dicom_cases(path, preprocessing, series)
        return ([] if dicom else [path]), dicom
    if series is not None:
        return [], _dicom_cases(path, preprocessing, series)
    volumes, pictures = _images(path, preprocessing)
    dicom = _dicom_cases(path, preprocessing, None, beside=bool(volumes or pictures))
    if dicom and pictures:
        tell(
            f"{path}: left out {_counted(pictures, 'picture')} beside DICOM: {_some(pictures)};"
            " name a picture itself to take it"
        )
        pictures = []
    images = sorted(volumes + pictures)
    below = _below(path, preprocessing)
    where = f"in folders below, such as {below[0].parent.relative_to(path)}; name those folders" if below else ""
    if not images and not dicom:
        what = f"{', '.join(READABLE if preprocessing.slice_axis is not None else VOLUMES)}, or DICOM"
        there = f"; {_counted(below, 'image')} lie{'s'[: len(below) < 2]} {where}" if below else ""
        raise LLMBoostError(f"{path}: no images in this folder ({what}){there}")
    if below:
        tell(f"{path}: left out {_counted(below, 'image')} {where} to take them")
    return images, dicom


def _counted(paths: Sequence[Path], what: str) -> str:
    return f"{len(paths)} {what}{'s'[: len(paths) > 1]}"


def _some(paths: Sequence[Path], most: int = 3) -> str:
    return ", ".join([*(printable(path.name) for path in paths[:most]), *(["..."] if len(paths) > most else [])])


def _dicom_cases(path: Path, preprocessing: Preprocessing, uid: str | None, beside: bool = False) -> list[InputCase]:
    """The DICOM series of a folder or file, or its pictures; none for a file that is not DICOM: reading it will tell
    what it is.

    Args:
        beside: the folder holds other images; several series there do not stop those.
    """
    folder = os.path.isdir(path)
    if not folder and (path.name.lower().endswith(READABLE) or not os.path.isfile(path)):
        return []
    name = Path(os.path.abspath(path)).name or "case"
    id = name if folder else _without_extension(name)
    try:
        found = find_series(path)
    except LLMBoostError as error:  # damaged; the other cases go on
        return [InputCase(id, (path,), problem=str(error))]
    if not found and (uid is None or not folder):
        return []
    wanted = found if uid is None else [choose_series(found, uid, path)]
    if preprocessing.slice_axis is None or not all(are_pictures(series) for series in wanted):
        if beside and len(wanted) > 1:
            problem = f"{path}: holds {len(wanted)} DICOM series; name the folder of one, or choose one by --series"
            return [InputCase(id, (path,), problem=problem)]
        series = choose_series(found, uid, path)
        return [InputCase(id, series.files, series, named=path)]
    pictures = {file: series for series in wanted for file in series.files}
    if len(pictures) > 1:
        base = path if folder else path.parent  # a DICOMDIR's
        ids = {file: _without_extension("_".join(file.relative_to(base).parts)) for file in pictures}
    else:
        ids = dict.fromkeys(pictures, id)
    return [InputCase(ids[file], (file,), replace(pictures[file], files=(file,))) for file in sorted(pictures)]


def _without_extension(name: str) -> str:
    return name[:-4] if name.lower().endswith(".dcm") else name


def _images(folder: Path, preprocessing: Preprocessing) -> tuple[list[Path], list[Path]]:
    """The volumes and the pictures in a folder, the latter for 2D models only."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise LLMBoostError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    paths = [path for path in paths if not path.name.startswith(".") and not path.name.lower().endswith(EXTENSION)]
    volumes = [path for path in paths if path.name.lower().endswith(tuple(VOLUMES))]
    flat = preprocessing.slice_axis is not None
    return volumes, [path for path in paths if flat and path.name.lower().endswith(PICTURES)]


def _below(folder: Path, preprocessing: Preprocessing) -> list[Path]:
    """The images in the folders below a folder."""
    found: list[Path] = []
    for place, folders, _files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if place != str(folder):
            with suppress(LLMBoostError):  # one that cannot be listed
                volumes, pictures = _images(Path(place), preprocessing)
                found += volumes + pictures
    return found
