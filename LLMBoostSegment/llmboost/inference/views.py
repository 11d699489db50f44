"""What a model looks at of a case: all of it, a region of interest, a slice, or a crop around each target of a cascade.

Segmenting, classifying and explaining go by the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..card import SEGMENTATION, Card, Label, Target
from ..card.modality import differ
from ..errors import LLMBoostError
from ..io.image import Image, resample, to_canonical
from ..model import Model
from .cascade import localize, localizer
from .preprocessing import orient
from .roi import Roi
from .subject import another_kind
from .watch import UNWATCHED, Watch

Box = tuple[slice, slice, slice]
FINDING = 1 / 3  # the fraction of the work that finding a cascade's views takes


@dataclass(frozen=True)
class View:
    """A case, or a part of it, as a model is to look at it.

    Attributes:
        channels: one image a channel: as they are stored, the first one cropped; of a cascade's target, crops of all
            along canonical axes, mirrored where the target is.
        crop: what of the case's first channel is seen, as it is stored.
        inside: where in that channel it lies.
        target: of the cascade that is seen.
        number: of that target, from 0.
    """

    channels: tuple[Image, ...]
    crop: Image
    inside: Box
    target: Target | None = None
    number: int = 0

    def part(self, array: np.ndarray) -> np.ndarray:
        """A view of what of ``array`` [..., i, j, k], on the grid of the case, lies on that of ``crop``."""
        return array[(..., *self.inside)]

    def turned(self, array: np.ndarray) -> np.ndarray:
        """A view of ``array`` [..., i, j, k], on the grid of ``crop``, as ``channels`` are stored."""
        if self.target is None:
            return array
        array = to_canonical(self.crop.with_array(array)).array
        return array[..., ::-1, :, :] if self.target.mirror else array


@dataclass(frozen=True)
class Views:
    """What a segmenter looks at of a case.

    Attributes:
        case: its first channel.
        views: none, where the case is of another kind or the cascade finds nothing; ``notes`` tell.
        labels: what the model may find: its own labels, or of a cascade those of each target.
        by_cascade: whether the case is larger than the crops that the model knows.
        localizer: the card of the model that told where to look, if one was needed.
    """

    case: Image
    views: tuple[View, ...]
    labels: tuple[Label, ...]
    by_cascade: bool = False
    notes: tuple[str, ...] = ()
    localizer: Card | None = None

    @property
    def done(self) -> float:
        """The fraction of the work that it took to find the views."""
        return FINDING if self.by_cascade else 0.0


def views(model: Model, channels: Sequence[Image], roi: Roi | None = None, watch: Watch = UNWATCHED) -> Views:
    """What a segmenter looks at of a case: all of it at once, or, if it is larger than the crops that the model knows,
    what the cascade of its card finds. In images that are known to be of another kind, a model that looks for a
    subject, itself or by its cascade, does not look.

    Args:
        channels: one image a channel, on any grid.
        roi: the model sees nothing but the voxels of the first channel whose centers lie in it.

    Raises:
        LLMBoostError: another number of images than the model has channels, one slice for a model of volumes, a region
            of interest outside the image, or a cascade whose localizer is not installed.
        Cancelled: whoever waits cancelled.
    """
    check_channels(model, channels)
    card, case = model.card, channels[0]
    whole = _limited(channels, roi)
    extent = [n * mm for n, mm in zip(whole.crop.shape, whole.crop.spacing, strict=True)]
    by_cascade = card.needs_cascade(extent)
    labels = card.sided_labels if by_cascade else card.labels
    if differ(case.modality, card.modality) and (by_cascade or card.subject is not None):
        kind = another_kind(card, whole.crop.array, case.modality)
        return Views(case, (), labels, by_cascade, (f"{kind}: nothing was segmented",))
    if not by_cascade:
        return Views(case, (whole,), labels)
    assert card.cascade is not None
    targets = card.cascade.targets
    boxes, notes = localize(model, whole.crop, watch.part(0, FINDING))
    found = tuple(_around(whole, boxes[target], target, n) for n, target in enumerate(targets) if target in boxes)
    return Views(case, found, labels, by_cascade, notes, localizer(model).card)


def view_of_slices(model: Model, channels: Sequence[Image], roi: Roi | None, slice_number: int | None) -> View:
    """What a classifier looks at.

    Args:
        slice_number: of a 2D model, the one slice, counted along the image's slice axis; None: all.

    Raises:
        LLMBoostError: no such slice, a slice of a model of volumes, or a region of interest outside the image.
    """
    case = channels[0]
    if slice_number is None:
        return _limited(channels, roi)
    axis, one = slice_axis_of(case, model), one_slice(case, model, slice_number)
    view = _limited([one, *channels[1:]], roi)
    i, j, k = (slice(slice_number, slice_number + 1) if n == axis else part for n, part in enumerate(view.inside))
    return replace(view, inside=(i, j, k))


def _limited(channels: Sequence[Image], roi: Roi | None) -> View:
    """All of a case that lies in a region of interest."""
    first = channels[0]
    crop = roi.crop(first) if roi else first
    i, j, k = (slice(0, n) for n in first.shape)
    return View((crop, *channels[1:]), crop, roi.bounds(first) if roi else (i, j, k))


def _around(whole: View, box: Roi, target: Target, number: int) -> View:
    """What lies around a target."""
    first = whole.channels[0]
    crop, inside = box.crop(first), box.bounds(first)
    i, j, k = (slice(a.start + b.start, a.start + b.stop) for a, b in zip(whole.inside, inside, strict=True))
    view, grid = View((), crop, (i, j, k), target, number), to_canonical(crop)
    crops = [crop, *(resample(channel, crop, "linear") for channel in whole.channels[1:])]
    return replace(view, channels=tuple(grid.with_array(view.turned(channel.array)) for channel in crops))


def one_slice(image: Image, model: Model, index: int) -> Image:
    """The slice ``index`` of an image, counted along its slice axis: that of one voxel, of the largest spacing, or the
    one that the model's card names."""
    axis = slice_axis_of(image, model)
    if model.card.preprocessing.slice_axis is None:
        raise LLMBoostError(f"model '{model.card.name}' takes volumes; a slice cannot be chosen")
    if not 0 <= index < image.shape[axis]:
        raise LLMBoostError(f"slice {index}: the image has slices 0 to {image.shape[axis] - 1}")
    place = tuple(np.s_[index : index + 1] if n == axis else np.s_[:] for n in range(3))
    shift = image.direction[:, axis] * image.spacing[axis] * index
    x, y, z = (float(mm) for mm in shift + image.origin)
    return replace(image, array=image.array[(..., *place)], origin=(x, y, z))


def slice_axis_of(image: Image, model: Model) -> int:
    """The axis (i, j, k: 0, 1, 2) of ``image`` that a 2D model takes its slices across."""
    wanted = model.card.preprocessing.slice_axis
    if wanted is None:
        return 2
    across = orient(image, model.card.preprocessing).direction[:, wanted]
    return int(np.abs(across @ image.direction).argmax())


def check_channels(model: Model, channels: Sequence[Image]) -> None:
    """Raises LLMBoostError unless the model is a segmenter that can take the images."""
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
