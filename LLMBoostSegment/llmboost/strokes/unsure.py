"""Where a look, and perhaps a stroke, would help most."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

PLACES = 8
APART_MM = 10.0
BLOCK_MM = 3.0  # a place is so large: a border of one voxel is none
LEAST = 0.35  # of a block's mean unsureness, from 0 to 1


def unsure_places(sure: np.ndarray, spacing: Sequence[float]) -> list[tuple[float, float, float]]:
    """Continuous indices (i, j, k) of the least sure places, the worst first, at least a centimeter apart.

    Args:
        sure: uint8 [i, j, k], 255 is sure.
        spacing: mm along i, j, k.
    """
    size = [min(max(round(BLOCK_MM / mm), 1), n) for mm, n in zip(spacing, sure.shape, strict=True)]
    values = 1 - torch.from_numpy(sure.astype(np.float32)) / 255
    blocks = F.avg_pool3d(values[None], size, size)[0].numpy()
    step = np.array(size)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in blocks.shape), indexing="ij"), -1) * (step * spacing)
    places: list[tuple[float, float, float]] = []
    while len(places) < PLACES and blocks.max() >= LEAST:
        worst = np.unravel_index(int(blocks.argmax()), blocks.shape)
        i, j, k = (float(n) for n in np.array(worst) * step + (step - 1) / 2)
        places.append((i, j, k))
        blocks[((grid - grid[worst]) ** 2).sum(-1) < APART_MM**2] = 0
    return places
