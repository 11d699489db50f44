"""Data sets on disk: folders in the form of the Medical Segmentation Decathlon or of nnU-Net v2."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LLMBoostError
from ..image import Image, read_image

EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
SPLITS = ("train", "val", "test")
IGNORE = "ignore"


@dataclass(frozen=True)
class Case:
    """One image (a file a channel) and its label map, which an unlabelled case lacks."""

    id: str
    images: tuple[Path, ...]
    label: Path | None = None


@dataclass(frozen=True)
class Dataset:
    """A data set: ``labels`` maps voxel values (without the background's 0) to names, ``ignore`` marks voxels that
    nobody labelled, ``splits`` maps train, val and test to ids of ``cases``."""

    folder: Path
    name: str
    modalities: tuple[str, ...]
    labels: dict[int, str]
    ignore: int | None
    cases: dict[str, Case]
    splits: dict[str, list[str]]
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
        raise LLMBoostError(f"{folder}: no such folder; give a data set folder with dataset.json, imagesTr and labelsTr")
    description = _read_json(folder / "dataset.json")
    modalities = description.get("channel_names") or description.get("modality")
    labels = _labels(folder, description.get("labels"))
    if not isinstance(modalities, dict) or not modalities:
        raise LLMBoostError(f"{folder / 'dataset.json'}: no \"modality\" or \"channel_names\", such as {{\"0\": \"MRI\"}}")
    ignore = next((value for value, name in labels.items() if name.lower() == IGNORE), None)
    cases = _cases(folder, len(modalities))
    return Dataset(
        folder=folder,
        name=str(description.get("name", folder.name)),
        modalities=tuple(str(modalities[key]) for key in sorted(modalities, key=int)),
        labels={value: name for value, name in sorted(labels.items()) if value not in (0, ignore)},
        ignore=ignore,
        cases=cases,
        splits=_splits(folder / "splits.json", cases),
        license=str(description.get("licence", description.get("license", ""))),
        reference=str(description.get("reference", "")),
    )


def load(case: Case) -> tuple[list[Image], Image | None]:
    """A case's channels and its label map, as stored."""
    return [read_image(path) for path in case.images], read_image(case.label) if case.label else None


def check(dataset: Dataset, cases: Iterable[Case]) -> None:
    """Read every file of ``cases`` and refuse the data set if anything is wrong with any.

    Raises:
        LLMBoostError: listing every problem, a line each.
    """
    problems = []
    for case in cases:
        try:
            problems += _problems(dataset, case)
        except LLMBoostError as error:
            problems.append(str(error))
    if problems:
        lines = "\n  ".join(problems)
        raise LLMBoostError(f"{dataset.folder}: {len(problems)} problem(s), mend them before training:\n  {lines}")


def _problems(dataset: Dataset, case: Case) -> list[str]:
    if case.label is None:
        return [f"{case.images[0]}: no label map; put {case.id} with the same extension into labelsTr"]
    images, label = load(case)
    assert label is not None
    problems = []
    for path, image in zip(case.images, images, strict=True):
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
        if all(str(key).isdigit() for key in entries):
            return {int(key): str(name) for key, name in entries.items()}
        return {int(value): str(name) for name, value in entries.items()}
    except (TypeError, ValueError) as error:
        raise LLMBoostError(
            f"{folder / 'dataset.json'}: \"labels\" must map values to names, such as"
            ' {"0": "background", "1": "liver"} (regions of several labels are not supported)'
        ) from error


def _cases(folder: Path, channels: int) -> dict[str, Case]:
    images, labels = folder / "imagesTr", folder / "labelsTr"
    if not images.is_dir():
        raise LLMBoostError(f"{images}: no such folder; put the images there")
    label_of = {identity(path): path for path in _files(labels)}
    grouped: dict[str, list[Path]] = {}
    for path in _files(images):
        id = identity(path)
        # nnU-Net names a channel's file CASE_0000.nii.gz
        if id not in label_of and id[-5:-4] == "_" and id[-4:].isdigit():
            id = id[:-5]
        grouped.setdefault(id, []).append(path)
    wrong = [f"{id} has {len(paths)}" for id, paths in grouped.items() if len(paths) != channels]
    if wrong:
        raise LLMBoostError(f"{images}: {channels} file(s) a case expected, but {', '.join(wrong[:5])}")
    orphans = sorted(set(label_of) - set(grouped))
    if orphans:
        raise LLMBoostError(f"{labels}: no image for {', '.join(orphans[:5])}; put it into imagesTr")
    if not grouped:
        raise LLMBoostError(f"{images}: no images ({', '.join(EXTENSIONS)})")
    return {id: Case(id, tuple(paths), label_of.get(id)) for id, paths in sorted(grouped.items())}


def _files(folder: Path) -> Sequence[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.name.endswith(EXTENSIONS) and not path.name.startswith(".")
    )


def identity(path: Path) -> str:
    """A case's id: its file name without the extension."""
    return next((path.name[: -len(end)] for end in EXTENSIONS if path.name.endswith(end)), path.stem)


def _splits(path: Path, cases: dict[str, Case]) -> dict[str, list[str]]:
    if not path.exists():
        ids = [id for id, case in cases.items() if case.label]
        val = ids[4::5] or ids[-1:]
        return {"train": [id for id in ids if id not in val] or ids, "val": val, "test": []}
    raw = _read_json(path)
    splits = {name: [str(id) for id in raw.get(name) or []] for name in SPLITS}
    unknown = sorted({id for ids in splits.values() for id in ids} - set(cases))
    if unknown:
        raise LLMBoostError(f"{path}: no files for {', '.join(unknown[:5])}; ids are file names without extension")
    listed = [id for ids in splits.values() for id in ids]
    twice = sorted({id for id in listed if listed.count(id) > 1})
    if twice:
        raise LLMBoostError(f"{path}: {', '.join(twice[:5])} listed more than once; a case belongs to one split")
    return splits
