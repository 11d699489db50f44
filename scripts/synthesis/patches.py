"""Synthetic training patches: the n-th one of a seed is always the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from llmboost.card import Normalization
from llmboost.errors import LLMBoostError
from llmboost.inference.preprocessing import normalize
from llmboost.io.image import read_image, to_canonical
from llmboost.learn.augment import IMAGE, LABEL

from .appearance import Contrast, paint, random_contrast, scan
from .field import Axes, along_axes, gaussian, smooth_field, triple
from .pose import Reach, deform
from .structures import COARSE, LESION, OUTSIDE, Structure, class_of, other_side

VALUES = tuple(sorted(class_of()))
INDEX = {value: n for n, value in enumerate(VALUES)}
MIRRORED = torch.tensor([INDEX[other_side()[value]] for value in VALUES], dtype=torch.uint8)
FIRST_OUTSIDE = INDEX[OUTSIDE[0]]  # values are in order: all that follow lie outside the brain, too

# shares of the samples
NEGATIVE, STRIPPED, INJURED, CUT, NECK, BLANK = 0.08, 0.35, 0.15, 0.12, 0.5, 0.5
TIGHT, NARROW = 0.3, 0.15
PARTLY = 0.2  # as often, of patches that show a part of a head, does the image end inside of them
WHOLE = (slice(None), slice(None), slice(None))
SHAPES = 6  # intensities along each of two random fields, of images that show no head


@dataclass(frozen=True)
class HeadMap:
    """A label map along R, A, S: ``indices`` (uint8) into ``VALUES``, isotropic ``spacing`` in mm, and the brain's
    ``center`` as an index."""

    indices: Tensor
    spacing: float
    center: tuple[float, float, float]


def read_head_map(path: Path) -> HeadMap:
    """Read one of SynthSeg's label maps.

    Raises:
        LLMBoostError: it cannot be read, has values that no table names, no brain, or voxels that are no cubes.
    """
    image = to_canonical(read_image(path))
    values = np.unique(image.array)
    unknown = [int(value) for value in values if int(value) not in INDEX]
    if unknown:
        raise LLMBoostError(f"{path}: value {unknown[0]} is none of SynthSeg's labels; give a map of structures.py's")
    if not np.allclose(image.spacing, image.spacing[0], rtol=1e-3):
        raise LLMBoostError(f"{path}: voxels are not cubes; resample it to one spacing")
    indices = np.searchsorted(VALUES, image.array).astype(np.uint8)
    brain = np.argwhere((indices > 0) & (indices < FIRST_OUTSIDE))
    if not len(brain):
        raise LLMBoostError(f"{path}: a label map without a brain")
    # whether its neck goes on below is for the pose to say, so air under it must not
    lowest = int(np.argwhere(indices)[:, 2].min())
    r, a, s = (brain.min(axis=0) + brain.max(axis=0)) / 2
    return HeadMap(torch.from_numpy(np.ascontiguousarray(indices[:, :, lowest:])), image.spacing[0], (r, a, s - lowest))


def classes_of(structures: Sequence[Structure] = COARSE) -> Tensor:
    """The network's class, uint8, of each of ``VALUES``."""
    return torch.tensor([class_of(structures)[value] for value in VALUES], dtype=torch.uint8)


