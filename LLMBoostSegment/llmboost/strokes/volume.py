"""A volume that a user paints in: strokes in, segments out, again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..card import SEGMENTATION, Card
from ..errors import LLMBoostError
from ..inference.roi import Roi
from ..inference.watch import UNWATCHED, Watch
from ..io.image import Image
from ..messages.strokes import BACKGROUND
from ..messages.words import StrokesMethod
from .choose import choose_leak
from .strokes import Box, Strokes, stroked_slices, strokes_of
from .unsure import unsure_places
from .walker import near_labels, walk

if TYPE_CHECKING:  # the walker answers before what models need is imported
    from ..model import Model
    from .teach import Taught

# of strokes left out, by how much more the walker must find to answer in a taught model's place, in the mean over the
# slices, and by how much less it may find in one of them
AHEAD = 0.1
TEACHING = 0.8  # the share of the work that teaching is, where a model answers
MOST_VOXELS = 30_000_000  # in the box: more take minutes, and gigabytes


@dataclass(frozen=True, eq=False)
class Answer:
    """What the strokes lead to, in the box ``box`` of the image's grid.

    Attributes:
        labels: uint8 or uint16 [i, j, k] of the box: the painted labels' values, 0 is background. What was painted is
            kept.
        sure: uint8 [i, j, k] of the box: by how much the likeliest label is ahead of the next one, 255 where it is 1.
        method: what answered.
        model: the card of the model that did.
        teachable: whether a model that the volume was opened for may answer better.
        share: of what the model has learned from the strokes that is used, 0 to 1.
        strokes: how many there were.
        seconds: that it took.
        unsure: continuous indices (i, j, k) in the image of the least sure places, see :func:`.unsure.unsure_places`.
        warnings: what a user should know.
    """

    labels: np.ndarray
    sure: np.ndarray
    box: Box
    method: StrokesMethod
    strokes: int = 0
    seconds: float = 0.0
    unsure: tuple[tuple[float, float, float], ...] = ()
    model: Card | None = None
    teachable: bool = False
    share: float = 0.0
    warnings: tuple[str, ...] = ()


class StrokedVolume:
    """A volume to paint in.

    Args:
        image: one image a channel; strokes lie on the first one's grid.
        card: of a model that may know what is painted, and learn from it.
        device: that the walker computes on.

    Raises:
        LLMBoostError: channels on several grids.
    """

    def __init__(
        self, image: Image | Sequence[Image], card: Card | None = None, device: torch.device | str = "cpu"
    ) -> None:
        channels = [image] if isinstance(image, Image) else list(image)
        if not all(one.same_grid(channels[0]) for one in channels):
            raise LLMBoostError("strokes: all channels must lie on one grid; resample the others first")
        self.image, self.card, self.device = channels[0], card, device
        self._channels = channels
        self._leak, self._slices = 0.0, 1  # chosen by strokes in so many slices
        self._taught: tuple[Taught, int] | None = None  # by how many strokes

    def update(
        self, strokes: np.ndarray, roi: Roi | None = None, model: Model | None = None, watch: Watch = UNWATCHED
    ) -> Answer:
        """Segment from all strokes that there are now.

        Args:
            strokes: uint16 [i, j, k] on the image's grid, see :class:`.strokes.Strokes`.
            roi: the box to segment; by default the strokes' extent and a margin.
            model: of ``card``, to learn from the strokes and to answer; without, the walker does, at once.

        Raises:
            LLMBoostError: strokes on another grid, none of a label in the box, a box that is too large, or a model
                that does not know what is painted.
            Cancelled: whoever waits cancelled; what was reached is not lost.
        """
        started = time.monotonic()
        if strokes.shape != self.image.shape:
            raise LLMBoostError(f"strokes of {strokes.shape} voxels do not fit the image's {self.image.shape}")
        painted = strokes_of(strokes, self.image.spacing)
        box = painted.box() if roi is None else roi.bounds(self.image)
        if model is not None and roi is None:
            box = _wide_enough(box, self.image, model.card)
        painted = painted.within(box)
        if painted.array.size > MOST_VOXELS:
            raise LLMBoostError(
                f"the box around the strokes holds {painted.array.size / 1e6:.0f} million voxels, at most"
                f" {MOST_VOXELS / 1e6:.0f} can be computed; set a region of interest"
            )
        answer = self._by_model(painted, box, model, watch) if model else self._by_walker(painted, box, watch)
        return replace(answer, strokes=painted.count, seconds=time.monotonic() - started)

    def teachable(self, strokes: Strokes) -> bool:
        """Whether the card's model knows all that is painted, and can learn."""
        card = self.card
        return (
            card is not None
            and card.task == SEGMENTATION
            and card.adaptable
            and card.preprocessing.channels == len(self._channels)
            and {label.value for label in card.labels} >= set(strokes.values)
        )

    def keep(self, base: Path, output: Path) -> tuple[Card, tuple[str, ...]]:
        """Write what the last strokes have taught as an adapter of the model at ``base``; see
        :func:`.keeping.keep`."""
        if self._taught is None or not self._taught[0].tensors:
            raise LLMBoostError("the strokes have taught no model: there is nothing to keep")
        from .keeping import keep

        taught, strokes = self._taught
        return keep(taught, self._channels, strokes, base, output)

    def _by_walker(self, painted: Strokes, box: Box, watch: Watch) -> Answer:
        found = self._walk(painted, box, watch)
        labels, sure = _drawn(found.argmax(0), found, [0, *painted.values], painted)
        places = self._unsure(sure, box)
        return Answer(labels, sure, box, StrokesMethod.WALKER, unsure=places, teachable=self.teachable(painted))

    def _by_model(self, painted: Strokes, box: Box, model: Model, watch: Watch) -> Answer:
        if not self.teachable(painted):
            raise LLMBoostError(
                f"model '{model.card.name}' does not know all that is painted, or cannot learn; the walker can draw it"
            )
        from ..inference.segment import segment
        from .teach import teach

        channels = [_part(one, box) for one in self._channels]
        taught = teach(model, channels, painted, watch.part(0, TEACHING))
        self._taught, name, why = None, model.card.name, ""
        if taught is None:
            why = f"'{name}' does not look at such an image, so the walker answers"
        elif self._walks_better(painted, box, taught, watch):
            why = f"the walker finds strokes that are left out better than '{name}' does, so it answers"
        if taught is None or why:
            return replace(self._by_walker(painted, box, watch), warnings=(why,))
        self._taught = taught, painted.count
        found = segment(taught.model, channels, probabilities=True, watch=watch.part(TEACHING, 1))
        assert found.probabilities is not None
        values = [0, *(label.value for label in model.card.labels)]
        labels, sure = _drawn(*_exclusive(found.probabilities.array, model.card), values, painted)
        method = StrokesMethod.TAUGHT if taught.tensors else StrokesMethod.MODEL
        places = self._unsure(sure, box)
        return Answer(
            labels, sure, box, method, unsure=places, model=model.card, share=taught.share, warnings=found.warnings
        )

    def _walks_better(self, painted: Strokes, box: Box, taught: Taught, watch: Watch) -> bool:
        """Whether the walker finds strokes that are left out better than a taught model does. It must not fail in any
        slice: where a model fails in one slice alone, the mean says nothing of the others."""
        gains = []
        for group, found in zip(taught.left_out, taught.found, strict=True):
            gains.append(self._walked(painted, box, group, watch) - found)
            if gains[-1] < -AHEAD:
                return False
        return bool(gains) and float(np.mean(gains)) > AHEAD

    def _walked(self, painted: Strokes, box: Box, group: int, watch: Watch) -> float:
        """The share of a group's voxels that the walker has right without its strokes, the mean over the classes."""
        here, truth = painted.groups == group, np.where(painted.array == BACKGROUND, 0, painted.array)
        others = np.where(here, 0, painted.array)
        if not (others > 0).any() or others[others > 0].min() == BACKGROUND:
            return 0.0  # without a stroke in any structure, it finds none
        known = replace(painted, array=others)
        drawn = np.array([0, *known.values])[self._walk(known, box, watch).argmax(0)]
        shown = np.unique(truth[here])
        return float(np.mean([(drawn == value)[here & (truth == value)].mean() for value in shown]))

    def _unsure(self, sure: np.ndarray, box: Box) -> tuple[tuple[float, float, float], ...]:
        """The least sure places of a box, in the image."""
        i, j, k = (part.start for part in box)
        return tuple((a + i, b + j, c + k) for a, b, c in unsure_places(sure, self.image.spacing))

    def _walk(self, painted: Strokes, box: Box, watch: Watch) -> np.ndarray:
        classes = painted.classes
        if len(painted.values) == 1 and not (classes == 0).any():
            classes = with_faces(classes)
        image = near_labels(np.stack([one.array[box].astype(np.float32) for one in self._channels]), painted.classes)
        slices = len(stroked_slices(painted.classes)[1])
        if slices > self._slices:
            self._leak = choose_leak(image, painted.classes, self.image.spacing, self.device, watch)
            self._slices = slices
        return walk(image, classes, self.image.spacing, self._leak, device=self.device, watch=watch)


