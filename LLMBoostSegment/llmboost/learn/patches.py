"""Training patches: the n-th one of a run is always the same, so that a killed run continues as if it had not been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .augment import IMAGE, LABEL, augmentation

DRAWN = "drawn"
# the share of patches centerd on a labeled voxel (nnU-Net)
FOREGROUND = 1 / 3


@dataclass(frozen=True)
class Volume:
    """A case as the network sees it: image (C, R, A, S) float32, label (1, R, A, S) int16 with ``IGNORED`` voxels, and
    the classes that were drawn, (classes,) bool; None: all."""

    id: str
    image: Tensor
    label: Tensor
    drawn: Tensor | None = None


class TrainingPatches(Dataset[dict[str, Tensor]]):
    """Augmented patches: each case once an epoch, in an order drawn anew; ``length`` of them in all. Where some cases
    are partly labeled, all have ``DRAWN``."""

    def __init__(
        self,
        volumes: Sequence[Volume],
        patch_size: tuple[int, int, int],
        mirror: tuple[int, ...],
        length: int,
        seed: int,
        contrast: float = 0.0,
        thick: float = 0.0,
    ) -> None:
        self.volumes = volumes
        self.patch_size = patch_size
        self.length = length
        self.seed = seed
        flat = [axis for axis, size in enumerate(patch_size) if size == 1]
        self.augment = augmentation(mirror, contrast, thick, flat)
        self.drawn = next((torch.ones_like(one.drawn) for one in volumes if one.drawn is not None), None)
        self.foreground = [torch.nonzero(volume.label[0] > 0) for volume in volumes]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        epoch, place = divmod(number, len(self.volumes))
        index = int(np.random.default_rng((self.seed, epoch)).permutation(len(self.volumes))[place])
        random = np.random.default_rng((self.seed, epoch, place))
        volume = self.volumes[index]
        start = self._start(volume.image.shape[1:], self.foreground[index], random)
        self.augment.set_random_state(seed=int(random.integers(2**31)))
        sample = self.augment(
            {
                IMAGE: cut(volume.image, start, self.patch_size, 0.0),
                LABEL: cut(volume.label, start, self.patch_size, 0).float(),
            }
        )
        # MONAI's tensors with metadata are of no more use
        sample = {key: value.as_tensor() if hasattr(value, "as_tensor") else value for key, value in sample.items()}
        return sample if self.drawn is None else sample | {DRAWN: self.drawn if volume.drawn is None else volume.drawn}

    def _start(self, shape: Sequence[int], foreground: Tensor, random: np.random.Generator) -> list[int]:
        """The patch's first voxel: negative where the image is smaller than the patch, which it then centers."""
        centre = foreground[random.integers(len(foreground))] if len(foreground) else None
        if random.random() >= FOREGROUND:
            centre = None
        start = []
        for axis, (size, extent) in enumerate(zip(shape, self.patch_size, strict=True)):
            room = size - extent
            if room <= 0:
                start.append(room // 2)
            elif centre is not None:
                start.append(int(np.clip(int(centre[axis]) - extent // 2, 0, room)))
            else:
                start.append(int(random.integers(room + 1)))
        return start


def cut(volume: Tensor, start: Sequence[int], patch_size: Sequence[int], fill: float) -> Tensor:
    """The patch of ``volume`` (C, R, A, S) that begins at ``start``; what lies outside is ``fill``."""
    inside = volume[(slice(None), *(slice(max(s, 0), max(s, 0) + w) for s, w in zip(start, patch_size, strict=True)))]
    padding: list[int] = []
    for s, w, size in zip(reversed(start), reversed(patch_size), reversed(inside.shape[1:]), strict=True):
        before = max(-s, 0)
        padding += [before, w - size - before]
    return torch.nn.functional.pad(inside, padding, value=fill)
