"""DICOM series: found in folders, one of them chosen, and read as images on a regular grid."""

from __future__ import annotations

import filecmp
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydicom.uid import UID

from ...errors import LLMBoostError
from ...files import printable
from ..image import Image
from .file import DamagedFile, read_headers
from .frames import find_stacks
from .groups import FUNCTIONAL_GROUPS, Header
from .identity import IDENTITY, Part, parts_of
from .pixels import read_pixels
from .slices import TELLING, find_slices, numbers, read_stacks

_KIND = ("SOPClassUID", "SOPInstanceUID", "Rows")
_SERIES = ("SeriesInstanceUID", "SeriesDescription", *IDENTITY)
# what differs between images, where anonymizers took their UIDs away or gave the same to all
_IMAGE = ("InstanceNumber", "ImagePositionPatient", *TELLING)
_PLACED = ("ImagePositionPatient", *FUNCTIONAL_GROUPS)
# how many series a message lists
_LISTED = 50
# objects that are stored as pixels, yet are no images: segmentations, label maps and doses
_NO_IMAGES = {f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("66.4", "66.7", "481.2")}


@dataclass(frozen=True)
class Series:
    """A DICOM series of images.

    Attributes:
        uid: SeriesInstanceUID; empty if it has none, as after careless anonymization.
        number: SeriesNumber; None if it has none.
        description: SeriesDescription, often empty.
        modality: such as CT, MR or PT.
        files: its files, sorted by path.
        part: counted from 1 where several series have its UID, as those of two patients may; else 0.
        apart: what tells it from those, such as "patient 1 of 2".
        problem: why it cannot be read; empty if it may.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    files: tuple[Path, ...]
    part: int = 0
    apart: str = ""
    problem: str = ""

    @property
    def name(self) -> str:
        """What chooses it: its UID, with #1, #2, ... where several have that."""
        return f"{self.uid}#{self.part}" if self.part else self.uid

    def __str__(self) -> str:
        """One line to choose by."""
        files = f"{len(self.files)} file{'s'[: len(self.files) > 1]}"
        number = "-" if self.number is None else self.number
        apart = f" ({self.apart}, from {self.files[0]})" if self.apart else ""
        words = f"{printable(self.modality)} {printable(self.description)!r}"
        return f"{number}: {words}, {files}, {printable(self.name) or 'no UID'}{apart}"


@dataclass(frozen=True)
class Scan:
    """What lies in a folder.

    Attributes:
        images: a list a SeriesInstanceUID, of the files of its images with what they say.
        others: the same of DICOM objects that are no images.
        damaged: what could not be read.
    """

    images: dict[str, list[tuple[Path, Header]]]
    others: dict[str, list[tuple[Path, Header]]]
    damaged: list[tuple[Path, LLMBoostError]]


def scan(folder: str | Path, also: Sequence[str] = (), keep: Callable[[Header], Header] = dict) -> Scan:
    """All DICOM files in a folder (or beside a DICOMDIR) and all folders below it, or one file, each read once.

    Only headers are read, and copies of the same image count once: those whose pixels are equal, too. Others that claim
    to be the same are kept, and whoever reads them tells of two images in one place.

    Args:
        also: keywords of what is to be read besides.
        keep: what is kept of a header; of the first of a series, all is.

    Raises:
        LLMBoostError: nothing there.
    """
    folder = Path(folder)
    if folder.name.upper() == "DICOMDIR":
        folder = folder.parent
    if not folder.exists():
        raise LLMBoostError(f"{folder}: no such file or folder")
    found = Scan(defaultdict(list), defaultdict(list), [])
    keywords = tuple(dict.fromkeys((*_KIND, *_SERIES, *_IMAGE, *also)))
    seen: dict[int, Path] = {}
    same_image = cache(_same_image)  # a file may hold many images
    for path in sorted(_files(folder)):
        try:
            headers = read_headers(path, keywords)
            are_images = [_is_image(header, path) for header in headers]
        except LLMBoostError as error:
            found.damaged.append((path, error))
            continue
        for header, is_image in zip(headers, are_images, strict=True):
            said = (str(header.get(keyword)) for keyword in (*_SERIES, *_IMAGE))
            image = hash((str(header.get("SOPInstanceUID") or path), *said))  # 64 bits of much text
            first = seen.get(image)
            if first is None or (is_image and first != path and not same_image(first, path)):
                seen.setdefault(image, path)
                members = (found.images if is_image else found.others)[str(header.get("SeriesInstanceUID") or "")]
                members.append((path, keep(header) if members else header))
    return found


def _same_image(one: Path, other: Path) -> bool:
    """Whether two files that say the same have the same pixels, too."""
    if filecmp.cmp(one, other, shallow=False):
        return True
    try:
        return all(np.array_equal(*frames) for frames in zip(read_pixels(one), read_pixels(other), strict=True))
    except (LLMBoostError, ValueError):  # damaged, which whoever reads it tells, or of other numbers of frames
        return False


def find_series(folder: str | Path) -> list[Series]:
    """The series of images in a folder (or beside a DICOMDIR) and all folders below it, or of one file, by number.

    What is no DICOM file, and DICOM objects that are no images (segmentations, structures, doses, reports, presentation
    states, DICOMDIR, ...), is passed over.

    Raises:
        LLMBoostError: nothing there, a file that cannot be read, or a damaged DICOM file.
    """
    found = scan(folder)
    for _path, error in found.damaged:
        raise error
    return [series for series, _members in series_of(found)]


