"""Data sets on disk: folders in the form of the Medical Segmentation Decathlon or of nnU-Net v2."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..card import same_name
from ..errors import LLMBoostError
from ..files import printable
from ..jsonfile import read_json
from .case_files import case_id, group_channels, volume_files
from .image import VOLUMES, Image, read_volumes
from .labels import BACKGROUND, IGNORE, parse_labels, parse_regions, read_label_map
from .segnrrd import EXTENSION

SPLITS = ("train", "val", "test")
ALL = "all"  # in place of a split: every labeled case


@dataclass(frozen=True)
class DatasetCase:
    """One image (a file a channel, or one file with all) and its label map, which an unlabeled case lacks.

    ``names`` are those of the data set's labels, by value: a segmentation file names its segments itself. ``rest`` is
    the value that voxels without a label get: 0, or that of the data set's ``ignore`` where nobody looked for more.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None = None
    names: dict[int, str] = field(default_factory=dict, compare=False)
    rest: int = 0


@dataclass(frozen=True)
class Dataset:
    """A data set: ``labels`` maps voxel values (without the background's 0) to names, ``ignore`` marks voxels that
    nobody labeled, ``splits`` maps train, val and test to ids of ``cases``, ``subjects`` maps cases to whom they
    show, where somebody appears more than once. ``partly_labeled`` are the values that were not drawn in a case if its
    label map lacks them, by case; where dataset.json does not tell (None), ``presumed`` are those that are taken for
    such in all cases, see :func:`.datasetcheck.settle`. ``regions`` are nnU-Net's, by name, where there are any:
    values that are trained and measured as one, and may be in several."""

    folder: Path
    name: str
    modalities: tuple[str, ...]
    labels: dict[int, str]
    ignore: int | None
    cases: dict[str, DatasetCase]
    splits: dict[str, list[str]]
    subjects: dict[str, str] = field(default_factory=dict)
    license: str = ""
    reference: str = ""
    ending: str = ""  # of the files, where dataset.json tells it
    partly_labeled: dict[str, frozenset[int]] | None = None
    presumed: frozenset[int] = frozenset()
    regions: dict[str, frozenset[int]] = field(default_factory=dict)

    @property
    def region_classes(self) -> list[list[int]]:
        """The classes of each region, as a network counts them: the labels from 1 on, in the order of their values."""
        classes = {value: n for n, value in enumerate(self.labels, start=1)}
        return [sorted(classes[value] for value in values) for values in self.regions.values()]

    def split(self, name: str) -> list[DatasetCase]:
        """The cases of a split, or all labeled ones.

        Raises:
            LLMBoostError: there is no such split, or it is empty.
        """
        ids = [case.id for case in self.cases.values() if case.label] if name == ALL else self.splits.get(name)
        if not ids:
            raise LLMBoostError(
                f"{self.folder}: no cases in split '{name}'; list ids under \"{name}\" in splits.json"
                f" (it has {', '.join(f'{len(v)} {k}' for k, v in self.splits.items())})"
            )
        return [self.cases[id] for id in ids]

    def undrawn(self, id: str, shown: set[int]) -> frozenset[int]:
        """The labels that nobody drew in a case whose label map shows these values. Of a map that shows nothing,
        nothing is presumed: it is an example of nothing."""
        if self.partly_labeled is not None:
            return self.partly_labeled.get(id, frozenset()) - shown
        return self.presumed - shown if shown & self.labels.keys() else frozenset()


