"""Connected pieces of what was found."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def largest_piece(mask: np.ndarray, neighbors: np.ndarray | None = None) -> np.ndarray:
    """The largest connected piece of a mask, as a mask; by default voxels are connected through faces alone.

    Args:
        neighbors: (3, 3, 3), which voxels around one are connected to it.
    """
    pieces, count = ndimage.label(mask, structure=neighbors)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    return pieces == 1 + int(sizes[1:].argmax())


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