def with_faces(classes: np.ndarray) -> np.ndarray:
    """The classes, and background on the box's faces where nothing is painted: all that is known of it, where a user
    painted one segment alone. An axis of one voxel, as of a picture, has no faces."""
    result = classes.copy()
    for axis, size in enumerate(classes.shape):
        for place in (0, -1) if size > 1 else ():
            face = result[(slice(None),) * axis + (place,)]
            face[face < 0] = 0
    return result


def _wide_enough(box: Box, image: Image, card: Card) -> Box:
    """A box of an image, grown to what the model's network looks at at once, as far as the image goes."""
    size = max(n * mm for n, mm in zip(card.preprocessing.patch_size, card.preprocessing.spacing, strict=True))
    grown = []
    for part, mm, count in zip(box, image.spacing, image.shape, strict=True):
        missing = max(int(np.ceil(size / mm)) - (part.stop - part.start), 0)
        start = max(min(part.start - missing // 2, count - (part.stop - part.start) - missing), 0)
        grown.append(slice(start, min(start + part.stop - part.start + missing, count)))
    i, j, k = grown
    return i, j, k


def _part(image: Image, box: Box) -> Image:
    """What of an image lies in a box of its grid."""
    origin = image.affine @ [*(part.start for part in box), 1]
    return image.on_grid(image.array[box], image.spacing, origin[:3], image.direction)


def _exclusive(found: np.ndarray, card: Card) -> tuple[np.ndarray, np.ndarray]:
    """Of a segmentation's probabilities [classes, i, j, k] the class that is drawn, [i, j, k], and how probable each
    class is, as classes that exclude each other."""
    if card.activation == "softmax":
        return found.argmax(0), found
    from ..inference.exclusive import class_probabilities, classes_of

    logits = torch.from_numpy(found[1:]).logit()
    return classes_of(logits, card.activation).numpy(), class_probabilities(logits, card.activation).numpy()


def _drawn(
    classes: np.ndarray, found: np.ndarray, values: Sequence[int], painted: Strokes
) -> tuple[np.ndarray, np.ndarray]:
    """Of classes [i, j, k] and their probabilities [classes, i, j, k] the labels' ``values``, and how sure they are;
    what is painted stays."""
    labels = np.array(values, np.min_scalar_type(max(values)))[classes]
    first, second = found[0], np.zeros_like(found[0])  # of all classes; far faster than sorting them
    for one in found[1:]:
        first, second = np.maximum(first, one), np.maximum(second, np.minimum(first, one))
    sure = np.rint((first - second).clip(0, 1) * 255).astype(np.uint8)
    seen = painted.array > 0
    labels[seen] = np.where(painted.array == BACKGROUND, 0, painted.array)[seen]
    sure[seen] = 255
    return labels, sure
