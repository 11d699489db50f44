"""DICOM studies: what series there are of each, and what is known of them before a voxel is read."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom.uid import UID

from ...studies import SeriesFacts, along_ras
from .dicomdir import listed_series
from .file import DamagedFile, read_headers
from .groups import FUNCTIONAL_GROUPS, Header
from .identity import IDENTITY, Part, study_of
from .pixels import color_of
from .series import Scan, Series, scan, series_of
from .slices import numbers

_PLACE = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6}
_TELLING = (
    *("ImageType", "StudyDescription", "ProtocolName", "BodyPartExamined", "ContrastBolusAgent", "ConvolutionKernel"),
    *("PixelSpacing", "ImagerPixelSpacing", "SliceThickness", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation"),
)
_KEPT = ("SeriesInstanceUID", "SeriesDescription", "ImageType", *IDENTITY)
_SAME_PLACE = 0.01  # mm
_SAME_PLANE = 0.02  # of a direction's cosines


@dataclass(frozen=True)
class Study:
    """One visit of a patient, as far as it lies in a folder.

    Attributes:
        key: 16 digits that are the same for all of it, and do not tell whose it is.
        series: its series of images, by number.
        facts: what is known of these, one each, and then of what is there besides images.
        folder: the innermost folder that holds all of its images.
    """

    key: str
    series: tuple[Series, ...]
    facts: tuple[SeriesFacts, ...]
    folder: Path


def find_studies(folder: Path) -> tuple[list[Study], list[str]]:
    """The studies with images in a folder and all folders below it, and a line on each file that cannot be read.

    Each file's header is read once. A series that a damaged file belongs to, by what is left of that file, or because
    it is the only one in that file's folder, has a problem; so has one of which a DICOMDIR lists more than there is.

    Raises:
        LLMBoostError: nothing there.
    """
    found = scan(folder, (*_PLACE, *_TELLING), _kept)
    members: dict[str, list[tuple[Series, SeriesFacts]]] = defaultdict(list)
    problems, unknown = _damaged(found)
    incomplete, absent = _not_there(found)
    problems = incomplete | problems
    for series, part in series_of(found):
        problem = series.problem or problems.get(series.uid, "")
        facts = replace(_facts(part), problem=problem)
        key = study_of(part.members[0][1]) or _by_folder(series, folder)
        members[key].append((replace(series, problem=problem), facts))
    besides: dict[str, list[SeriesFacts]] = defaultdict(list)
    for uid, others in found.others.items():
        if uid and uid not in found.images:
            besides[study_of(others[0][1])].append(_no_image(others[0][1]))
    for header in absent:
        besides[study_of(header)].append(_facts_of_none(header, "listed in DICOMDIR, but not there"))
    studies = [
        Study(
            key,
            tuple(series for series, _ in pairs),
            (*(facts for _, facts in pairs), *besides[key]),
            _common(path for series, _ in pairs for path in series.files),
        )
        for key, pairs in members.items()
    ]
    return sorted(studies, key=lambda study: (study.folder, study.key)), unknown


def _kept(header: Header) -> Header:
    """What is needed of each of 20,000 headers; equal texts are one."""
    texts = {keyword: sys.intern(str(header[keyword])) for keyword in _KEPT if header.get(keyword)}
    places = {keyword: numbers(header[keyword], n) for keyword, n in _PLACE.items() if header.get(keyword)}
    return texts | places


def _damaged(found: Scan) -> tuple[dict[str, str], list[str]]:
    """What is wrong with series, by UID, and with files of which nobody knows which series they are of."""
    problems: dict[str, str] = {}
    unknown: list[str] = []
    folders: dict[Path, set[str]] = defaultdict(set)
    for uid, members in found.images.items():
        for path, _header in members:
            folders[path.parent].add(uid)
    for path, error in found.damaged:
        uid = error.series if isinstance(error, DamagedFile) else ""
        around = folders.get(path.parent, set())
        if uid not in found.images and len(around) == 1:
            (uid,) = around
        if uid in found.images:
            problems.setdefault(uid, str(error))
        else:
            unknown.append(str(error))
    return problems, unknown


def _not_there(found: Scan) -> tuple[dict[str, str], list[Header]]:
    """By what DICOMDIRs list: what is wrong with series, by UID, and what they say of series of which nothing is there.

    Files may have been renamed since, so numbers alone count.
    """
    incomplete: dict[str, str] = {}
    absent: dict[str, Header] = {}
    for path, _header in found.others.get("", ()):
        for header, count in listed_series(path) if path.name.upper() == "DICOMDIR" else ():
            uid = str(header.get("SeriesInstanceUID") or "")
            missing = count - len(found.images.get(uid, ()))
            if missing > 0 and uid in found.images:
                incomplete[uid] = f"{path} lists {count} images of it, and {missing} are not there; copy them again"
            elif missing > 0 and uid not in found.others:
                absent[uid] = header
    return incomplete, list(absent.values())


def _by_folder(series: Series, folder: Path) -> str:
    """For series that an anonymizer took the study's UID from: those in one folder below ``folder``."""
    base = folder if folder.is_dir() else folder.parent
    inner = series.files[0].relative_to(base).parts
    return hashlib.sha256(inner[0].encode(errors="replace")).hexdigest()[:16] if len(inner) > 1 else ""