def read_dataset(folder: Path) -> Dataset:
    """Read the description of a data set: dataset.json of either dialect, the folders, splits.json if there.

    Without splits.json, every fifth labeled case (in order of names) is for validation, and those in imagesTs that
    have a label map in labelsTs are for testing.

    Raises:
        LLMBoostError: naming all that is wrong, a line each.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LLMBoostError(
            f"{folder}: no such folder; give a data set folder with dataset.json, imagesTr and labelsTr"
        )
    path = folder / "dataset.json"
    if not path.exists():
        raise LLMBoostError(f"{path}: cannot be read (no such file); a data set needs it")
    description = read_json(path)
    labels = parse_labels(path, description.get("labels"))
    modalities = _modalities(path, description)
    ignore = next((value for value, name in labels.items() if same_name(name) == IGNORE), None)
    names = {value: name for value, name in sorted(labels.items()) if value not in (0, ignore)}
    ending = _ending(path, description.get("file_ending", ""))
    cases = _cases(folder, len(modalities), ending, names)
    partly = _partly_labeled(path, description.get("partly_labeled"), names, cases)
    rest_unknown = [id for id, values in (partly or {}).items() if 0 in values]
    if rest_unknown:
        ignore = max(names) + 1 if ignore is None else ignore
        cases |= {id: replace(cases[id], rest=ignore) for id in rest_unknown}
        partly = {id: values - {0} for id, values in (partly or {}).items()}
    splits, subjects = _splits(folder / "splits.json", cases)
    return Dataset(
        folder=folder,
        name=str(description.get("name", folder.name)),
        modalities=modalities,
        labels=names,
        ignore=ignore,
        cases=cases,
        splits=splits,
        subjects=subjects,
        license=str(description.get("licence", description.get("license", ""))),
        reference=str(description.get("reference", "")),
        ending=ending,
        partly_labeled=partly,
        regions=parse_regions(path, description["labels"]),
    )


def unlabeled_cases(dataset: Dataset) -> list[DatasetCase]:
    """The cases that wait to be labeled: the images in imagesTs, and those in imagesTr without a label map."""
    files = volume_files(dataset.folder / "imagesTs", dataset.ending)
    found = group_channels(files, len(dataset.modalities))
    unlabeled = [DatasetCase(id, tuple(paths)) for id, paths in found.items() if id not in dataset.cases]
    return unlabeled + [case for case in dataset.cases.values() if case.label is None]


LoadedCase = tuple[list[Image], Image | None]  # channels as stored, and the label map


def load(case: DatasetCase) -> LoadedCase:
    """A case's channels as stored, and its label map: whole numbers, on the first channel's grid if it is the same but
    for the order of its axes and for less than a tenth of a voxel.

    Raises:
        LLMBoostError: a file cannot be read, or the label map holds what are no labels.
    """
    images = [image for path in case.images for image in read_volumes(path)]
    return images, read_labels(case, images[0])[0] if case.label else None


def read_labels(case: DatasetCase, image: Image | None) -> tuple[Image, float]:
    """The label map of a case, which has one, and how far it lies off ``image``, see :func:`.labels.read_label_map`;
    raises LLMBoostError."""
    assert case.label is not None
    label, far = read_label_map(case.label, image, case.names)
    if case.rest:
        array = label.array.astype(np.result_type(label.array, np.min_scalar_type(case.rest)))
        array[label.array == 0] = case.rest
        label = label.with_array(array)
    return label, far


def _modalities(path: Path, description: dict[str, Any]) -> tuple[str, ...]:
    found = description.get("channel_names") or description.get("modality")
    if isinstance(found, dict) and found and all(key.isdecimal() for key in found):
        names = [found[key] for key in sorted(found, key=int)]
        if all(isinstance(name, str) for name in names):
            return tuple(names)
    raise LLMBoostError(f'{path}: no "modality" or "channel_names", such as {{"0": "MRI"}}')


def _ending(path: Path, told: Any) -> str:
    """Of nnU-Net's "file_ending"; raises LLMBoostError for kinds of files that are not read."""
    if told in ("", *VOLUMES):
        return str(told)
    raise LLMBoostError(
        f'{path}: "file_ending" {printable(str(told))} is not read in a data set; convert the files to .nii.gz or .nrrd'
    )


def _partly_labeled(
    path: Path, told: Any, labels: dict[int, str], cases: Collection[str]
) -> dict[str, frozenset[int]] | None:
    """The values that may not have been drawn, by case, by "partly_labeled": true, false, a list of names, or such a
    list for each case that is not complete, where "background" is what has no label."""
    values = {same_name(name): value for value, name in labels.items()}

    def known(names: Any, also: Mapping[str, int]) -> bool:
        return isinstance(names, list) and all(isinstance(name, str) and same_name(name) in also for name in names)

    if told is None:
        return None
    if isinstance(told, bool):
        told = list(labels.values()) if told else []
    if known(told, values):
        return dict.fromkeys(cases, frozenset(values[same_name(name)] for name in told))
    values[BACKGROUND] = 0
    if isinstance(told, dict) and all(id in cases and known(names, values) for id, names in told.items()):
        return {id: frozenset(values[same_name(name)] for name in names) for id, names in told.items()}
    raise LLMBoostError(
        f'{path}: "partly_labeled" must be true (a label that a case lacks was not drawn there), false (it is absent'
        " there), a list of the labels' names that were not always drawn, or such a list for each case that is not"
        ' complete, such as {"case_1": ["liver"]}'
    )