class SyntheticHeads(Dataset[dict[str, Tensor]]):
    """Patches {"image": (1, R, A, S) float32, "label": the same shape, classes} of random images of ``maps``.

    The image fills the patch as it does in use: normalized over its own field of view, zero where that ends inside the
    patch. Some patches show no brain, and have no label.

    Args:
        patch_size: voxels.
        spacing: mm, along all three axes.
        length: how many there are.
        seed: of all of them.
        negative: the share that shows no brain.
        structures: what the classes are.
        reach: for patches that show a part of a head, see :func:`.pose.random_pose`.
    """

    def __init__(
        self,
        maps: Sequence[HeadMap],
        patch_size: tuple[int, int, int],
        spacing: float,
        length: int,
        seed: int,
        negative: float = NEGATIVE,
        structures: Sequence[Structure] = COARSE,
        reach: Reach | None = None,
    ) -> None:
        self.maps = maps
        self.classes = classes_of(structures)
        self.reach = reach
        self.length = length
        self.seed = seed
        self.negative = negative
        self.grid = centered(patch_size, spacing)
        # what is painted: twice as fine where the maps are, with every second voxel at the center of one of the grid's
        self.step = step = 2 if spacing >= 2 * min(one.spacing for one in maps) else 1
        self.fine = centered([step * (n - 1) + 1 for n in patch_size], spacing / step)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        random = np.random.default_rng((self.seed, number))
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        negative = random.random() < self.negative
        if negative and random.random() < 0.6:
            index, contrast = self._no_head(random, generator)
            target = torch.zeros_like(index)
        else:
            index, target = self._head(random, generator, without_brain=negative)
            contrast = random_contrast(VALUES, random)
        image = paint(index, contrast, self.fine, random, generator)
        image = scan(image, self.fine, self.grid, random, generator)
        every = (slice(None, None, self.step),) * 3
        shown = index[every] > 0
        if random.random() < BLANK:  # as software leaves what it takes away
            image[~shown] = 0
        ends = self.reach is None or random.random() < PARTLY
        inside = self._field_of_view(shown, random) if ends else WHOLE
        return normalized(image, target[every], inside, random)

    def _head(
        self, random: np.random.Generator, generator: torch.Generator, without_brain: bool
    ) -> tuple[Tensor, Tensor]:
        """Indices to paint, and the classes to find."""
        head = self.maps[int(random.integers(len(self.maps)))]
        indices, center = head.indices, list(head.center)
        if random.random() < 0.5:
            indices = MIRRORED[indices.flip(0).long()]
            center[0] = len(indices) - 1 - center[0]
        neck = random.random() < NECK
        where = deform(indices.shape, head.spacing, center, self.fine, random, generator, neck=neck, reach=self.reach)
        index = where.of(indices)
        brain = (index > 0) & (index < FIRST_OUTSIDE)
        if without_brain:
            index[brain] = int(random.integers(FIRST_OUTSIDE, len(VALUES))) if random.random() < 0.5 else 0
            return index, torch.zeros_like(index)
        target = self.classes[index.long()]
        if random.random() < STRIPPED:
            keep = self._stripped(brain, random)
            index, target = index * keep, target * keep
        if random.random() < CUT:
            keep = self._half(random)
            index, target = index * keep, target * keep
        if random.random() < INJURED:
            index[self._lesion(random, generator) & brain & (index > 0)] = INDEX[LESION]
        return index, target

    def _stripped(self, brain: Tensor, random: np.random.Generator) -> Tensor:
        """A brain mask such as software draws: too wide or too narrow by some millimeters."""
        width = random.uniform(2, 6)
        blur = triple([gaussian(axis, axis, width) for axis in self.fine])
        return along_axes(brain.float(), blur) > random.uniform(0.1, 0.6)

    def _half(self, random: np.random.Generator) -> Tensor:
        """One side of a random plane that leaves most of the patch: a removed face, a tilted slab."""
        normal = random.standard_normal(3)
        a, b, c = (normal / np.linalg.norm(normal)).tolist()
        x, y, z = self.fine
        return (a * x[:, None, None] + b * y[:, None] + c * z) < random.uniform(0, 80)

    def _lesion(self, random: np.random.Generator, generator: torch.Generator) -> Tensor:
        x, y, z = ((axis - random.uniform(-50, 50)) / random.uniform(6, 35) for axis in self.fine)
        ball = x[:, None, None] ** 2 + y[:, None] ** 2 + z**2
        return ball + 0.5 * smooth_field(self.fine, 15, generator)[0] < 1

    def _no_head(self, random: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, Contrast]:
        """Random shapes in a random body, or in all of the image, or nothing but air."""
        kinds = SHAPES**2 + 1
        contrast = Contrast(*(torch.from_numpy(random.uniform(0, high, kinds)).float() for high in (1, 0.1, 0.1)))
        index = torch.zeros([len(axis) for axis in self.fine], dtype=torch.uint8)
        kind = random.random()
        if kind > 0.2:
            one, two = smooth_field(self.fine, random.uniform(10, 60), generator, 2)
            one, two = ((field * SHAPES / 4 + SHAPES / 2).clamp_(0, SHAPES - 1).byte() for field in (one, two))
            index = one * SHAPES + two + 1
        if kind > 0.4:
            x, y, z = ((axis - random.uniform(-40, 40)) / random.uniform(30, 150) for axis in self.fine)
            index *= x[:, None, None] ** 2 + y[:, None] ** 2 + z**2 < 1
        return index, contrast

    def _field_of_view(self, shown: Tensor, random: np.random.Generator) -> tuple[slice, slice, slice]:
        """The part of the patch that the image fills: all of it, a box around what is shown, or a narrower one."""
        first, last = np.zeros(3, int), np.array(shown.shape)
        kind = random.random()
        if kind < TIGHT and shown.any():
            where = torch.nonzero(shown).numpy()
            first = np.maximum(where.min(axis=0) - random.integers(0, 6, 3), 0)
            last = np.minimum(where.max(axis=0) + 1 + random.integers(0, 6, 3), last)
        elif kind < TIGHT + NARROW:
            for axis in random.permutation(3)[: random.integers(1, 4)]:
                missing = int(random.integers(0.65 * last[axis]))
                first[axis], last[axis] = missing // 2, last[axis] - (missing - missing // 2)
        r, a, s = (slice(int(one), int(other)) for one, other in zip(first, last, strict=True))
        return r, a, s


def centered(sizes: Sequence[int], spacing: float) -> Axes:
    """Positions of so many voxel centers along each axis, in mm from the middle."""
    return triple([(torch.arange(n) - (n - 1) / 2) * spacing for n in sizes])


def normalized(
    image: Tensor, target: Tensor, inside: tuple[slice, slice, slice], random: np.random.Generator
) -> dict[str, Tensor]:
    """The sample: normalized within the field of view, and zero outside, as images smaller than the patch are."""
    seen, label = torch.zeros(1, *image.shape), torch.zeros(1, *image.shape)
    part = image[inside].numpy().copy()
    normalize(part, Normalization())
    # a field of view larger than the patch may hold more air, or less
    part = part * random.uniform(0.8, 1.25) + random.uniform(-0.25, 0.25)
    seen[0][inside] = torch.from_numpy(part)
    label[0][inside] = target[inside].float()
    return {IMAGE: seen, LABEL: label}