def _common(paths: Iterable[Path]) -> Path:
    return Path(os.path.commonpath({path.parent for path in paths}))


def _facts(part: Part) -> SeriesFacts:
    # reading a series leaves out the localizers in it, too
    members = [one for one in part.members if "LOCALIZER" not in str(one[1].get("ImageType"))] or part.members
    path, header = members[0]
    if "Rows" not in header:  # no more was kept of it
        header = read_headers(path, (*_KEPT, *_PLACE, *_TELLING))[0]
    places = _places(members)
    frames = [] if places or not _positive(header.get("NumberOfFrames"), 1) else _frames(members)
    if frames:
        header, places = header | frames[0], _places([(path, frame) for frame in frames])
    thickness = _positive(header.get("SliceThickness"), 1)
    texts = dict.fromkeys(_text(header, keyword) for keyword in ("SeriesDescription", "ProtocolName"))
    facts = SeriesFacts(
        number=_number(header),
        description=" ".join(filter(None, texts)),
        study=_text(header, "StudyDescription"),
        modality=_text(header, "Modality"),
        kinds=_values(header.get("ImageType")),
        body=_text(header, "BodyPartExamined"),
        date=_text(header, "StudyDate"),
        kernel=_text(header, "ConvolutionKernel"),
        agent=_text(header, "ContrastBolusAgent"),
        thickness=None if thickness is None else float(thickness[0]),
        placed=bool(places),
        color=bool(color_of(header)),
        slices=len(members),
    )
    return _with_place(facts, header, places) if places else facts


def _frames(members: Sequence[tuple[Path, Header]]) -> list[Header]:
    """What enhanced files say of each frame."""
    keywords = (*_PLACE, *_TELLING, *FUNCTIONAL_GROUPS)
    return [header for path, _ in members for header in read_headers(path, keywords)]


def _places(members: Sequence[tuple[Path, Header]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Position and orientation of each image that tells both."""
    found = ([numbers(header.get(keyword), n) for keyword, n in _PLACE.items()] for _, header in members)
    return [(position, plane) for position, plane in found if position is not None and plane is not None]


def _with_place(facts: SeriesFacts, header: Header, places: list[tuple[np.ndarray, np.ndarray]]) -> SeriesFacts:
    """What follows from where the images lie."""
    planes: list[np.ndarray] = []
    for _position, plane in places:
        if not any(np.abs(plane - known).max() < _SAME_PLANE for known in planes):
            planes.append(plane)
    right, down = planes[0].reshape(2, 3)
    across = np.cross(right, down)
    depths = np.sort([position @ across for position, _ in places])
    apart = np.diff(depths)
    steps = apart[apart > _SAME_PLACE]
    slices = len(steps) + 1
    step = float(np.median(steps)) if len(steps) else facts.thickness
    pixel = _positive(header.get("PixelSpacing"), 2)
    sizes = numbers([header.get("Columns"), header.get("Rows")], 2)
    facts = replace(
        facts,
        slices=slices,
        volumes=int(np.median(np.unique(np.cumsum(np.r_[0, apart > _SAME_PLACE]), return_counts=True)[1])),
        orientations=len(planes),
        across=int(np.abs(across).argmax()),
    )
    if pixel is None or step is None or sizes is None:
        return facts
    axes = np.stack([right, down, across], axis=1)
    return along_ras(facts, axes, [*pixel[::-1].tolist(), step], [*sizes.tolist(), slices])


def _no_image(header: Header) -> SeriesFacts:
    kind = UID(str(header["SOPClassUID"])).name.removesuffix(" Storage")
    return _facts_of_none(header, f"no image ({kind})")


def _facts_of_none(header: Header, why: str) -> SeriesFacts:
    """Of what cannot be taken, for this reason."""
    description, modality = _text(header, "SeriesDescription"), _text(header, "Modality")
    return SeriesFacts(_number(header), description, modality=modality, no_image=why)


def _number(header: Header) -> int | None:
    number = numbers(header.get("SeriesNumber"), 1)
    return None if number is None else int(number[0])


def _text(header: Header, keyword: str) -> str:
    return str(header.get(keyword) or "").strip()


def _values(value: object) -> tuple[str, ...]:
    several = value if isinstance(value, Iterable) and not isinstance(value, str) else [value or ""]
    return tuple(text for one in several if (text := str(one).strip().upper()))


def _positive(value: object, n: int) -> np.ndarray | None:
    array = numbers(value, n)
    return array if array is not None and (array > 0).all() else None
