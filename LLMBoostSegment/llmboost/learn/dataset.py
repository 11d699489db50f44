"""Data sets on disk: folders in the form of the Medical Segmentation Decathlon or of nnU-Net v2."""

from __future__ import annotations

import itertools
import json
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LLMBoostError
from ..image import READABLE, VOLUMES, Image, read_image, read_volumes

SPLITS = ("train", "val", "test")
IGNORE = "ignore"


@dataclass(frozen=True)
class Case:
    """One image (a file a channel, or one file with all) and its label map, which an unlabelled case lacks."""

    id: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set: ``labels`` maps voxel values (without the background's 0) to names, ``ignore`` marks voxels that
    nobody labelled, ``splits`` maps train, val and test to ids of ``cases``, ``subjects`` maps cases to whom they
    show, where somebody appears more than once."""

    folder: Path
    name: str
    modalities: tuple[str, ...]
    labels: dict[int, str]
    ignore: int | None
    cases: dict[str, Case]
    splits: dict[str, list[str]]
    subjects: dict[str, str] = field(default_factory=dict)
    license: str = ""
    reference: str = ""

    def split(self, name: str) -> list[Case]:
        """The cases of a split.

        Raises:
            LLMBoostError: there is no such split, or it is empty.
        """
        ids = self.splits.get(name)
        if not ids:
            raise LLMBoostError(
                f"{self.folder}: no cases in split '{name}'; list ids under \"{name}\" in splits.json"
                f" (it has {', '.join(f'{len(v)} {k}' for k, v in self.splits.items())})"
            )
        return [self.cases[id] for id in ids]


def read_dataset(folder: Path) -> Dataset:
    """Read the description of a data set: dataset.json of either dialect, the folders, splits.json if there.

    Without splits.json, every fifth case (in order of names) is for validation.

    Raises:
        LLMBoostError: naming all that is wrong, a line each.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise LLMBoostError(
            f"{folder}: no such folder; give a data set folder with dataset.json, imagesTr and labelsTr"
        )
    description = _read_json(folder / "dataset.json")
    modalities = description.get("channel_names") or description.get("modality")
    labels = _labels(folder, description.get("labels"))
    if not isinstance(modalities, dict) or not modalities or not all(key.isdecimal() for key in modalities):
        raise LLMBoostError(f'{folder / "dataset.json"}: no "modality" or "channel_names", such as {{"0": "MRI"}}')
    ignore = next((value for value, name in labels.items() if name.lower() == IGNORE), None)
    cases = _cases(folder, len(modalities))
    splits, subjects = _splits(folder / "splits.json", cases)
    return Dataset(
        folder=folder,
        name=str(description.get("name", folder.name)),
        modalities=tuple(str(modalities[key]) for key in sorted(modalities, key=int)),
        labels={value: name for value, name in sorted(labels.items()) if value not in (0, ignore)},
        ignore=ignore,
        cases=cases,
        splits=splits,
        subjects=subjects,
        license=str(description.get("licence", description.get("license", ""))),
        reference=str(description.get("reference", "")),
    )


def unlabelled_cases(dataset: Dataset) -> list[Case]:
    """The cases that wait to be labelled: the images in imagesTs, and those in imagesTr without a label map."""
    found = group_channels(volume_files(dataset.folder / "imagesTs"), len(dataset.modalities))
    unlabelled = [Case(id, tuple(paths)) for id, paths in found.items()]
    return unlabelled + [case for case in dataset.cases.values() if case.label is None]


def load(case: Case) -> tuple[list[Image], Image | None]:
    """A case's channels and its label map, as stored."""
    images = [image for path in case.images for image in read_volumes(path)]
    return images, read_image(case.label) if case.label else None


def check(dataset: Dataset, cases: Iterable[Case]) -> None:
    """Read every file of ``cases`` and refuse the data set if anything is wrong with any.

    Raises:
        LLMBoostError: listing every problem, a line each.
    """
    problems = [problem for case in cases for problem in _problems(dataset, case)]
    if problems:
        lines = "\n  ".join(problems)
        raise LLMBoostError(f"{dataset.folder}: {len(problems)} problem(s), mend them before training:\n  {lines}")


def _problems(dataset: Dataset, case: Case) -> list[str]:
    if case.label is None:
        return [f"{case.images[0]}: no label map; put {case.id} with the same extension into labelsTr"]
    problems = []

    def read(path: Path) -> list[tuple[Path, Image]]:
        try:
            return [(path, image) for image in read_volumes(path)]
        except LLMBoostError as error:
            problems.append(str(error))
            return []

    images, labels = [read(path) for path in case.images], read(case.label)
    volumes = sum(map(len, images))
    if all(images) and volumes != len(dataset.modalities):
        problems.append(
            f"{case.images[0]}: {volumes} volume(s), dataset.json names {len(dataset.modalities)} channel(s)"
        )
    if len(labels) != 1:
        return problems or [f"{case.label}: {len(labels)} volumes; a label map is one"]
    label = labels[0][1]
    for path, image in itertools.chain.from_iterable(images):
        if image.shape != label.shape:
            problems.append(f"{path}: {image.shape} voxels, but its label map {label.shape}; they must agree")
        elif not image.same_grid(label):
            problems.append(f"{path}: its label map lies elsewhere in space (spacing, origin or direction differ)")
    known = {0, *dataset.labels} | ({dataset.ignore} if dataset.ignore is not None else set())
    unknown = sorted(set(np.unique(label.array).tolist()) - known)
    if unknown:
        shown = ", ".join(f"{value:g}" for value in unknown[:5])
        problems.append(f"{case.label}: value(s) {shown} are not among the labels of dataset.json")
    return problems


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror}); a data set needs it") from error
    except ValueError as error:
        raise LLMBoostError(f"{path}: no valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise LLMBoostError(f"{path}: a JSON object is expected")
    return value


def _labels(folder: Path, entries: Any) -> dict[int, str]:
    """Values to names, of either dialect: {"1": "liver"} (Decathlon) or {"liver": 1} (nnU-Net v2)."""
    try:
        if all(key.isdecimal() for key in entries):
            pairs = [(int(key), str(name)) for key, name in entries.items()]
        else:
            pairs = [(int(value), name) for name, value in entries.items()]
    except (AttributeError, TypeError, ValueError) as error:
        raise LLMBoostError(
            f'{folder / "dataset.json"}: "labels" must map values to names, such as'
            ' {"0": "background", "1": "liver"} (regions of several labels are not supported)'
        ) from error
    labels = dict(pairs)
    if len(labels) < len(pairs):
        raise LLMBoostError(f"{folder / 'dataset.json'}: two labels have the same value; give each its own")
    if not any(value != 0 and name.lower() != IGNORE for value, name in pairs):
        raise LLMBoostError(f"{folder / 'dataset.json'}: no labels but background; name what is to be segmented")
    return labels


def _cases(folder: Path, channels: int) -> dict[str, Case]:
    images, labels = folder / "imagesTr", folder / "labelsTr"
    if not images.is_dir():
        raise LLMBoostError(f"{images}: no such folder; put the images there")
    label_of = {identity(path): path for path in volume_files(labels)}
    grouped = group_channels(volume_files(images), channels, labelled=label_of)
    # a file named after its case may hold all channels itself
    whole = [id for id, paths in grouped.items() if [identity(path) for path in paths] == [id]]
    wrong = [f"{id} has {len(paths)}" for id, paths in grouped.items() if len(paths) != channels and id not in whole]
    if wrong:
        raise LLMBoostError(f"{images}: {channels} file(s) a case expected, but {', '.join(wrong[:5])}")
    orphans = sorted(set(label_of) - set(grouped))
    if orphans:
        raise LLMBoostError(f"{labels}: no image for {', '.join(orphans[:5])}; put it into imagesTr")
    if not grouped:
        raise LLMBoostError(f"{images}: no images ({', '.join(VOLUMES)})")
    return {id: Case(id, tuple(paths), label_of.get(id)) for id, paths in sorted(grouped.items())}


def volume_files(folder: Path) -> Sequence[Path]:
    """The files of volumes in a folder, by name; none if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(tuple(VOLUMES)) and not path.name.startswith(".")
    )


def group_channels(paths: Iterable[Path], channels: int, labelled: Container[str] = ()) -> dict[str, list[Path]]:
    """Files by case: by name, or, if all are named as nnU-Net names channels (CASE_0000, CASE_0001), by CASE.

    ``labelled`` are ids known to be cases, whatever they look like.
    """
    paths = sorted(paths)
    endings = [f"_{channel:04d}" for channel in range(channels)]
    ids = [identity(path) for path in paths]
    numbered = all(id[-5:] in endings and id not in labelled for id in ids)
    grouped: dict[str, list[Path]] = {}
    for path, id in zip(paths, ids, strict=True):
        grouped.setdefault(id[:-5] if numbered else id, []).append(path)
    return grouped


def identity(path: Path) -> str:
    """A case's id: its file name without the extension."""
    return next((path.name[: -len(end)] for end in READABLE if path.name.lower().endswith(end)), path.stem)


def _splits(path: Path, cases: dict[str, Case]) -> tuple[dict[str, list[str]], dict[str, str]]:
    if not path.exists():
        ids = [id for id, case in cases.items() if case.label]
        val = ids[4::5] or ids[-1:]
        return {"train": [id for id in ids if id not in val] or ids, "val": val, "test": []}, {}
    raw = _read_json(path)
    wrong = [name for name in SPLITS if not isinstance(raw.get(name) or [], list)]
    if wrong:
        raise LLMBoostError(f'{path}: "{wrong[0]}" must be a list of ids')
    splits = {name: [str(id) for id in raw.get(name) or []] for name in SPLITS}
    unknown = sorted({id for ids in splits.values() for id in ids} - set(cases))
    if unknown:
        raise LLMBoostError(f"{path}: no files for {', '.join(unknown[:5])}; ids are file names without extension")
    listed = [id for ids in splits.values() for id in ids]
    twice = sorted({id for id in listed if listed.count(id) > 1})
    if twice:
        raise LLMBoostError(f"{path}: {', '.join(twice[:5])} listed more than once; a case belongs to one split")
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
                    f"{path}: subject {subject} is in {split_of[subject]} and {name}; keep it in one split"
                )
    return splits, subjects
