"""Strokes in files, and which file is an image's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..card import PALETTE, Card, Label, label_codes, label_of, normalized
from ..errors import LLMBoostError
from ..files import printable
from ..io.case import InputCase
from ..io.image import VOLUMES, Image, read_image
from ..io.labels import BACKGROUND as BACKGROUND_NAME
from ..io.labels import NEAR, listed, on_grid, whole_numbers
from ..io.segnrrd import EXTENSION, read_segments
from ..messages.strokes import BACKGROUND

IN_LABEL_MAPS = 255  # what is background there, as label maps often have 8 bits
_HINT = f"paint in a .seg.nrrd, with a segment named {BACKGROUND_NAME}"


def strokes_file(given: Path, case: InputCase) -> Path:
    """The file with a case's strokes: ``given``, or in that folder the one that is named as the case.

    Raises:
        LLMBoostError: there are none, or several.
    """
    if not given.is_dir():
        return given
    images = [os.path.realpath(path) for path in case.files]
    found = [given / f"{case.id}{end}" for end in dict.fromkeys((EXTENSION, *VOLUMES))]
    found = [path for path in found if path.exists() and os.path.realpath(path) not in images]
    if len(found) == 1:
        return found[0]
    there = " and ".join(path.name for path in found) or f"no {case.id}{EXTENSION} or {case.id}.nii.gz"
    raise LLMBoostError(f"{case.names[0]}: its strokes are one file of its name, but in {given} there is {there}")


def read_strokes(path: Path, image: Image, card: Card | None = None) -> tuple[np.ndarray, tuple[Label, ...]]:
    """What was painted of an image: a label map with 0 where nothing was, 1 to 254 the labels, 255 background; or a
    segmentation of Slicer's, of any values, whose segment named background is that.

    Args:
        card: of a model that is to know what is painted. The values become those of its labels: by the segments' names
            or SNOMED codes, of a label map by value.

    Returns:
        the strokes, uint16 [i, j, k] on the image's grid, see :class:`.strokes.Strokes`, and what their values mean:
        the labels that were painted, and those of the file's besides that the model knows.

    Raises:
        LLMBoostError: the file cannot be read, lies on another grid, holds other values or no label, or the model does
            not know one.
    """
    is_segmentation = path.name.lower().endswith(EXTENSION)
    stored, segments = read_segments(path) if is_segmentation else (read_image(path), None)
    strokes, far = on_grid(stored.with_array(whole_numbers(path, stored.array)), image, cropped=is_segmentation)
    if far > NEAR:
        raise LLMBoostError(f"{path}: lies on another grid than the image; paint on the image's own")
    painted = [int(value) for value in np.unique(strokes.array) if value]
    meant = _numbered(path, painted, card) if segments is None else _unmistakable(path, painted, segments)
    table = np.zeros(max(painted, default=0) + 1, np.uint16)
    can_be = [label for label in card.labels if label.value != BACKGROUND] if card else []
    labels: dict[int, Label] = {}
    for label in meant:
        if normalized(label.name) == BACKGROUND_NAME:
            value = BACKGROUND
        elif card is not None:
            known = label_of(label.name, label_codes(label), can_be)
            if known is None and label.value in painted:
                raise LLMBoostError(f"{path}: model '{card.name}' does not know '{printable(label.name)}'")
            value = known.value if known else 0
        else:
            value = label.value if label.value in painted else 0
        if value not in (0, BACKGROUND):
            labels.setdefault(value, replace(label, value=value))
        if label.value in painted:
            table[label.value] = value
    if not set(labels) & set(table.tolist()):
        raise LLMBoostError(f"{path}: no label is painted; paint a stroke in what is to be segmented")
    return table[strokes.array], tuple(labels.values())


def _numbered(path: Path, painted: Sequence[int], card: Card | None) -> list[Label]:
    """What the values of a label map mean."""
    if wrong := [value for value in painted if not 0 < value <= IN_LABEL_MAPS]:
        raise LLMBoostError(
            f"{path}: value(s) {listed(wrong)} are none of strokes' in a label map (0 nothing painted, 1 to"
            f" {IN_LABEL_MAPS - 1} labels, {IN_LABEL_MAPS} background); {_HINT}"
        )
    known = {label.value: label for label in card.labels} if card else {}
    if card and IN_LABEL_MAPS in painted and IN_LABEL_MAPS in known:
        raise LLMBoostError(
            f"{path}: {IN_LABEL_MAPS} is background in a label map, and '{printable(known[IN_LABEL_MAPS].name)}' of"
            f" model '{card.name}'; {_HINT}"
        )
    names = {IN_LABEL_MAPS: BACKGROUND_NAME}
    return [known.get(value) or Label(value, names.get(value, f"label {value}"), _color(value)) for value in painted]


def _unmistakable(path: Path, painted: Sequence[int], segments: Sequence[Label]) -> Sequence[Label]:
    """The segments, if each painted value is one's."""
    for value in painted:
        names = [segment.name for segment in segments if segment.value == value]
        if len(names) != 1 or not 0 < value < BACKGROUND:
            reason = f"is that of {len(names)} segments" if len(names) != 1 else f"is none from 1 to {BACKGROUND - 1}"
            raise LLMBoostError(f"{path}: the value {value} {reason}; save it again in Slicer")
    return segments


def _color(value: int) -> tuple[int, int, int]:
    return PALETTE[(value - 1) % len(PALETTE)]
