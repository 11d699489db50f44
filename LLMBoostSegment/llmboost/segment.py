"""Segmenting one case: from images as they are stored to a label map on the very same grid.

All classes' probabilities exist for a slab of the volume at a time, so that memory grows with the image's voxels, but
not with the number of labels.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import floor

import numpy as np
import torch
from scipy import ndimage

from .errors import LLMBoostError
from .image import Image, resample
from .model import Model
from .predict import probability_slabs
from .preprocessing import orient, preprocess
from .roi import Roi

# an image that extends this many times further than the model's window is hardly the kind it was trained on
EXTENT_FACTOR = 2.5
# larger maps lie in a temporary file
MAPS_IN_MEMORY = 2**28


@dataclass(frozen=True)
class Segmentation:
    """What was found in a case, all on the grid of its first channel.

    Attributes:
        labelmap: label values, unsigned integers [i, j, k]; 0 is background.
        volumes_ml: millilitres of each label, by name.
        probabilities: [c, i, j, k] float32, background first; on request.
        entropy: [i, j, k] float32 in [0, 1], how undecided the network is at each voxel; on request.
        warnings: what a user should know before believing the result.
    """

    labelmap: Image
    volumes_ml: dict[str, float]
    seconds: float
    warnings: tuple[str, ...] = ()
    probabilities: Image | None = None
    entropy: Image | None = None


def segment(
    model: Model,
    channels: Sequence[Image],
    *,
    roi: Roi | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    entropy: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Segmentation:
    """Segment a case.

    Probabilities, not labels, are brought back to the input's grid, so that borders stay smooth at any spacing.

    Args:
        model: a segmentation model.
        channels: one image a channel, on any grid.
        roi: limits the computation to the voxels of the first channel whose centers it holds; the network sees nothing
            else, and all others are background. By default, the whole image.
        mirror: average with what the network says of the mirrored image, where the card allows it: twice the time.
        probabilities, entropy: also give these maps.
        progress: called with the fraction done.
        cancelled: asked before each window.

    Raises:
        LLMBoostError: another number of images than the model has channels, one slice for a model of volumes, or a
            region of interest outside the image.
        Cancelled: ``cancelled`` answered True.
    """
    started = time.monotonic()
    _check(model, channels)
    card, steps, whole = model.card, model.card.preprocessing, channels[0]
    first = roi.crop(whole) if roi else whole
    inside = roi.bounds(whole) if roi else np.s_[:, :, :]
    work = preprocess([first, *channels[1:]], steps)

    indices = np.zeros(whole.shape, np.uint8 if card.classes <= 256 else np.uint16)
    chances = _maps((card.classes, *whole.shape)) if probabilities else None
    doubts = _maps((1, *whole.shape))[0] if entropy else None
    if chances is not None:
        chances[0] = 1  # what the region of interest leaves out is background

    def view(array: np.ndarray) -> np.ndarray:
        """The computed part of a map on the input's grid, along the network's axes."""
        return orient(first.with_array(array[inside]), steps).array

    notices: dict[str, None] = {}
    axis = int(np.argmax(np.array(work.shape) / steps.window))
    slabs = probability_slabs(
        model.network,
        torch.from_numpy(work.array),
        steps.window,
        axis=axis,
        mirror=steps.mirror if mirror else (),
        progress=progress,
        cancelled=cancelled,
        notice=lambda text: notices.setdefault(text),
    )
    for planes, slab, part in _on_grid(slabs, work, orient(first, steps), axis):
        here = tuple(planes if n == axis else slice(None) for n in range(3))
        best, doubt = np.zeros(part.shape, np.float32), np.zeros(part.shape, np.float32)
        winner = np.zeros(part.shape, indices.dtype)
        for n in range(card.classes):
            p = resample(slab.with_array(slab.array[n]), part, "linear").array
            better = p > best
            best[better], winner[better] = p[better], n
            if doubts is not None:
                doubt += surprise(p)
            if chances is not None:
                view(chances[n])[here] = p
        view(indices)[here] = winner
        if doubts is not None:
            view(doubts)[here] = np.clip(doubt / np.log(card.classes), 0, 1)
    if roi:
        indices[inside] *= roi.contains(first)
    if card.largest_component:
        indices = largest_component(indices)

    counts = np.zeros(card.classes, int)
    for plane in indices:  # bincount takes eight bytes a voxel
        counts += np.bincount(plane.ravel(), minlength=card.classes)
    voxel_ml = float(np.prod(whole.spacing) * abs(np.linalg.det(whole.direction))) / 1000
    values = np.array([0, *(label.value for label in card.labels)])
    return Segmentation(
        labelmap=whole.with_array(values.astype(np.uint8 if values.max() < 256 else np.uint16)[indices]),
        volumes_ml={label.name: float(counts[n + 1] * voxel_ml) for n, label in enumerate(card.labels)},
        seconds=time.monotonic() - started,
        warnings=(*notices, *_warnings(model, first, counts)),
        probabilities=None if chances is None else whole.with_array(chances),
        entropy=None if doubts is None else whole.with_array(doubts),
    )


def _check(model: Model, channels: Sequence[Image]) -> None:
    steps = model.card.preprocessing
    if len(channels) != steps.channels:
        raise LLMBoostError(f"model '{model.card.name}' takes {steps.channels} image(s) a case, {len(channels)} given")
    if steps.slice_axis is None and min(channels[0].shape) == 1:
        size = " x ".join(f"{n * mm:.0f}" for n, mm in zip(steps.window, steps.spacing, strict=True))
        raise LLMBoostError(
            f"a single slice, but model '{model.card.name}' needs a volume (about {size} mm);"
            " give the whole series, or choose a 2D model"
        )


def _on_grid(
    slabs: Iterator[torch.Tensor], work: Image, target: Image, axis: int
) -> Iterator[tuple[slice, Image, Image]]:
    """Sort the network's slabs (classes, R, A, S) into pieces of ``target``, whose axes are those of ``work``.

    Yields:
        planes of ``target`` along ``axis``, the slab that surrounds them on the network's grid, and their own grid.
    """
    to_work = np.linalg.solve(work.affine, target.affine)
    first, step = float(to_work[axis, 3]), float(to_work[axis, axis])
    slab, start, written = np.empty(0, np.float32), 0, 0
    for found in slabs:
        slab = np.concatenate([slab, found.numpy()], axis=axis + 1) if slab.size else found.numpy()
        end = start + slab.shape[axis + 1]
        ready = target.shape[axis]
        if end < work.shape[axis]:  # only what has a neighbor on both sides can be interpolated yet
            ready = min(max(floor((end - 1 - first) / step + 1e-9) + 1, 0), ready)
        if ready > written:
            planes = slice(written, ready)
            yield planes, _planes(work, axis, start, slab), _planes(target, axis, written, ready - written)
            written = ready
        needed = min(max(floor(first + step * written + 1e-9), start), end)
        slab = slab[(slice(None),) * (axis + 1) + (slice(needed - start, None),)].copy()
        start = needed


def _planes(grid: Image, axis: int, start: int, content: np.ndarray | int) -> Image:
    """A part of ``grid`` from plane ``start`` on: with an array [c, i, j, k], or so many planes without content."""
    if isinstance(content, int):
        shape = [content if n == axis else size for n, size in enumerate(grid.shape)]
        content = np.broadcast_to(np.float32(0), shape)
    shift = grid.direction[:, axis] * grid.spacing[axis] * start
    x, y, z = (float(mm) for mm in shift + grid.origin)
    return Image(content, grid.spacing, (x, y, z), grid.direction)


def _maps(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float32; large ones in a file that vanishes with them.

    Raises:
        LLMBoostError: the disk of temporary files is full.
    """
    size = int(np.prod(shape)) * 4
    if size <= MAPS_IN_MEMORY:
        return np.zeros(shape, np.float32)
    try:
        with tempfile.TemporaryFile() as file:  # stays as long as it is mapped
            # written, not just reserved: on a full disk, a mapped hole would end the process
            for done in range(0, size, 2**24):
                file.write(bytes(min(2**24, size - done)))
            file.flush()
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        folder = tempfile.gettempdir()
        raise LLMBoostError(
            f"{folder}: no room for {size / 2**30:.1f} GB of maps ({error.strerror}); free some, or set TMPDIR"
        ) from error


