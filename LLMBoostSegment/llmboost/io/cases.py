"""What a user names as input, sorted into cases: files, folders of files, DICOM and BIDS studies."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ..card import Preprocessing
from ..errors import LLMBoostError
from ..files import printable
from ..studies import Selection
from .bids import bids_files, channel_of, session_of
from .case import InputCase
from .case_files import group_channels
from .image import PICTURES, READABLE, VOLUMES
from .segnrrd import EXTENSION
from .study_cases import bids_cases, dicom_cases

# what may hold images, and is not looked into
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".7z", ".rar", ".dcm.gz")


def find_cases(
    inputs: Iterable[Path],
    preprocessing: Preprocessing,
    selection: Selection | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> dict[str, InputCase]:
    """Cases by id, named after their files as the user names them; several channels by nnU-Net's CASE_0000 names.

    In a folder, each image is a case; segmentations (.seg.nrrd) are none, they may be an earlier run's results. At
    whatever depth the folder holds them, so are studies: what is selected of the series of each DICOM study, and of
    images that BIDS names of one session, see :mod:`.study_cases`. Pictures (PNG, JPEG) are for 2D models only, and
    beside DICOM they are none: they show what is there once more.

    Of inputs of one name, the first in the order of paths keeps it; the others' ids begin with what tells their folders
    apart, or end in their files' extension.

    Args:
        selection: which series of a study are taken, by default the one that suits best; where a series is named, or a
            rule given, image files in folders that are of no study are left alone.
        tell: is given a line on each thing that is left out or renamed.

    Raises:
        LLMBoostError: a folder without images, or one without the series that is named.
    """
    files: dict[str, Path] = {}
    cases: dict[tuple[str, ...], InputCase] = {}
    for path in inputs:
        images, studies = _sort(path, preprocessing, selection or Selection(), tell)
        for image in images:
            if files.setdefault(os.path.abspath(image), image) is not image:
                tell(f"{image}: named twice, taken once")
        for case in studies:
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
    named, taken = {}, set(groups)
    for id, group in groups.items():
        first, *others = sorted(group, key=lambda case: (case.place, case.files))
        named[id] = first
        for case, name in zip(others, _names_apart([first, *others])[1:], strict=True):
            number = 2
            unique = name
            while unique in taken:
                unique = f"{name}_{number}"
                number += 1
            taken.add(unique)
            named[unique] = replace(case, id=unique)
            tell(f"{case.named or case.files[0]}: another input is named '{printable(id)}', too; this is '{unique}'")
    order = {case.files: n for n, case in enumerate(cases)}
    return dict(sorted(named.items(), key=lambda one: order[one[1].files]))


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
    path: Path, preprocessing: Preprocessing, selection: Selection, tell: Callable[[str], None]
) -> tuple[list[Path], list[InputCase]]:
    """The image files of an input that are cases by themselves, and the cases of its studies."""
    # os.path: a name that is too long, or a loop of links, is nothing there, and no error
    if not os.path.isdir(path):
        if path.name.lower().endswith(READABLE) or not os.path.isfile(path):
            return [path], []
        dicom = dicom_cases(path, preprocessing, selection, tell)
        return ([] if dicom else [path]), dicom
    volumes, pictures = _images(path, preprocessing)
    sessions = []
    if not preprocessing.color:
        sessions = [*(one for one in volumes if session_of(one)), *bids_files(path)]
    if preprocessing.channels > 1:  # of which nnU-Net's names, such as sub-01_0000, tell themselves
        sessions = [one for one in sessions if not channel_of(one)[0].isdecimal()]
    volumes = [one for one in volumes if one not in sessions]
    studies = dicom_cases(path, preprocessing, selection, tell)
    if studies and pictures:
        tell(
            f"{path}: left out {_counted(pictures, 'picture')} beside DICOM: {_some(pictures)};"
            " name a picture itself to take it"
        )
        pictures = []
    images = sorted(volumes + pictures)
    if images and (selection.name or selection.rule):
        tell(f"{path}: left out {_counted(images, 'image')} of which no study or series is known: {_some(images)}")
    if selection.name or selection.rule:
        images = []
    if not selection.name:
        studies += bids_cases(path, sessions, preprocessing, selection, tell)
    below = [one for one in _below(path, preprocessing) if one not in set(sessions)]
    archives = _archives(path)
    packed = f"{_counted(archives, 'archive')} ({_some(archives)})"
    where = f"in folders below, such as {below[0].parent.relative_to(path)}; name those folders" if below else ""
    if not images and not studies:
        what = f"{', '.join(READABLE if preprocessing.slice_axis is not None else VOLUMES)}, or DICOM"
        there = f"; {_counted(below, 'image')} lie{'s'[: len(below) < 2]} {where}" if below else ""
        there += f"; unpack {packed} first" if archives else ""
        raise LLMBoostError(f"{path}: no images in this folder ({what}){there}")
    if below:
        tell(f"{path}: left out {_counted(below, 'image')} {where} to take them")
    if archives:
        tell(f"{path}: left out {packed}; to take what is in there, unpack first")
    return images, studies


def _counted(paths: Sequence[Path], what: str) -> str:
    return f"{len(paths)} {what}{'s'[: len(paths) > 1]}"


def _some(paths: Sequence[Path], most: int = 3) -> str:
    return ", ".join([*(printable(path.name) for path in paths[:most]), *(["..."] if len(paths) > most else [])])


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


def _archives(folder: Path) -> list[Path]:
    """At whatever depth."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in sorted(names) if name.lower().endswith(ARCHIVES)]
    return found


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
