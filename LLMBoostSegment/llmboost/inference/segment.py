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

from ..card import SEGMENTATION, Card, Label
from ..card.modality import differ
from ..errors import LLMBoostError
from ..io.image import Image, resample
from ..model import Model
from .cascade import localize, look_at
from .predict import probability_slabs
from .preprocessing import orient, preprocess
from .quality import Flag, Tally, flag
from .roi import Roi
from .sides import without_sides
from .subject import another_kind, largest_piece, refusal

# an image that extends this many times further than the model's patch is hardly the kind it was trained on
EXTENT_FACTOR = 2.5
# larger maps lie in a temporary file
MAPS_IN_MEMORY = 2**28


@dataclass(frozen=True)
class Segmentation:
    """What was found in a case, all on the grid of its first channel.

    Attributes:
        labelmap: label values, unsigned integers [i, j, k]; 0 is background.
        labels: what its values mean: the model's labels, or those of each side that the model's cascade looked at; no
            sides, where the image does not tell them.
        volumes_ml: millilitres of each label, by name.
        probabilities: [c, i, j, k] float32 of the model's own classes, background first; on request.
        entropy: [i, j, k] float32 in [0, 1], how undecided the network is at each voxel; on request.
        warnings: what a user should know before believing the result.
        localizer: the card of the model that told where to look, if a cascade was needed.
        quality: how good the segments probably are; None where the card has no numbers for that.
    """

    labelmap: Image
    labels: tuple[Label, ...]
    volumes_ml: dict[str, float]
    seconds: float
    warnings: tuple[str, ...] = ()
    probabilities: Image | None = None
    entropy: Image | None = None
    localizer: Card | None = None
    quality: Flag | None = None

    def merged(self, labels: Sequence[Label]) -> Image:
        """The label map with the values of the model's own ``labels``, both sides alike."""
        values = np.arange(max(label.value for label in self.labels) + 1, dtype=self.labelmap.array.dtype)
        for n, label in enumerate(self.labels[len(labels) :]):
            values[label.value] = labels[n % len(labels)].value
        return self.labelmap.with_array(values[self.labelmap.array])


