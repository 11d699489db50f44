"""Real heads to learn from beside synthetic ones: T1 and FLAIR, with regions of MUSE (Doshi et al. 2016, NeuroImage
127, 186-195) that another network drew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import distance_transform_edt
from torch import Tensor
from torch.utils.data import Dataset

from llmboost.io.image import read_image, resample, resample_to_spacing, to_canonical
from llmboost.io.labels import NEAR
from llmboost.learn.loss import IGNORED

from .appearance import scan
from .patches import WHOLE, SyntheticHeads, centered, normalized
from .pose import Reach, deform
from .structures import FINE

KINDS = (torch.int16, torch.float32)
# values of the regions of each of FINE's structures: right and left, or both sides together
REGIONS: dict[str, tuple[tuple[int, ...], ...]] = {
    "hippocampus": ((47,), (48,)),
    "amygdala": ((31,), (32,)),
    "lateral ventricle": ((51, 49), (52, 50)),
    "thalamus": ((59,), (60,)),
    "caudate nucleus": ((36,), (37,)),
    "nucleus accumbens": ((23,), (30,)),
    "putamen": ((57,), (58,)),
    "globus pallidus": ((55,), (56,)),
    "ventral diencephalon": ((61,), (62,)),
    "cerebral white matter": (tuple(range(81, 95, 2)), tuple(range(82, 95, 2))),
    "cerebral cortex": (tuple(range(100, 208, 2)), tuple(range(101, 208, 2))),
    "cerebellar cortex": ((38,), (39,)),
    "cerebellar white matter": ((40,), (41,)),
    "brain stem": ((35,),),
    "third ventricle": ((4,),),
    "fourth ventricle": ((11,),),
    "cerebrospinal fluid": ((1, 46, 69),),
}
# regions across the middle, by the structure that they are a part of: corpus callosum, vermis
ACROSS = {"cerebral white matter": (95,), "cerebellar cortex": (71, 72, 73)}
BRIGHT = 0.99  # the share of voxels that are no brighter than 1 before they are scanned
# whose FLAIR lies elsewhere than T1 and regions do: by 10 to 28 mm and 3 to 6 degrees, as brain-1mm finds them
MOVED = ("head_14.nii.gz", "head_16.nii.gz", "head_18.nii.gz")
UNKNOWN = (75, 76)  # basal forebrain, which is none of FINE's


@dataclass(frozen=True)
class RealHead:
    """Images (I, J, K) of one head, float32, and its classes, int16, with ``IGNORED`` voxels, along R, A, S; isotropic
    ``spacing`` in mm, and the brain's ``center`` as an index."""

    id: str
    images: tuple[Tensor, ...]
    classes: Tensor
    spacing: float
    center: tuple[float, float, float]


def read_real_heads(folder: Path, spacing: float) -> list[RealHead]:
    """The heads of ``folder`` (t1/, flair/ and muse/ with a file of the same name each), at ``spacing`` mm."""
    heads = []
    for path in heads_with_regions(folder):
        t1, regions = read_image(path), read_image(folder / "muse" / path.name)
        image = resample_to_spacing(to_canonical(t1), (spacing,) * 3, "cubic")
        shown = [image]
        if path.name not in MOVED:
            shown.append(resample(to_canonical(read_image(folder / "flair" / path.name)), image, "cubic", fill=0))
        classes = _finer(to_canonical(regions).array, image.shape)
        brain = np.argwhere(classes > 0)
        r, a, s = (brain.min(axis=0) + brain.max(axis=0)) / 2
        images = tuple(torch.from_numpy(np.ascontiguousarray(one.array, np.float32)) for one in shown)
        name = path.name.removesuffix(".nii.gz")
        heads.append(RealHead(name, images, torch.from_numpy(classes), spacing, (r, a, s)))
    return heads


