"""Segments to train with that are drawn in no time: blocks, in an image of the size of the model hippocampus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from Testing.host import start

from llmboost.messages.images import DrawnLabel

start()  # makes the parts of slicer that LLMBoostLib imports
SHAPE = (40, 56, 40)
VOXELS = 800  # of each block
NAMES = ("Anterior hippocampus", "Posterior hippocampus")


def drawBlocks(names: Sequence[str], codes: Sequence[str] = ()) -> tuple[np.ndarray, list[DrawnLabel]]:
    """A label map [k, j, i] with a block for each name, and its labels; ``codes`` are their terminologies."""
    labelmap = np.zeros(SHAPE, np.uint8)
    labels = []
    for value, name in enumerate(names, start=1):
        labelmap[10:20, 8 * value : 8 * value + 8, 15:25] = value
        code = codes[value - 1] if codes else ""
        labels.append(DrawnLabel(value, name, (200, 20 * value, 0), code))
    return labelmap, labels
