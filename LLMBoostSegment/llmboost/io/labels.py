"""Labels of a data set: what dataset.json says of them, and the label maps that hold them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..card import CONTROL, MAX_LABEL, same_name
from ..errors import LLMBoostError
from ..files import printable
from .image import Image, read_image, resample, to_canonical
from .segnrrd import EXTENSION, read_segmentation

IGNORE, BACKGROUND = "ignore", "background"
NEAR = 0.1  # voxels: a label map that lies no further off its image was drawn on it
EXACT = 1e-3  # voxels: what rounding in headers explains
WHOLE = 1e-3  # a stored value that is no further from a whole number is that number

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_DIGITS = re.compile("[0-9]{1,12}")


def parse_labels(path: Path, entries: Any) -> dict[int, str]:
    """Values to names, of either dialect: {"1": "liver"} (Decathlon) or {"liver": 1} (nnU-Net v2). Where nnU-Net's
    overlapping regions are told ({"tumor": [1, 2], "core": [2]}), each value is called by what alone it stands for
    ("tumor outside core").

    Raises:
        LLMBoostError: naming all that is wrong, a line each.
    """
    example = '{"0": "background", "1": "liver"}'
    if not isinstance(entries, dict):
        raise LLMBoostError(f'{path}: "labels" must map values to names, such as {example}')
    if parse_regions(path, entries):
        entries = {str(value): name for value, name in _apart(entries).items()}
    decathlon = all(_NUMBER.fullmatch(key) for key in entries)
    pairs = [(key, value) if decathlon else (value, key) for key, value in entries.items()]
    labels: dict[int, str] = {}
    problems = []
    for told, name in pairs:
        told = told[0] if isinstance(told, list) else told
        value = _value(told)
        shown = printable(f"label {json.dumps(told)} ({name})")
        if value is None:
            problems.append(f"{shown}: a value is a whole number from 0 to {MAX_LABEL}, in digits")
        elif not isinstance(name, str) or not name.strip() or CONTROL.search(name):
            problems.append(f"{shown}: a name is text, in one line")
        elif value in labels:
            problems.append(f"two labels have the same value {value}; give each its own")
        elif value and same_name(name) == BACKGROUND:
            problems.append(f"{shown}: the background has the value 0; give it that, and the label there another")
        else:
            labels[value] = name
    if not problems and not any(value and same_name(name) != IGNORE for value, name in labels.items()):
        problems.append("no labels but background; name what is to be segmented")
    if len(problems) == 1:
        raise LLMBoostError(f"{path}: {problems[0]}")
    if problems:
        raise LLMBoostError("\n  ".join([f"{path}: {len(problems)} problem(s), mend them before training:", *problems]))
    return labels


def _value(told: Any) -> int | None:
    if isinstance(told, str):
        told = int(told) if _DIGITS.fullmatch(told) else None
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    return told if type(told) is int and 0 <= told <= MAX_LABEL else None


def parse_regions(path: Path, entries: Mapping[str, Any]) -> dict[str, frozenset[int]]:
    """The values of each of nnU-Net's regions by name, if there is one of several values; labels of a single value are
    then regions, too.

    Raises:
        LLMBoostError: a value is no whole number above 0.
    """
    if not any(isinstance(value, list) and len(value) != 1 for value in entries.values()):
        return {}
    regions = {}
    for name, told in entries.items():
        if same_name(name) in (BACKGROUND, IGNORE):
            continue
        values = [_value(value) for value in (told if isinstance(told, list) else [told])]
        if not values or None in values or 0 in values:
            raise LLMBoostError(
                f"{path}: region {printable(name)}: {printable(json.dumps(told))} are no values of a label map, whole"
                f" numbers from 1 to {MAX_LABEL}"
            )
        regions[name] = frozenset(value for value in values if value is not None)
    return regions


def _apart(entries: Mapping[str, Any]) -> dict[int, str]:
    """A name for each single value of regions: that of the smallest one around it, less those within that one."""
    simple = {name: value for name, value in entries.items() if not isinstance(value, list) or len(value) == 1}
    names = {value[0] if isinstance(value, list) else value: name for name, value in simple.items()}
    regions = {name: frozenset(told) for name, told in entries.items() if name not in simple}
    every = {**regions, **{name: frozenset([value]) for value, name in names.items() if value}}
    for value in sorted(frozenset().union(*regions.values()) - names.keys()):
        around = min((name for name in regions if value in regions[name]), key=lambda name: len(regions[name]))
        inner = {name: values for name, values in every.items() if values < regions[around] and value not in values}
        outer = [name for name, values in inner.items() if not any(values < more for more in inner.values())]
        alone = len(regions[around].difference(*inner.values())) == 1
        names[value] = (f"{around} outside {', '.join(outer)}" if outer else around) + ("" if alone else f" {value}")
    return names


def doubled(labels: Mapping[int, str]) -> list[str]:
    """A sentence for each two values that are called the same."""
    values: dict[str, int] = {}
    found = []
    for value, name in labels.items():
        other = values.setdefault(same_name(name), value)
        if other != value:
            found.append(
                f"values {other} and {value} are both called '{printable(name)}'; give each label its own name"
            )
    return found


def exchanged(theirs: Mapping[int, str], own: Mapping[int, str]) -> str:
    """What is wrong where ``theirs`` call a value as ``own`` call another one; or empty."""
    values = {same_name(name): value for value, name in own.items()}
    for value, name in theirs.items():
        other = values.get(same_name(name), value)
        if other != value:
            return f"value {value} is '{printable(name)}' here, where value {other} should be"
    return ""


def read_label_map(path: Path, image: Image | None, names: Mapping[int, str]) -> tuple[Image, float]:
    """A label map of whole numbers, and how far it lies off the grid of ``image``, in voxels.

    If that is no more than :data:`NEAR`, it is given on that very grid: its axes in the same order, and, of Slicer's
    segmentation files, which keep the part around the segments alone, with background around it.

    Args:
        names: of the data set's labels, by value: a segmentation file names its segments, too.

    Raises:
        LLMBoostError: it cannot be read, holds values that are no labels, or its segments are others than ``names``.
    """
    if path.name.lower().endswith(EXTENSION):
        stored, segments = read_segmentation(path)
        if wrong := exchanged(dict(segments), names):
            raise LLMBoostError(f"{path}: {wrong}; number the segments as dataset.json does")
    else:
        stored, segments = read_image(path), []
    label = stored.with_array(whole_numbers(path, stored.array))
    if image is None:
        return label, 0.0
    return on_grid(label, image, cropped=bool(path.name.lower().endswith(EXTENSION)))


def on_grid(label: Image, image: Image, *, cropped: bool) -> tuple[Image, float]:
    """A label map on the very grid of ``image``, if it lies no further off than :data:`NEAR`, and how far, in voxels.

    Args:
        cropped: it may hold a part alone, with background around it.
    """
    far = _distance(label, image, cropped)
    if far <= NEAR and not image.same_grid(label, EXACT):
        label = resample(label, image, "nearest", fill=0.0 if cropped else None)
    return label, far


def whole_numbers(path: Path, values: np.ndarray) -> np.ndarray:
    """Values as whole numbers; those of whole numbers as they are. Raises LLMBoostError of others."""
    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    wrong = (np.abs(values - whole) > WHOLE) | (np.abs(whole) > 2**31 - 1)
    if wrong.any():
        raise LLMBoostError(
            f"{path}: value(s) {listed(np.unique(values[wrong]))} are not among the labels (whole numbers from 0 to"
            f" {MAX_LABEL})"
        )
    return whole.astype(np.int32)


def listed(values: Iterable[float]) -> str:
    """The first five values, in words."""
    values = list(values)
    more = f" and {len(values) - 5} more" if len(values) > 5 else ""
    return ", ".join(f"{value:g}" for value in values[:5]) + more


def _distance(label: Image, image: Image, cropped: bool) -> float:
    """How far the voxels of ``label`` lie from those of ``image``, at most, in voxels of it; infinite if it has others,
    or, where it may be ``cropped``, some outside of it."""
    one, other = to_canonical(image), to_canonical(label)
    if not cropped or one.shape == other.shape:
        return one.grid_distance(other)
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    corners[:, :3] *= np.array(other.shape) - 1
    places = np.linalg.solve(one.affine, other.affine @ corners.T).T[:, :3]
    nearest = np.rint(places)
    inside = (nearest >= 0).all() and (nearest < one.shape).all()
    steps = np.ptp(nearest, axis=0) == np.array(other.shape) - 1
    return float(np.abs(places - nearest).max()) if inside and steps.all() else np.inf