def segment(
    model: Model,
    channels: Sequence[Image],
    *,
    roi: Roi | None = None,
    mirror: bool = False,
    probabilities: bool = False,
    entropy: bool = False,
    modality: str = "",
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Segmentation:
    """Segment a case: at once, or, if it is larger than the crops that the model knows, by the cascade of its card.

    Probabilities, not labels, are brought back to the input's grid, so that borders stay smooth at any spacing.

    Args:
        model: a segmentation model.
        channels: one image a channel, on any grid.
        roi: limits the computation to the voxels of the first channel whose centers it holds; the network sees nothing
            else, and all others are background. By default, the whole image.
        mirror: average with what the network says of the mirrored image, where the card allows it: twice the time.
        probabilities, entropy: also give these maps.
        modality: of the images, in DICOM's terms, where it is known. A model that looks for a subject, itself or by its
            cascade, does not in images of another modality than its own.
        progress: called with the fraction done.
        cancelled: asked before each patch.

    Raises:
        LLMBoostError: another number of images than the model has channels, one slice for a model of volumes, a region
            of interest outside the image, or a cascade whose localizer is not installed.
        Cancelled: ``cancelled`` answered True.
    """
    started = time.monotonic()
    check(model, channels)
    card, whole = model.card, channels[0]
    first = roi.crop(whole) if roi else whole
    by_cascade = card.needs_cascade([n * mm for n, mm in zip(first.shape, first.spacing, strict=True)])
    labels = card.sided_labels if by_cascade else card.labels
    canvas = _Canvas(
        np.zeros(whole.shape, np.uint8 if len(labels) < 256 else np.uint16),
        _maps((card.classes, *whole.shape)) if probabilities else None,
        _maps((1, *whole.shape))[0] if entropy else None,
        [],
    )
    if canvas.chances is not None:
        canvas.chances[0] = 1  # what is not computed is background
    part = canvas.see(lambda array: array[(..., *roi.bounds(whole))]) if roi else canvas
    kind = another_kind(card, first.array, modality)
    foreign = differ(modality, card.modality) and (by_cascade or card.subject is not None)
    if foreign:
        notes = [f"{kind}: nothing was segmented"]
    elif by_cascade:
        notes = _draw_by_cascade(model, [first, *channels[1:]], part, roi, mirror, progress, cancelled)
    else:
        notes = _draw(model, [first, *channels[1:]], part, mirror, progress, cancelled)
        notes += [f"{kind}: check the segments closely"] if kind and card.subject is None else []
        notes += _too_large(card, first)
        _trim(part.indices, first, roi, card)

    if not whole.sides_known:
        merged, places = without_sides(card.labels)
        _merge(canvas, [places[n % len(places)] for n in range(len(labels))])
        labels = merged
    counts = np.zeros(len(labels) + 1, int)
    for plane in canvas.indices:  # bincount takes eight bytes a voxel
        counts += np.bincount(plane.ravel(), minlength=len(counts))
    voxel_ml = float(np.prod(whole.spacing) * abs(np.linalg.det(whole.direction))) / 1000
    values = np.array([0, *(label.value for label in labels)])
    volumes_ml = {label.name: float(counts[n + 1] * voxel_ml) for n, label in enumerate(labels)}
    missing = [name for name, ml in volumes_ml.items() if not ml]
    return Segmentation(
        labelmap=whole.with_array(values.astype(np.uint8 if values.max() < 256 else np.uint16)[canvas.indices]),
        labels=labels,
        volumes_ml=volumes_ml,
        seconds=time.monotonic() - started,
        warnings=(
            *([card.doubts] if card.doubts else []),
            *notes,
            *([f"not found: {', '.join(missing)}"] if missing else []),
        ),
        probabilities=None if canvas.chances is None else whole.with_array(canvas.chances),
        entropy=None if canvas.doubts is None else whole.with_array(canvas.doubts),
        localizer=model.localizer.card if by_cascade and not foreign else None,
        quality=_flag(card, canvas.tallies, larger=by_cascade or roi is not None),
    )


def _flag(card: Card, tallies: Sequence[Tally], larger: bool) -> Flag | None:
    """How good the segments probably are: in a crop, or in what was looked at of a larger image."""
    quality = card.cascade.quality if larger and card.cascade and card.cascade.quality else card.quality
    # an adapted model is sure in its own way
    return flag(quality, tallies) if quality and not card.adapter else None


@dataclass(frozen=True)
class _Canvas:
    """What is drawn, on the grid of an image: class indices and entropy [i, j, k], probabilities [c, i, j, k].

    ``tallies`` gets one of each part that is drawn.
    """

    indices: np.ndarray
    chances: np.ndarray | None
    doubts: np.ndarray | None
    tallies: list[Tally]

    def see(self, view: Callable[[np.ndarray], np.ndarray]) -> _Canvas:
        """The same arrays, each through a function that gives views."""
        chances, doubts = (None if array is None else view(array) for array in (self.chances, self.doubts))
        return _Canvas(view(self.indices), chances, doubts, self.tallies)

    def clear(self) -> None:
        """As if nothing had been drawn."""
        self.indices[...] = 0
        if self.chances is not None:
            self.chances[...], self.chances[0] = 0, 1
        if self.doubts is not None:
            self.doubts[...] = 0
        self.tallies.clear()


def _draw(
    model: Model,
    channels: Sequence[Image],
    canvas: _Canvas,
    mirror: bool,
    progress: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> list[str]:
    """Draw what the model says of an image, all of it, if that shows its subject; gives what a user should know."""
    card, preprocessing, first = model.card, model.card.preprocessing, channels[0]
    work = preprocess(channels, preprocessing)
    axis = int(np.argmax(np.array(work.shape) / preprocessing.patch_size))
    notices: dict[str, None] = {}
    slabs = probability_slabs(
        model.network,
        torch.from_numpy(work.array),
        preprocessing.patch_size,
        axis=axis,
        mirror=preprocessing.mirror if mirror else (),
        progress=progress,
        cancelled=cancelled,
        notice=lambda text: notices.setdefault(text),
    )
    found: list[np.ndarray] = []
    if card.subject is not None:
        slabs = _noted(slabs, found)
    view = canvas.see(lambda array: orient(first.with_array(array), preprocessing).array)
    tally = Tally(card.classes)
    canvas.tallies.append(tally)
    for planes, slab, part in _on_grid(slabs, work, orient(first, preprocessing), axis):
        here = tuple(planes if n == axis else slice(None) for n in range(3))
        best, doubt = np.zeros(part.shape, np.float32), np.zeros(part.shape, np.float32)
        winner = np.zeros(part.shape, canvas.indices.dtype)
        for n in range(card.classes):
            p = resample(slab.with_array(slab.array[n]), part, "linear").array
            better = p > best
            best[better], winner[better] = p[better], n
            tally.add_class(n, p)
            if view.doubts is not None:
                doubt += entropy_term(p)
            if view.chances is not None:
                view.chances[n][here] = p
        view.indices[here] = winner
        tally.add_winners(winner, best)
        if view.doubts is not None:
            view.doubts[here] = np.clip(doubt / np.log(card.classes), 0, 1)
    if found and (told := refusal(card, np.concatenate(found, axis=axis), work, first)):
        canvas.clear()
        return [*told, *notices]
    return list(notices)


def _noted(slabs: Iterator[torch.Tensor], found: list[np.ndarray]) -> Iterator[torch.Tensor]:
    """The slabs, of which the class of each voxel is kept."""
    for slab in slabs:
        found.append(slab.argmax(dim=0).to(torch.int16).numpy())
        yield slab


def _draw_by_cascade(
    model: Model,
    channels: Sequence[Image],
    canvas: _Canvas,
    roi: Roi | None,
    mirror: bool,
    progress: Callable[[float], None],
    cancelled: Callable[[], bool],
) -> list[str]:
    """Find the targets of the card's cascade, and draw what the model says of a crop around each."""
    card, first = model.card, channels[0]
    assert card.cascade is not None
    targets = card.cascade.targets
    stages = 1 + len(targets)
    boxes, notes = localize(model, first, progress=lambda done: progress(done / stages), cancelled=cancelled)
    notices = dict.fromkeys(notes)
    for n, target in enumerate(targets):
        if target not in boxes:
            continue
        look = look_at(channels, boxes[target], target)
        part = canvas.see(lambda array, inside=look.inside: array[(..., *inside)])  # type: ignore[misc]
        own = _Canvas(np.zeros_like(part.indices), part.chances, part.doubts, part.tallies)
        notices |= dict.fromkeys(
            _draw(
                model,
                look.channels,
                own.see(look.see),
                mirror,
                lambda done, n=n: progress((n + 1 + done) / stages),  # type: ignore[misc]
                cancelled,
            )
        )
        _trim(own.indices, look.crop, roi, card)
        new = (own.indices > 0) & (part.indices == 0)
        part.indices[new] = own.indices[new] + n * len(card.labels)
    progress(1.0)
    return list(notices)


def check(model: Model, channels: Sequence[Image]) -> None:
    preprocessing = model.card.preprocessing
    if model.card.task != SEGMENTATION:
        raise LLMBoostError(f"model '{model.card.name}' classifies; use a segmentation model")
    if len(channels) != preprocessing.channels:
        raise LLMBoostError(
            f"model '{model.card.name}' takes {preprocessing.channels} image(s) a case, {len(channels)} given"
        )
    if preprocessing.slice_axis is None and min(channels[0].shape) == 1:
        size = " x ".join(
            f"{n * mm:.0f}" for n, mm in zip(preprocessing.patch_size, preprocessing.spacing, strict=True)
        )
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


def _merge(canvas: _Canvas, places: Sequence[int]) -> None:
    """Draw each label as the one at its place; the probability of those that become one is that of any of them."""
    numbers = np.array([0, *(place + 1 for place in places)])
    for plane in canvas.indices:  # one at a time: memory stays bounded
        plane[...] = numbers[plane]
    if canvas.chances is None or len(canvas.chances) != len(numbers):  # a cascade's model knows no sides
        return
    for place in set(places):
        classes = [n + 1 for n, other in enumerate(places) if other == place]
        if len(classes) > 1:
            canvas.chances[classes] = canvas.chances[classes].sum(axis=0)


def _trim(indices: np.ndarray, image: Image, roi: Roi | None, card: Card) -> None:
    """Make background of what was drawn outside the region of interest, and of what the card counts for an error."""
    if roi:
        indices *= roi.contains(image)
    if card.largest_component:
        indices[...] = largest_component(indices)


def largest_component(indices: np.ndarray) -> np.ndarray:
    """The label map without all that is not connected (26 neighbors) to its largest piece of foreground."""
    # the box around the foreground: counting pieces takes four bytes a voxel
    box = ndimage.find_objects((indices > 0).view(np.uint8))
    if not box:
        return indices
    part = indices[box[0]]
    result = np.zeros_like(indices)
    result[box[0]] = part * largest_piece(part > 0, np.ones((3, 3, 3)))
    return result


def entropy_term(p: np.ndarray) -> np.ndarray:
    """-p log p, the share of a class in the Shannon entropy."""
    p = np.clip(p, 1e-7, 1.0)
    return -p * np.log(p)


def _too_large(card: Card, image: Image) -> list[str]:
    preprocessing = card.preprocessing
    extent = np.sort(np.array(image.shape) * image.spacing)
    patch_size = np.sort(np.array(preprocessing.patch_size) * preprocessing.spacing)
    if not (extent > EXTENT_FACTOR * patch_size).any():
        return []
    size = " x ".join(f"{mm:.0f}" for mm in patch_size)
    return [f"the image is much larger than what this model knows (about {size} mm): crop it to the structure"]
