"""Where a synthetic head lies and how it is shaped: a random affine and elastic deformation of a label map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
import torch
from torch import Tensor

from .field import Axes, smooth_field

Reach = tuple[float, float, float]  # mm along R, A, S

TILT = np.array([16.0, 8.0, 8.0]) * pi / 180  # standard deviation about R, A, S: oblique stacks are tilted in pitch
MOST_TILT = np.array([45.0, 25.0, 25.0]) * pi / 180
SIZE = (0.85, 1.2)  # of the whole head; averages such as MNI152 are large
PROPORTION, SHEAR = 0.05, 0.04
CENTERED = 0.75  # the share of heads that lie in the middle of the image
NUDGE = 12.0  # mm, of those
REACH = np.array([30.0, 45.0, 70.0])  # mm, of the others: long necks, large fields of view cut into patches
BEND = 4.0  # mm, the most that tissue is displaced (standard deviation)
KNOTS = (20.0, 40.0)  # mm over which displacements vary


def random_pose(random: np.random.Generator, reach: Reach | None = None) -> tuple[np.ndarray, np.ndarray]:
    """A matrix (3, 3) and a shift (3), both in mm: a place in the image is ``matrix @ place + shift`` in the head.

    Both are counted from their middle, along R, A, S. With ``reach``, images are parts of a head, whose middles lie
    anywhere within so many mm of the head's; else they show all of it, mostly in the middle.
    """
    tilt = np.clip(random.normal(0, TILT), -MOST_TILT, MOST_TILT)
    size = random.uniform(*SIZE) * (1 + random.uniform(-PROPORTION, PROPORTION, 3))
    shear = np.eye(3) + np.triu(random.uniform(-SHEAR, SHEAR, (3, 3)), 1)
    if reach is not None:
        away = random.uniform(-np.array(reach), reach)
    else:
        away = random.normal(0, NUDGE, 3) if random.random() < CENTERED else random.uniform(-REACH, REACH)
    matrix = np.diag(1 / size) @ shear @ _rotation(tilt)
    return matrix, -matrix @ away


def _rotation(angles: np.ndarray) -> np.ndarray:
    result = np.eye(3)
    for axis, angle in enumerate(angles):
        one, two = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[one, one] = turn[two, two] = cos(angle)
        turn[one, two], turn[two, one] = -sin(angle), sin(angle)
        result = result @ turn
    return result


@dataclass(frozen=True)
class Placement:
    """Where an image's voxels (I, J, K) lie in a volume: the index of each in the flattened volume, and whether it lies
    inside at all."""

    index: Tensor
    inside: Tensor

    def of(self, volume: Tensor) -> Tensor:
        """The image's values of ``volume``; 0 beyond its ends."""
        return torch.where(self.inside, volume.flatten()[self.index], 0)


def deform(
    shape: Sequence[int],
    spacing: float,
    center: Sequence[float],
    axes: Axes,
    random: np.random.Generator,
    generator: torch.Generator,
    *,
    neck: bool = False,
    reach: Reach | None = None,
) -> Placement:
    """A head in a random pose, bent, at the voxel centers ``axes`` (mm from the image's middle).

    Args:
        shape: of the volume that shows the head, along R, A, S.
        spacing: mm between its voxels.
        center: index of the voxel that a centered head has in the middle of the image.
        neck: below the volume, repeat its lowest slice.
        reach: see :func:`random_pose`.
    """
    matrix, shift = random_pose(random, reach)
    bend = smooth_field(axes, random.uniform(*KNOTS), generator, 3) * (BEND * random.random())
    index = torch.zeros(bend.shape[1:], dtype=torch.int32)
    inside = torch.ones(bend.shape[1:], dtype=torch.bool)
    x, y, z = axes[0][:, None, None], axes[1][:, None], axes[2]
    for n, size in enumerate(shape):
        a, b, c = (matrix[n] / spacing).tolist()
        place = bend[n].div_(spacing)
        place += a * x + (shift[n] / spacing + center[n])
        place += b * y + c * z
        place = place.round_().int()
        lowest = -10_000 if neck and n == 2 else 0
        inside &= (place >= lowest) & (place < size)
        index = index.mul_(size).add_(place.clamp_(0, size - 1))
    return Placement(index.long(), inside)