def a_few(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(printable(name) for name in names[:5]) + more


def _cases(folder: Path, channels: int, ending: str, names: dict[int, str]) -> dict[str, DatasetCase]:
    """The cases in imagesTr, and those in imagesTs that have a label map in labelsTs."""
    images, tests = folder / "imagesTr", folder / "imagesTs"
    labeled = bool(volume_files(folder / "labelsTs", ending))
    if not images.is_dir() and not labeled:
        raise LLMBoostError(f"{images}: no such folder; put the images there")
    found = _cases_in(images, folder / "labelsTr", channels, ending, names) if images.is_dir() else {}
    for id, case in _cases_in(tests, folder / "labelsTs", channels, ending, names).items() if labeled else ():
        if id in found:
            raise LLMBoostError(f"{tests}: {id} is in imagesTr, too; a case has one place")
        if case.label:
            found[id] = case
    return found


def _cases_in(images: Path, labels: Path, channels: int, ending: str, names: dict[int, str]) -> dict[str, DatasetCase]:
    label_of: dict[str, Path] = {}
    for path in volume_files(labels, ending):
        id = path.name[: -len(EXTENSION)] if path.name.lower().endswith(EXTENSION) else case_id(path)
        if label_of.setdefault(id, path) != path:
            raise LLMBoostError(f"{labels}: {label_of[id].name} and {path.name} are both of {id}; remove one")
    grouped = group_channels(volume_files(images, ending), channels, labeled=label_of)
    # a file named after its case may hold all channels itself
    whole = [id for id, paths in grouped.items() if [case_id(path) for path in paths] == [id]]
    wrong = [f"{id} has {len(paths)}" for id, paths in grouped.items() if len(paths) != channels and id not in whole]
    if wrong:
        raise LLMBoostError(f"{images}: {channels} file(s) a case expected, but {a_few(wrong)}")
    orphans = sorted(set(label_of) - set(grouped))
    if orphans:
        raise LLMBoostError(f"{labels}: no image for {a_few(orphans)}; put it into {images.name}")
    if not grouped:
        raise LLMBoostError(f"{images}: no images ({ending or ', '.join(VOLUMES)})")
    return {id: DatasetCase(id, tuple(paths), label_of.get(id), names) for id, paths in sorted(grouped.items())}


def _splits(path: Path, cases: dict[str, DatasetCase]) -> tuple[dict[str, list[str]], dict[str, str]]:
    if not path.exists():
        test = [id for id, case in cases.items() if case.images[0].parent.name == "imagesTs"]
        ids = [id for id, case in cases.items() if case.label and id not in test]
        val = ids[4::5] or ids[-1:]
        return {"train": [id for id in ids if id not in val] or ids, "val": val, "test": test}, {}
    raw = read_json(path)
    wrong = [name for name in SPLITS if not isinstance(raw.get(name) or [], list)]
    if wrong:
        raise LLMBoostError(f'{path}: "{wrong[0]}" must be a list of ids')
    splits = {name: [str(id) for id in raw.get(name) or []] for name in SPLITS}
    unknown = sorted({id for ids in splits.values() for id in ids} - set(cases))
    if unknown:
        raise LLMBoostError(f"{path}: no files for {a_few(unknown)}; ids are file names without extension")
    times = Counter(id for ids in splits.values() for id in ids)
    if twice := sorted(id for id, count in times.items() if count > 1):
        raise LLMBoostError(f"{path}: {a_few(twice)} listed more than once; a case belongs to one split")
    subjects = raw.get("subjects") or {}
    if not isinstance(subjects, dict):
        raise LLMBoostError(f'{path}: "subjects" must map ids of cases to subjects')
    subjects = {str(id): str(subject) for id, subject in subjects.items()}
    split_of: dict[str, str] = {}
    for name, ids in splits.items():
        for id in ids:
            subject = subjects.get(id, id)
            if split_of.setdefault(subject, name) != name:
                raise LLMBoostError(
                    f"{path}: subject {printable(subject)} is in {split_of[subject]} and {name}; keep it in one split"
                )
    return splits, subjects


def digest_of(case: DatasetCase) -> str:
    """SHA-256 of the case's files: tells whether a model has seen it, and nothing about it."""
    digest = hashlib.sha256()
    for path in (*case.images, *((case.label,) if case.label else ())):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
