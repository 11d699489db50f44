"""Connected pieces of what was found."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..card import Card

TOUCHING = np.ones((3, 3, 3))  # neighbors through faces, edges and corners


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
    result[box[0]] = part * largest_piece(part > 0, TOUCHING)
    return result


def cleaned(indices: np.ndarray, card: Card) -> np.ndarray:
    """The label map of a card's classes without pieces that cannot be: where all that is drawn is one piece, and of
    each label that is."""
    if card.largest_component:
        return largest_component(indices)
    if not card.one_piece:
        return indices
    result = indices.copy()
    for number, label in enumerate(card.labels, 1):
        mask = indices == number
        if label.value in card.one_piece and (box := ndimage.find_objects(mask.view(np.uint8))):
            part = mask[box[0]]
            result[box[0]][part & ~largest_piece(part, TOUCHING)] = 0
    return result
