"""The real worker with an engine that answers strokes without torch: `light_strokes.py GATE [HOW]`.

What is bright belongs to the stroke that is nearest. ``slow`` answers wait until the file GATE exists, ``slow-teach``
is one whose taught answers alone do; ``crash`` ends with the second update, ``forget`` loses the image before it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

from llmboost import library, worker
from llmboost.card import read_card
from llmboost.messages.images import Box, Volume
from llmboost.messages.strokes import (
    BACKGROUND,
    StrokesAnswer,
    StrokesCloseRequest,
    StrokesKeepRequest,
    StrokesKept,
    StrokesOpened,
    StrokesOpenRequest,
    StrokesUpdateRequest,
)
from llmboost.messages.words import ErrorKind, StrokesMethod
from llmboost.messages.worker import Done
from llmboost.service import Job, RequestError

BRIGHT, TAUGHT = 100, 60  # from when a voxel belongs to something: for the walker, and for a model that was taught
MARGIN = 6  # voxels around the strokes


class Strokes:
    def __init__(self) -> None:
        self.volume = self.model = None
        self.session = self.updates = 0

    def open(self, job: Job[StrokesOpenRequest]) -> StrokesOpened:
        (self.volume,), self.model = job.request.volumes, job.request.model
        self.session += 1
        GATE.with_suffix(".opened").write_text(str(self.session))
        return StrokesOpened(self.session)

    def update(self, job: Job[StrokesUpdateRequest]) -> StrokesAnswer:
        request, how = job.request, HOW
        self.updates += 1
        if how == "crash" and self.updates == 2:
            print("the GPU fell off the bus", file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if request.session != self.session or (how == "forget" and self.updates == 2):
            self.session += 1
            raise RequestError(ErrorKind.NOT_AVAILABLE, "the image is not open", "Open it again")
        job.progress(0.5, "drawing")
        while how == "slow" or (how == "slow-teach" and request.teach):
            if job.cancelled():
                raise RequestError(ErrorKind.CANCELLED, "cancelled")
            if GATE.exists():
                break
            time.sleep(0.005)
        return self.answer(request)

    def answer(self, request: StrokesUpdateRequest) -> StrokesAnswer:
        shape = self.volume.array.shape
        painted = np.zeros(shape, np.uint16)
        place = tuple(slice(a, a + n) for a, n in zip(request.start[::-1], request.strokes.shape, strict=True))
        painted[place] = request.strokes
        places = np.argwhere(painted)
        low = np.maximum(places.min(axis=0) - MARGIN, 0)
        high = np.minimum(places.max(axis=0) + MARGIN + 1, shape)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        nearest = ndimage.distance_transform_edt(painted[box] == 0, return_distances=False, return_indices=True)
        labels = painted[box][tuple(nearest)]
        labels[(self.volume.array[box] < (TAUGHT if request.teach else BRIGHT)) | (labels == BACKGROUND)] = 0
        if (roi := request.roi) is not None:
            labels[~_inside(roi, self.volume, box)] = 0
        seen = painted[box] > 0
        labels[seen] = np.where(painted[box] == BACKGROUND, 0, painted[box])[seen]
        center = self.volume.origin + self.volume.direction @ np.multiply(self.volume.spacing, low[::-1])
        x, y, z = (float(value) for value in center)
        return StrokesAnswer(
            labels=labels,
            sure=np.full(labels.shape, 200, np.uint8),
            start=tuple(int(n) for n in low[::-1]),
            method=StrokesMethod.TAUGHT if request.teach else StrokesMethod.WALKER,
            model=self.model if request.teach else "",
            strokes=int(ndimage.label(painted)[1]),
            unsure=((x, y, z), (x + 1, y, z)),
            teachable=bool(self.model),
            share=1.0 if request.teach else 0.0,
            seconds=0.2,
        )

    def keep(self, job: Job[StrokesKeepRequest]) -> StrokesKept:
        return StrokesKept(job.request.output, read_card(library.find(self.model)))

    def close(self, job: Job[StrokesCloseRequest]) -> Done:
        self.volume = None
        return Done()


def _inside(roi: Box, volume: Volume, box: tuple[slice, ...]) -> np.ndarray:
    """bool [k, j, i] of a part of the volume: what lies in the region of interest."""
    indices = np.stack(np.meshgrid(*(np.arange(part.start, part.stop) for part in box), indexing="ij"), -1)[..., ::-1]
    places = indices * volume.spacing @ np.transpose(volume.direction) + volume.origin
    return (np.abs((places - roi.center) @ roi.axes) <= np.divide(roi.size, 2)).all(-1)


if __name__ == "__main__":
    GATE, HOW = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else ""
    strokes = Strokes()
    worker.main(
        {
            StrokesOpenRequest: strokes.open,
            StrokesUpdateRequest: strokes.update,
            StrokesKeepRequest: strokes.keep,
            StrokesCloseRequest: strokes.close,
        }
    )
