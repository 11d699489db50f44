"""What a program gives as an image: a path, SimpleITK's image, an array with its place in space, or an Image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import SimpleITK as sitk

from ..card import Card, Preprocessing
from ..errors import LLMBoostError
from ..studies import Selection
from .cases import find_cases
from .image import Image, images_of
from .spaces import UNKNOWN_SIDES

Given: TypeAlias = str | Path | sitk.Image | np.ndarray | Image

_ARRAY, _SITK = Path("array"), Path("SimpleITK image")  # what stands in messages in place of a file
_KINDS = "buif"  # of numbers: bool, unsigned, signed, real


def one_image(
    source: Given,
    spacing: Sequence[float] | None = None,
    origin: Sequence[float] | None = None,
    direction: np.ndarray | Sequence[Sequence[float]] | None = None,
) -> Image:
    """One gray volume or picture; the place in space is that of an array.

    Raises:
        LLMBoostError: as :func:`image_of_array` and :func:`.image.read_image`.
    """
    if isinstance(source, np.ndarray):
        return image_of_array(source, spacing, origin, direction)
    if any(part is not None for part in (spacing, origin, direction)):
        raise LLMBoostError(f"{_called(source)}: tells its own place in space; give spacing and the like with arrays")
    images, notes = _read(source)
    if len(images) > 1:
        raise LLMBoostError(f"{_called(source)}: {len(images)} volumes; split it and give one")
    return replace(images[0], notes=notes)


def channels_of(
    images: Given | Sequence[Given], card: Card, spacing: Sequence[float] | None
) -> tuple[list[Image], tuple[str, ...]]:
    """The channels of a case, and what a user should know of their reading.

    Args:
        images: one, or a list or tuple of them.
        card: of the model that is to take them.
        spacing: of arrays, in mm along i, j, k.

    Raises:
        LLMBoostError: one cannot be read, or an array lacks a spacing that only arrays may have.
    """
    given: Sequence[Given] = images if isinstance(images, (list, tuple)) else [images]  # type: ignore[list-item]
    if spacing is not None and not any(isinstance(one, np.ndarray) for one in given):
        raise LLMBoostError(f"{_called(given[0])}: tells its own spacing; give one with arrays alone")
    channels: list[Image] = []
    notes: dict[str, None] = {}
    for one in given:
        read, told = _read(image_of_array(one, spacing) if isinstance(one, np.ndarray) else one, card)
        channels += read
        notes |= dict.fromkeys(told)
    return channels, tuple(notes)


def image_of_array(
    array: np.ndarray,
    spacing: Sequence[float] | None,
    origin: Sequence[float] | None = None,
    direction: np.ndarray | Sequence[Sequence[float]] | None = None,
) -> Image:
    """One volume of numbers with its place in space, checked as a file is.

    Args:
        array: [i, j, k]; a picture has one voxel along k.
        spacing: in mm along i, j, k.
        origin: of the first voxel's center, LPS in mm; by default 0.
        direction: (3, 3), column a is the unit vector in LPS along array axis a; by default the axes count to the left,
            to the back and up, and as that is not known, no left and right are named in results.

    Raises:
        LLMBoostError: an array of other axes, of no numbers, without voxels or without spacing, or a place that cannot
            be used.
    """
    if array.ndim != 3:
        raise LLMBoostError(
            f"{_ARRAY}: {array.ndim} axes; give three, [i, j, k]: an array a channel, and of a picture of rows and"
            " columns array.T[:, :, None]"
        )
    if array.dtype.kind not in _KINDS or array.dtype.itemsize > 8 or not array.size:
        raise LLMBoostError(f"{_ARRAY}: {array.size} voxels of type {array.dtype}; give numbers of up to 8 bytes")
    if spacing is None:
        raise LLMBoostError(f"{_ARRAY}: does not tell how large its voxels are; give spacing=(i, j, k) in mm")
    try:
        step, start = np.array(spacing, float), np.zeros(3) if origin is None else np.array(origin, float)
        axes = np.eye(3) if direction is None else np.array(direction, float)
        unusable = [part.shape for part in (step, start, axes)] != [(3,), (3,), (3, 3)]
    except (TypeError, ValueError):
        unusable = True
    if unusable or not np.allclose(np.linalg.norm(axes, axis=0), 1):
        raise LLMBoostError(
            f"{_ARRAY}: spacing and origin are three numbers each, direction is (3, 3) with unit vectors as its columns"
        )
    values = array.astype(np.uint8 if array.dtype.kind == "b" else array.dtype.newbyteorder("="), copy=False)
    (image,) = images_of(values[np.newaxis], step, start, axes, _ARRAY, color=False)
    if direction is not None or min(image.shape) == 1:
        return image
    return replace(image, sides_known=False, notes=(UNKNOWN_SIDES.format("an array without a direction"),))


def _read(source: str | Path | sitk.Image | Image, card: Card | None = None) -> tuple[list[Image], tuple[str, ...]]:
    """The volumes of a source as a card's model takes them, and what is told of their reading."""
    preprocessing = card.preprocessing if card else Preprocessing()
    if isinstance(source, Image):
        return [source], source.notes
    if isinstance(source, sitk.Image):
        return _images_of_sitk(source, preprocessing.color), ()
    if not isinstance(source, (str, Path)):
        raise LLMBoostError(f"{type(source).__name__}: is no image; give a path, an array or a SimpleITK image")
    told: list[str] = []
    cases = find_cases([Path(source)], preprocessing, Selection(card), told.append)
    if len(cases) > 1:
        raise LLMBoostError(f"{source}: holds {len(cases)} images; give one, or use `llmboost segment` for many")
    (case,) = cases.values()
    images, notes = case.read(preprocessing)
    (channels,) = images.values()
    return channels, (*told, *notes)


def _images_of_sitk(image: sitk.Image, color: bool) -> list[Image]:
    """The volumes of a SimpleITK image, which lie where it says, or with ``color`` its red, green and blue."""
    image = sitk.JoinSeries([image]) if image.GetDimension() == 2 else image
    n = image.GetDimension()
    values = sitk.GetArrayFromImage(image).transpose()
    values = values if image.GetNumberOfComponentsPerPixel() > 1 else values[np.newaxis]
    spacing, origin = np.array(image.GetSpacing()[:3]), np.array(image.GetOrigin()[:3])
    direction = np.reshape(image.GetDirection(), (n, n))[:3, :3]
    return images_of(values, spacing, origin, direction, _SITK, color)


def _called(source: Given) -> str:
    return str(source) if isinstance(source, (str, Path)) else type(source).__name__
