"""A volume that a user paints in: strokes in, segments out, again and again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..errors import LLMBoostError
from ..inference.roi import Roi
from ..inference.watch import UNWATCHED, Watch
from ..io.image import Image
from ..messages.words import StrokesMethod
from ..model import Model
from .strokes import Box, Strokes, strokes_of
from .unsure import unsure_places
from .walker import walk

MOST_VOXELS = 30_000_000  # in the box: more take minutes, and gigabytes


@dataclass(frozen=True, eq=False)
class Answer:
    """What the strokes lead to, in the box ``box`` of the image's grid.

    Attributes:
        labels: uint8 [i, j, k] of the box: the painted labels' values, 0 is background. What was painted is kept.
        sure: uint8 [i, j, k] of the box: by how much the likeliest label is ahead of the next one, 255 where it is 1.
        method: what answered.
        strokes: how many there were.
        seconds: that it took.
        unsure: continuous indices (i, j, k) in the image of the least sure places, see :func:`.unsure.unsure_places`.
        warnings: what a user should know.
    """

    labels: np.ndarray
    sure: np.ndarray
    box: Box
    method: StrokesMethod
    strokes: int
    seconds: float
    unsure: tuple[tuple[float, float, float], ...] = ()
    warnings: tuple[str, ...] = ()


class StrokedVolume:
    """A volume to paint in.

    Args:
        image: one image a channel; strokes lie on the first one's grid.
        model: that may know what is painted.

    Raises:
        LLMBoostError: channels on several grids.
    """

    def __init__(
        self, image: Image | Sequence[Image], model: Model | None = None, device: torch.device | str = "cpu"
    ) -> None:
        channels = [image] if isinstance(image, Image) else list(image)
        if not all(one.same_grid(channels[0]) for one in channels):
            raise LLMBoostError("strokes: all channels must lie on one grid; resample the others first")
        self.image, self.model, self.device = channels[0], model, device
        self._channels = channels

    def update(self, strokes: np.ndarray, roi: Roi | None = None, watch: Watch = UNWATCHED) -> Answer:
        """Segment from all strokes that there are now.

        Args:
            strokes: uint8 [i, j, k] on the image's grid, see :class:`.strokes.Strokes`.
            roi: the box to segment; by default the strokes' extent and a margin.

        Raises:
            LLMBoostError: strokes on another grid, none of a label in the box, or a box that is too large.
            Cancelled: whoever waits cancelled; what was reached is not lost.
        """
        started = time.monotonic()
        if strokes.shape != self.image.shape:
            raise LLMBoostError(f"strokes of {strokes.shape} voxels do not fit the image's {self.image.shape}")
        painted = strokes_of(strokes, self.image.spacing)
        box = painted.box() if roi is None else roi.bounds(self.image)
        painted = painted.within(box)
        if painted.array.size > MOST_VOXELS:
            raise LLMBoostError(
                f"the box around the strokes holds {painted.array.size / 1e6:.0f} million voxels, at most"
                f" {MOST_VOXELS / 1e6:.0f} can be computed; set a region of interest"
            )
        found = self._walk(painted, box, watch)
        labels, sure = _drawn(found, painted)
        i, j, k = (part.start for part in box)
        places = tuple((a + i, b + j, c + k) for a, b, c in unsure_places(sure, self.image.spacing))
        seconds = time.monotonic() - started
        return Answer(labels, sure, box, StrokesMethod.WALKER, painted.count, seconds, places)

    def _walk(self, painted: Strokes, box: Box, watch: Watch) -> np.ndarray:
        classes = painted.classes
        if len(painted.values) == 1 and not (classes == 0).any():
            classes = with_faces(classes)
        image = np.stack([one.array[box].astype(np.float32) for one in self._channels])
        return walk(image, classes, self.image.spacing, device=self.device, watch=watch)


def with_faces(classes: np.ndarray) -> np.ndarray:
    """The classes, and background on the box's faces where nothing is painted: all that is known of it, where a user
    painted one segment alone. An axis of one voxel, as of a picture, has no faces."""
    result = classes.copy()
    for axis, size in enumerate(classes.shape):
        for place in (0, -1) if size > 1 else ():
            face = result[(slice(None),) * axis + (place,)]
            face[face < 0] = 0
    return result


def _drawn(found: np.ndarray, painted: Strokes) -> tuple[np.ndarray, np.ndarray]:
    """The labels' values and how sure they are; what is painted stays."""
    best = found.argmax(0)
    labels = np.array([0, *painted.values], np.uint8)[best]
    two = np.partition(found, -2, axis=0)[-2:] if len(found) > 1 else np.stack([np.zeros_like(found[0]), found[0]])
    sure = np.rint((two[1] - two[0]).clip(0, 1) * 255).astype(np.uint8)
    seen = painted.classes >= 0
    labels[seen] = np.array([0, *painted.values], np.uint8)[painted.classes[seen]]
    sure[seen] = 255
    return labels, sure
