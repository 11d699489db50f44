"""Training patches: the n-th one of a run is always the same, so that a killed run continues as if it had not been."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ..card import Preprocessing
from .augment import IMAGE, LABEL, augmentation, random_pose

DRAWN = "drawn"
# the share of patches centered on a labeled voxel (nnU-Net)
FOREGROUND = 1 / 3
# how far, in patches, a labeled voxel then lies from the middle: what surrounds it is to be learned, too
AROUND = 0.25


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
    are partly labeled, all have ``DRAWN``.

    Args:
        contrast, thick: see :func:`.augment.augmentation`.
        foreground: the share of patches that show a label, each label as often as another.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        preprocessing: Preprocessing,
        length: int,
        seed: int,
        *,
        contrast: float = 0.0,
        thick: float = 0.0,
        foreground: float = FOREGROUND,
    ) -> None:
        self.volumes = volumes
        self.preprocessing = preprocessing
        self.length = length
        self.seed = seed
        self.share = foreground
        self.augment = augmentation(contrast, thick)
        self.drawn = next((torch.ones_like(one.drawn) for one in volumes if one.drawn is not None), None)
        self.foreground = [_places(volume.label[0]) for volume in volumes]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        epoch, place = divmod(number, len(self.volumes))
        index = int(np.random.default_rng((self.seed, epoch)).permutation(len(self.volumes))[place])
        random = np.random.default_rng((self.seed, epoch, place))
        volume, patch_size = self.volumes[index], self.preprocessing.patch_size
        centre = self._centre(volume.image.shape[1:], self.foreground[index], random)
        pose = random_pose(self.preprocessing, random)
        self.augment.set_random_state(seed=int(random.integers(2**31)))
        sample = self.augment(
            {
                IMAGE: cut(volume.image, centre, patch_size, pose),
                LABEL: cut(volume.label, centre, patch_size, pose).float(),
            }
        )
        # MONAI's tensors with metadata are of no more use
        sample = {key: value.as_tensor() if hasattr(value, "as_tensor") else value for key, value in sample.items()}
        return sample if self.drawn is None else sample | {DRAWN: self.drawn if volume.drawn is None else volume.drawn}

    def _centre(self, shape: Sequence[int], foreground: Sequence[Tensor], random: np.random.Generator) -> np.ndarray:
        """The patch's middle, in voxels of the volume, so that the patch lies inside as far as it is not larger."""
        extent = np.array(self.preprocessing.patch_size)
        centre = random.uniform(0, shape)
        if random.random() < self.share and len(foreground):
            places = foreground[int(random.integers(len(foreground)))]
            centre = places[random.integers(len(places))].numpy() + 0.5 + random.uniform(-AROUND, AROUND, 3) * extent
        room = np.array(shape) - extent
        return np.where(room <= 0, np.array(shape) / 2, np.clip(centre, extent / 2, np.array(shape) - extent / 2))


def _places(label: Tensor) -> list[Tensor]:
    """The voxels (n, 3) of each label that there is."""
    return [torch.nonzero(label == value) for value in label[label > 0].unique()]


def cut(volume: Tensor, centre: np.ndarray, patch_size: Sequence[int], pose: np.ndarray) -> Tensor:
    """The patch of ``volume`` (C, R, A, S) around ``centre``, in voxels; what lies outside is zero, as in inference.

    Args:
        pose: (3, 3), from steps in the patch to steps in the volume. Images are interpolated, integers are not.
    """
    # voxel n covers n to n + 1, and so does F.grid_sample's -1 to 1 with all voxels
    steps = [torch.arange(size, dtype=torch.float32) - (size - 1) / 2 for size in patch_size]
    places = torch.stack(torch.meshgrid(*steps, indexing="ij"), dim=-1) @ torch.from_numpy(pose.T).float()
    places += torch.from_numpy(centre).float()
    places = 2 * places / torch.tensor(volume.shape[1:]) - 1
    mode = "bilinear" if volume.is_floating_point() else "nearest"
    found = F.grid_sample(volume[None].float(), places.flip(-1)[None], mode=mode, align_corners=False)[0]
    return found.to(volume.dtype)
