"""Labeled images on disk: MedMNIST's .npz files, and folders with a folder a class."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..card import CONTROL, Preprocessing
from ..errors import LLMBoostError
from ..files import printable
from ..jsonfile import read_json
from ..studies import Selection
from .case import ALL_FRAMES
from .cases import find_cases
from .dataset import ALL, SPLITS
from .dicom import find_series
from .image import READABLE, Image
from .labels import doubled
from .layout import check_files, check_names
from .npz import read_arrays

DESCRIPTION = "dataset.json"  # in a folder of classes; beside NAME.npz it is NAME.json
# of MedMNIST (Yang et al., Sci Data 10:41, 2023; its info.py), what the .npz files do not say
CITATION = "Yang et al., MedMNIST v2, Sci Data 10:41, 2023"
KNOWN: dict[str, dict[str, Any]] = {
    "breastmnist": {"classes": ["malignant", "normal or benign"], "positive": "malignant", "modality": "US"},
    "pneumoniamnist": {"classes": ["normal", "pneumonia"], "positive": "pneumonia", "modality": "DX"},
    "retinamnist": {"classes": [f"grade {n}" for n in range(5)], "ordinal": True, "modality": "OP"},
    "adrenalmnist3d": {"classes": ["normal", "hyperplasia"], "positive": "hyperplasia", "modality": "SEG"},
}
MAX_CLASSES = 1000
# pictures in a folder are images, too
_FLAT = Preprocessing(patch_size=(8, 8, 1))


@dataclass(frozen=True)
class Sample:
    """A labeled image: ``target`` has a 1 for each class that it shows; ``read`` gives its channels as stored."""

    id: str
    target: tuple[int, ...]
    read: Callable[[Preprocessing], list[Image]]


@dataclass(frozen=True)
class ImageSet:
    """A data set for classification.

    Attributes:
        classes: names, in the order of the targets.
        splits: train, val and test.
        flat: slices or pictures, not volumes.
        color: of red, green and blue.
        size: voxels a side, where all images are squares or cubes of one size; else 0.
        positive, ordinal, multi_label: see :class:`llmboost.card.Classification`.
        notes: what was left out, in words.
    """

    path: Path
    name: str
    classes: tuple[str, ...]
    splits: dict[str, list[Sample]]
    flat: bool
    color: bool
    size: int = 0
    modality: str = ""
    positive: str = ""
    ordinal: bool = False
    multi_label: bool = False
    license: str = ""
    reference: str = ""
    notes: tuple[str, ...] = field(default=())

    def split(self, name: str) -> list[Sample]:
        """The images of a split, or all.

        Raises:
            LLMBoostError: there are none.
        """
        if name == ALL:
            return [sample for samples in self.splits.values() for sample in samples]
        if not self.splits.get(name):
            counts = ", ".join(f"{len(samples)} {split}" for split, samples in self.splits.items())
            raise LLMBoostError(f"{self.path}: no images in split '{name}' (it has {counts})")
        return self.splits[name]


def is_image_set(path: Path) -> bool:
    """Whether ``path`` is labeled for classification, not for segmentation."""
    segmented = any((path / name).exists() for name in ("imagesTr", "imagesTs"))
    return path.suffix.lower() == ".npz" or (path.is_dir() and not segmented)


def read_image_set(path: Path) -> ImageSet:
    """Read a .npz file in MedMNIST's form, or a folder: train/CLASS/..., val/CLASS/..., test/CLASS/..., or CLASS/...

    A folder's images are files (NIfTI, NRRD, MetaImage, PNG, JPEG, DICOM) or folders of DICOM series. Without val,
    every fifth image of a class (in order of names) is for validation. A description (dataset.json in the folder, or
    NAME.json beside the .npz file) may give "name", "classes" (their order), "positive", "ordinal", "modality",
    "license" and "reference"; all is optional.

    Raises:
        LLMBoostError: what is wrong, with which file.
    """
    path = Path(path)
    if path.suffix.lower() == ".npz":
        return _read_npz(path)
    if not path.is_dir():
        raise LLMBoostError(
            f"{path}: no such file or folder; give a MedMNIST .npz file or a folder with a folder a class"
        )
    return _read_folder(path)


def _read_npz(path: Path) -> ImageSet:
    arrays = read_arrays(path, [f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")])
    missing = [key for key in ("train_images", "train_labels", "val_images", "val_labels") if key not in arrays]
    if missing:
        raise LLMBoostError(f"{path}: has no array {missing[0]}; a MedMNIST .npz file has it")
    images = arrays["train_images"]
    color = images.ndim == 4 and images.shape[-1] == 3
    flat = images.ndim == 3 or color
    labels = {split: _labels(path, split, arrays[f"{split}_labels"]) for split in SPLITS if f"{split}_labels" in arrays}
    columns = labels["train"].shape[1]
    multi_label = columns > 1
    count = columns if multi_label else 1 + max(int(values.max(initial=0)) for values in labels.values())
    if count > MAX_CLASSES:
        raise LLMBoostError(f"{path}: labels are classes from 0 to {MAX_CLASSES - 1}, but one is {count - 1}")
    if count < 2 and len(images):
        raise LLMBoostError(f"{path}: all labels name one class; a data set has at least two")
    splits: dict[str, list[Sample]] = {}
    for split in SPLITS:
        pixels, values = arrays.get(f"{split}_images"), labels.get(split)
        if pixels is None or values is None:
            splits[split] = []
            continue
        if pixels.ndim not in (3, 4) or pixels.dtype.kind not in "biuf":
            raise LLMBoostError(
                f"{path}: {split}_images is no array of pictures (N, rows, columns), also in 3 colors, or of volumes"
            )
        if pixels.shape[1:] != images.shape[1:] or len(pixels) != len(values) or values.shape[1] != columns:
            raise LLMBoostError(f"{path}: images and labels of split '{split}' do not fit each other or the training's")
        if pixels.dtype.kind == "f" and not np.isfinite(pixels).all():
            raise LLMBoostError(f"{path}: {split}_images holds NaN or infinite values; replace them by numbers")
        if multi_label and values.max(initial=0) > 1:
            raise LLMBoostError(f"{path}: labels of split '{split}' have several columns, which hold only 0 and 1")
        targets = values if multi_label else np.eye(count, dtype=int)[values[:, 0]]
        splits[split] = [
            Sample(f"{split}_{n}", tuple(int(t) for t in target), _stored(array, flat))
            for n, (array, target) in enumerate(zip(pixels, targets, strict=True))
        ]
    held_out = {array.tobytes() for split in SPLITS[1:] for array in arrays.get(f"{split}_images", ())}
    fresh = [array.tobytes() not in held_out for array in images]
    leaked = fresh.count(False)
    splits["train"] = [sample for sample, alone in zip(splits["train"], fresh, strict=True) if alone]
    known = KNOWN.get(re.sub(r"_\d+$", "", path.stem.lower()), {})
    about = {"licence": "CC BY 4.0", "reference": CITATION, **known} if known else {}
    about |= _description(path.with_suffix(".json"))
    return _image_set(
        path,
        about,
        [f"class {n}" for n in range(count)],
        splits,
        flat=flat,
        color=color,
        size=images.shape[1] if len(set(images.shape[1 : 3 if flat else 4])) == 1 else 0,
        multi_label=multi_label,
        name=path.stem,
        notes=(f"left out of training: {leaked} image(s) that are in val or test, too",) if leaked else (),
    )


def _labels(path: Path, split: str, values: np.ndarray) -> np.ndarray:
    """Labels (N, 1) of classes, or (N, classes)."""
    if (
        values.ndim not in (1, 2)
        or values.dtype.kind not in "iub"
        or values.min(initial=0) < 0
        or values.max(initial=0) >= 2**62
    ):
        raise LLMBoostError(f"{path}: labels of split '{split}' are not numbers of classes")
    return (values[:, np.newaxis] if values.ndim == 1 else values).astype(int)


def _stored(array: np.ndarray, flat: bool) -> Callable[[Preprocessing], list[Image]]:
    """The channels of an array in MedMNIST's order: a picture's rows, columns (and colors); a volume as it is."""

    def read(_preprocessing: Preprocessing) -> list[Image]:
        # as a picture of these pixels would be read: columns to the left, rows to the back
        picture = array.reshape(*array.shape[:2], -1).transpose(2, 1, 0)[..., np.newaxis] if flat else None
        layers = array[np.newaxis] if picture is None else picture
        return [Image(layer, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3)) for layer in layers]

    return read


def _read_folder(path: Path) -> ImageSet:
    about = _description(path / DESCRIPTION)
    roots = {split: path / split for split in SPLITS if (path / split).is_dir()} or {"": path}
    check_names(path, [folder.name for root in (path, *roots.values()) for folder in _folders(root)])
    found = {split: {folder.name: _samples(folder) for folder in _folders(root)} for split, root in roots.items()}
    names = sorted({name for classes in found.values() for name in classes}, key=_natural)
    if len(names) < 2:
        raise LLMBoostError(
            f"{path}: {len(names)} folder(s) of images; a data set has a folder for each of its classes"
        )
    order = [str(name) for name in about.get("classes", names)]
    if sorted(order) != sorted(names):
        raise LLMBoostError(
            f'{path / DESCRIPTION}: "classes" lists {printable(", ".join(order))}, but the folders are'
            f" {printable(', '.join(names))}"
        )
    first = next(file for classes in found.values() for files in classes.values() for file in files)
    flat, color = _kind(first)
    for classes in found.values():
        check_files(path, classes, _values)
    held_out = "val" not in roots
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for split, classes in found.items():
        for name, files in classes.items():
            target = tuple(int(name == other) for other in order)
            for n, file in enumerate(files):
                chosen = split or "train"
                if held_out and chosen == "train" and n % 5 == 4:
                    chosen = "val"
                splits[chosen].append(Sample(f"{name}/{file.name}", target, _reader(file)))
    if not splits["val"]:  # classes of fewer than five
        samples = splits["train"]
        splits["val"], splits["train"] = samples[4::5], [s for n, s in enumerate(samples) if n % 5 != 4]
    return _image_set(path, about, order, splits, flat=flat, color=color, name=path.resolve().name)


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _samples(folder: Path) -> list[Path]:
    """Image files, DICOM files and DICOM folders of a class."""
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [
        entry for entry in entries if entry.is_dir() or entry.name.lower().endswith(READABLE) or find_series(entry)
    ]
    if not files:
        raise LLMBoostError(f"{folder}: no images ({', '.join(READABLE)}, DICOM files, or folders of them)")
    return files


def _kind(file: Path) -> tuple[bool, bool]:
    """Whether the first image is flat, and whether it is colored."""
    try:
        return 1 in _reader(file)(_FLAT)[0].shape, False
    except LLMBoostError as error:
        try:
            image = _reader(file)(replace(_FLAT, channels=3, normalization=_FLAT.normalization * 3, color=True))[0]
        except LLMBoostError:
            raise error from None
        return 1 in image.shape, True


def _values(file: Path) -> np.ndarray:
    """The pixels of an image, gray or colored."""
    _, color = _kind(file)
    steps = replace(_FLAT, channels=3, normalization=_FLAT.normalization * 3, color=True) if color else _FLAT
    return np.stack([image.array for image in _reader(file)(steps)])


def _reader(file: Path) -> Callable[[Preprocessing], list[Image]]:
    def read(preprocessing: Preprocessing) -> list[Image]:
        cases = find_cases([file], _FLAT, Selection(all=True))
        if len(cases) != 1:
            raise LLMBoostError(
                f"{file}: holds {len(cases)} images; a folder in a class's is one DICOM series, files lie beside it"
            )
        (case,) = cases.values()
        images, _notes = case.read(preprocessing, ALL_FRAMES)
        if len(images) != 1:
            raise LLMBoostError(f"{file}: holds {len(images)} frames; export the one that shows its class")
        return next(iter(images.values()))

    return read


def _image_set(
    path: Path, about: dict[str, Any], classes: Sequence[str], splits: dict[str, list[Sample]], **known: Any
) -> ImageSet:
    names = tuple(str(name) for name in about.get("classes", classes))
    if wrong := [name for name in names if not name.strip() or CONTROL.search(name)]:
        raise LLMBoostError(f"{path}: a class cannot be called {wrong[0]!r}; rename it")
    if wrong := doubled(dict(enumerate(names))):
        raise LLMBoostError(f"{path}: classes are called alike: {wrong[0]}")
    positive = str(about.get("positive", ""))
    if len(names) != len(classes):
        raise LLMBoostError(f"{path}: {len(names)} classes are named, but the labels have {len(classes)}")
    if positive and positive not in names:
        raise LLMBoostError(f"{path}: the positive class '{positive}' is none of {', '.join(names)}")
    if not positive and len(names) == 2 and not known.get("multi_label"):
        positive = names[1]
    if not splits["train"] or not splits["val"]:
        raise LLMBoostError(f"{path}: training needs images in the splits 'train' and 'val'")
    known["notes"] = (*known.get("notes", ()), *_gaps(names, splits))
    return ImageSet(
        path,
        str(about.get("name", known.pop("name"))),
        names,
        splits,
        modality=str(about.get("modality", "")),
        positive=positive,
        ordinal=bool(about.get("ordinal", False)),
        license=str(about.get("licence", about.get("license", ""))),
        reference=str(about.get("reference", "")),
        **{key: value for key, value in known.items() if key != "name"},
    )


def _gaps(names: Sequence[str], splits: dict[str, list[Sample]]) -> list[str]:
    """What a training lacks, in words."""
    counts = {split: np.sum([sample.target for sample in splits[split]], axis=0) for split in SPLITS[:2]}
    notes = []
    for name, train, val in zip(names, counts["train"], counts["val"], strict=True):
        shown = printable(name)
        if train == 0:
            notes.append(f"no training image of class '{shown}': it cannot be learned; add some, or take it out")
        elif train == 1:
            notes.append(f"one training image of class '{shown}': it can hardly be learned; add some")
        if train and val == 0:
            notes.append(f"no validation image of class '{shown}': how well it is learned will not be measured")
    return notes


def _description(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    value = read_json(path)
    classes = value.get("classes", [])
    texts = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
    if not texts or len(set(classes)) < len(classes):
        raise LLMBoostError(f'{path}: "classes" must list the names of the classes, none twice')
    for key in ("name", "positive", "modality", "licence", "license", "reference"):
        if not isinstance(value.get(key, ""), str):
            raise LLMBoostError(f'{path}: "{key}" must be text')
    if not isinstance(value.get("ordinal", False), bool):
        raise LLMBoostError(f'{path}: "ordinal" is true or false')
    return value


def _natural(name: str) -> list[Any]:
    """Sorts "2" before "10"."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)]