def heads_with_regions(folder: Path) -> list[Path]:
    """The T1 of each head whose regions lie on its grid."""
    every = sorted((folder / "t1").glob("*.nii.gz"))
    return [path for path in every if read_image(path).same_grid(read_image(folder / "muse" / path.name), NEAR)]


def _finer(regions: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The classes, int16, in so many voxels of the same field of view, along each axis a multiple of what they were: at
    each voxel the one whose share is the largest."""
    classes = torch.from_numpy(np.pad(classes_of_regions(regions.astype(np.int16)), 1))
    times = [new // old for new, old in zip(shape, regions.shape, strict=True)]
    best, most = (torch.zeros([n * t for n, t in zip(classes.shape, times, strict=True)], dtype=kind) for kind in KINDS)
    for value in classes.unique():
        found = torch.nonzero(classes[1:-1, 1:-1, 1:-1] == value) + 1
        first, last = (found.amin(0) - 1).tolist(), (found.amax(0) + 2).tolist()
        coarse = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
        fine = tuple(slice(t * a, t * b) for a, b, t in zip(first, last, times, strict=True))
        own = (classes[coarse] == value)[None, None].float()
        share = F.interpolate(own, scale_factor=times, mode="trilinear")[0, 0]
        higher = share > most[fine]
        best[fine][higher], most[fine][higher] = value.item(), share[higher]
    r, a, s = (slice(t, -t) for t in times)
    return best[r, a, s].numpy()


def classes_of_regions(regions: np.ndarray) -> np.ndarray:
    """FINE's classes of MUSE's regions, both int16. A voxel of a region across the middle is on the side of what is
    nearest of its structure."""
    classes, value = np.zeros(regions.shape, np.int16), 1
    for structure in FINE:
        sides = REGIONS[structure.name][::-1]  # left before right, as in the network's classes
        for offset, values in enumerate(sides):
            classes[np.isin(regions, values)] = value + offset
        if structure.name in ACROSS:
            across = np.isin(regions, ACROSS[structure.name])
            known = (classes == value) | (classes == value + 1)
            nearest = distance_transform_edt(~known, return_distances=False, return_indices=True)
            classes[across] = classes[tuple(nearest)][across]
        value += len(sides)
    classes[np.isin(regions, UNKNOWN)] = IGNORED
    return classes


class RealHeads(Dataset[dict[str, Tensor]]):
    """Patches as :class:`.patches.SyntheticHeads` gives them, of real heads: bent, turned and scanned once more. The
    arguments are the same."""

    def __init__(
        self, heads: Sequence[RealHead], patch_size: tuple[int, int, int], spacing: float, seed: int, reach: Reach
    ) -> None:
        self.heads, self.seed, self.reach = heads, seed, reach
        self.grid = centered(patch_size, spacing)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        random = np.random.default_rng((self.seed, number))
        generator = torch.Generator().manual_seed(int(random.integers(2**62)))
        head = self.heads[int(random.integers(len(self.heads)))]
        image = head.images[int(random.integers(len(head.images)))]
        where = deform(image.shape, head.spacing, head.center, self.grid, random, generator, reach=self.reach)
        picture, classes = where.of(image), where.of(head.classes)
        # from 0 on, as a scanner's magnitudes are
        low, high = picture.min(), torch.quantile(picture.flatten()[::97], BRIGHT)
        picture = scan((picture - low) / (high - low).clamp(min=1e-3), self.grid, self.grid, random, generator)
        return normalized(picture, classes, WHOLE, random)


class Mixed(Dataset[dict[str, Tensor]]):
    """Of ``synthetic`` and ``real`` samples, ``share`` of the latter; as many as of the former."""

    def __init__(self, synthetic: SyntheticHeads, real: RealHeads, share: float) -> None:
        self.synthetic, self.real, self.share = synthetic, real, share

    def __len__(self) -> int:
        return len(self.synthetic)

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        chosen = np.random.default_rng((self.real.seed, number, 1)).random() < self.share
        return self.real[number] if chosen else self.synthetic[number]
