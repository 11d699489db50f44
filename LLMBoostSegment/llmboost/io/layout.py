"""Folders of images and of their masks, which look like folders of two classes and are not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import permutations
from pathlib import Path

import numpy as np

from ..errors import LLMBoostError
from ..files import printable

IMAGES = {
    *("image", "images", "img", "imgs", "jpegimages", "input", "inputs", "scan", "scans", "photo", "photos", "picture"),
    *("pictures", "leftimg8bit", "raw", "frames"),
}
MASKS = {
    *(
        "mask",
        "masks",
        "label",
        "labels",
        "labelmap",
        "labelmaps",
        "annotation",
        "annotations",
        "annot",
        "gt",
        "gtfine",
    ),
    *("groundtruth", "groundtruths", "seg", "segs", "segmentation", "segmentations", "segmentationclass"),
    *(
        "gtfine",
        "target",
        "targets",
        "output",
        "outputs",
        "contour",
        "contours",
        "maskimages",
        "labelimages",
        "imagemasks",
    ),
    "binarymasks",
}
SPLIT = re.compile("^(train|val|test)|(tr|ts|train|val|test)$")
MASK_ENDING = re.compile(r"[ _.-]*(masks?|labels?|seg|segmentation|gt|annotation)([ _.-]?\d+)?$", re.IGNORECASE)
LOOKED_AT = 5  # files of a folder
FEW = 16  # different values: a mask's, not an image's
ALIKE = 0.9  # the share of files that have a namesake


def check_names(path: Path, folders: Sequence[str]) -> None:
    """Raises LLMBoostError if one folder is called as images are, and another as their masks are."""
    words = {name: re.sub(r"[\W_]+", "", name.casefold()) for name in folders}
    names = {SPLIT.sub("", word) or word: name for name, word in words.items()}
    images = [name for word, name in names.items() if word in IMAGES]
    masks = [name for word, name in names.items() if word in MASKS]
    if images and masks:
        raise _refusal(path, images[0], masks[0])


def check_files(path: Path, classes: Mapping[str, Sequence[Path]], values: Callable[[Path], np.ndarray]) -> None:
    """Raises LLMBoostError if a class's files are the masks of its own images or of another class's.

    Args:
        classes: files by class.
        values: reads a file's pixels; raises LLMBoostError if it cannot.
    """
    stems = {name: {_stem(file): file for file in files} for name, files in classes.items()}
    for name, known in stems.items():
        for stem, file in known.items():
            if (other := known.get(MASK_ENDING.sub("", stem))) and other != file:
                raise LLMBoostError(
                    f"{path}: in '{printable(name)}', {printable(file.name)} is the mask of {printable(other.name)};"
                    " take masks out to classify; to segment, " + _how()
                )
    for image, mask in permutations(stems, 2):
        names = {MASK_ENDING.sub("", stem) or stem for stem in stems[mask]}
        shared = sorted(names & stems[image].keys())
        if len(shared) < 2 or len(shared) < ALIKE * max(len(names), len(stems[image])):
            continue
        if _few(classes[mask], values) and not _few(classes[image], values):
            raise _refusal(path, image, mask)


def _few(files: Sequence[Path], values: Callable[[Path], np.ndarray]) -> bool:
    """Whether each of some files has few different values."""
    step = max(1, len(files) // LOOKED_AT)
    try:
        return all(len(np.unique(values(file))) <= FEW for file in files[::step][:LOOKED_AT])
    except LLMBoostError:
        return False


def _stem(file: Path) -> str:
    return file.name.split(".")[0] if file.name.lower().endswith(".nii.gz") else file.stem


def _how() -> str:
    return "put images into imagesTr and label maps into labelsTr (.nii.gz or .nrrd), with dataset.json"


def _refusal(path: Path, image: str, mask: str) -> LLMBoostError:
    return LLMBoostError(
        f"{path}: '{printable(image)}' and '{printable(mask)}' are images and their masks, not two classes; to segment,"
        f" {_how()}; to classify, give a folder for each class"
    )