def largest_component(indices: np.ndarray) -> np.ndarray:
    """The label map without all that is not connected (26 neighbours) to its largest piece of foreground."""
    # the box around the foreground: counting pieces takes four bytes a voxel
    box = ndimage.find_objects((indices > 0).view(np.uint8))
    if not box:
        return indices
    part = indices[box[0]]
    pieces, count = ndimage.label(part > 0, structure=np.ones((3, 3, 3)))
    if count < 2:
        return indices
    sizes = np.bincount(pieces.ravel())
    result = np.zeros_like(indices)
    result[box[0]] = part * (pieces == 1 + int(sizes[1:].argmax()))
    return result


def surprise(p: np.ndarray) -> np.ndarray:
    """-p log p, the share of a class in the Shannon entropy."""
    p = np.clip(p, 1e-7, 1.0)
    return -p * np.log(p)


def _warnings(model: Model, image: Image, counts: np.ndarray) -> tuple[str, ...]:
    steps = model.card.preprocessing
    extent = np.sort(np.array(image.shape) * image.spacing)
    window = np.sort(np.array(steps.window) * steps.spacing)
    found = []
    if (extent > EXTENT_FACTOR * window).any():
        size = " x ".join(f"{mm:.0f}" for mm in window)
        found.append(f"the image is much larger than what this model knows (about {size} mm): crop it to the structure")
    missing = [label.name for n, label in enumerate(model.card.labels) if not counts[n + 1]]
    if missing:
        found.append(f"not found: {', '.join(missing)}")
    return tuple(found)