def series_of(found: Scan) -> list[tuple[Series, Part]]:
    """The series of images among what was found, by number, with their members."""
    series = []
    for uid, members in found.images.items():
        parts = parts_of(members)
        if len(parts) > 1 and not any(_has_place(path) for path, _ in members):
            parts = [Part(tuple(members))]  # pictures: each is an image of its own, whoever it is of
        for n, part in enumerate(parts, 1):
            header = part.members[0][1]
            number = numbers(header.get("SeriesNumber"), 1)
            one = Series(
                uid,
                None if number is None else int(number[0]),
                str(header.get("SeriesDescription") or ""),
                str(header.get("Modality") or ""),
                tuple(path for path, _ in part.members),
                part=n if len(parts) > 1 else 0,
                apart=part.apart,
                problem=part.problem,
            )
            series.append((one, part))
    return sorted(series, key=lambda one: (one[0].number is None, one[0].number, one[0].uid, one[0].part))


def choose_series(found: Sequence[Series], uid: str | None, folder: str | Path) -> Series:
    """The one series of ``folder``, or the one that is asked for.

    Args:
        found: what ``find_series(folder)`` gives.
        uid: the SeriesInstanceUID (with #1, #2, ... where several series have it), its beginning or its end, or the
            series' number; None if there is only one.

    Raises:
        LLMBoostError: none fits, or several do; the message lists them.
    """
    if not found:
        raise LLMBoostError(f"{folder}: holds no DICOM images; give the folder of a DICOM series")
    listed = "; ".join(map(str, found[:_LISTED])) + f"; and {len(found) - _LISTED} more" * (len(found) > _LISTED)
    if uid is None:
        if len(found) > 1:
            raise LLMBoostError(f"{folder}: holds {len(found)} series, choose one by --series UID: {listed}")
        return found[0]
    fits = (
        [one for one in found if one.name == uid]
        or [one for one in found if one.uid == uid]
        or [one for one in found if str(one.number) == uid]
        or [one for one in found if uid and (one.uid.startswith(uid) or one.uid.endswith(uid))]
    )
    if len(fits) != 1:
        problem = "several series fit" if fits else "no series fits"
        raise LLMBoostError(f"{folder}: {problem} --series {printable(uid)}; choose one of {listed}")
    return fits[0]


def read_series(series: Series, *, negative: bool = False) -> tuple[list[Image], tuple[str, ...]]:
    """The images of a series, one for each time frame (or echo, b-value, ...), and a line on each repair.

    The grid is that of ITK and Slicer: i along the rows, j along the columns, k along their cross product. Slices
    that are sheared (gantry tilt), missing or unevenly spaced are brought onto a regular grid, see .grid. Values
    are rescaled, in the smallest integer type that holds all that could be stored, float32 where a slope or an
    intercept is no integer. Of MONOCHROME1 images, ITK gives the negative; here, values stay, for only they have units,
    unless ``negative`` asks for what ITK gives.

    Raises:
        LLMBoostError: slices without a place in space, of several orientations or sizes, localizers, color images,
            several images at one place that nothing tells apart, gaps, damaged files, unreadable compressions.
    """
    where = str(series.files[0] if len(series.files) == 1 else series.files[0].parent)
    if series.problem:
        raise LLMBoostError(f"{where}: {series.problem}")
    slices, localizers = find_slices(series.files, where, negative=negative)
    stacks, told = find_stacks(slices, where)
    notes = [f"left out {localizers} localizer image(s)"] if localizers else []
    notes += told
    for stack in stacks:
        first = stack.slices[0]
        notes += stack.notes()
        if first.inverted:
            notes.append(
                "MONOCHROME1 (small values are white): values are kept as stored, where ITK gives the negative"
            )
        if len(stack.layout.depths) == 1 and not first.thickness:
            notes.append("one slice that does not tell its thickness: taken as 1 mm")
        notes += stack.layout.notes()
    notes += [doubt for stack in stacks for doubt in stack.doubts()]
    images = [
        stack.layout.to_image(array)
        for stack in stacks
        for array in read_stacks(stack.slices, stack.layout.places, stack.times)
    ]
    return images, tuple(dict.fromkeys(notes))


def _files(folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        yield folder
        return
    walked = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in walked:  # a link that leads back up
            folders.clear()
            continue
        walked.add(real)
        yield from (path for name in names if (path := Path(place, name)).is_file())


def _has_place(path: Path) -> bool:
    return any(header.get("ImagePositionPatient") for header in read_headers(path, _PLACED)[:1])


def _is_image(header: Header, path: Path) -> bool:
    """Raises LLMBoostError at what must be the rest of an image: its slice would be missing without a word."""
    sop_class = UID(str(header["SOPClassUID"]))
    if "Rows" in header:
        return sop_class not in _NO_IMAGES
    unknown = sop_class.name == sop_class  # as when it is cut off itself
    if "Image Storage" in sop_class.name or (unknown and not header.get("SeriesInstanceUID")):
        message = f"{path}: a DICOM file without pixels, or a truncated one; copy or export it again"
        raise DamagedFile(message, str(header.get("SeriesInstanceUID") or ""))
    return False
