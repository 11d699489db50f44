"""Images as another scanner would have made them, for experiments about adapting.

Every image is degraded in the same fixed way: blur, slices of 1.5 mm across the third axis (brought back to the
image's own grid, so that the label maps still fit), a contrast curve that brightens what was dark, a bias field, and
noise. Field and noise are drawn from the case's id, so that a second copy is equal to the first. Strengths were fixed
on the val list of the hippocampus set by the shipped model alone, which must lose more than 0.05 Dice.
"""

from __future__ import annotations

import shutil
import zlib
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from ..io.dataset import read_dataset
from ..io.image import Image, read_image, write_image

BLUR = 0.9  # mm, standard deviation
SLICE = 1.5  # mm
# where brightness 0, 1/4, 1/2, 3/4 and 1 (of the image's 1st to 99th percentile) goes
CURVE = (0.0, 0.55, 0.78, 0.9, 1.0)
BIAS = 0.5  # log of the largest factor
NOISE = 0.07  # of the range of brightness, standard deviation


def shift_dataset(source: Path, target: Path) -> None:
    """Write the shifted copy of the data set folder ``source`` to ``target``; label maps are copied as they are."""
    dataset = read_dataset(source)
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True)
    for name in ("dataset.json", "splits.json"):
        if (source / name).exists():
            shutil.copyfile(source / name, target / name)
    for case in dataset.cases.values():
        for path in case.images:
            write_image(shifted(read_image(path), case.id), target / "imagesTr" / path.name)
        if case.label is not None:
            shutil.copyfile(case.label, target / "labelsTr" / case.label.name)


def shifted(image: Image, id: str) -> Image:
    """The image of case ``id`` as the other scanner shows it: float32, brightness about 0 to 1000."""
    random = np.random.default_rng(zlib.crc32(id.encode()))
    low, high = np.percentile(image.array, (1, 99))
    array = np.clip((image.array.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    array = gaussian_filter(array, [BLUR / mm for mm in image.spacing], mode="nearest")
    array = np.interp(_in_slices(array, SLICE / image.spacing[2]), np.linspace(0, 1, len(CURVE)), CURVE)
    array = array * np.exp(BIAS * _field(image.shape, random))
    array = array + NOISE * random.standard_normal(image.shape)
    return image.with_array((1000 * array).astype(np.float32))


def _in_slices(array: np.ndarray, thickness: float) -> np.ndarray:
    """Means over slabs ``thickness`` voxels thick along the last axis, interpolated back to the voxels."""
    planes = array.shape[2]
    centers = np.arange(thickness / 2 - 0.5, planes - 0.5, thickness)
    offsets = np.linspace(-thickness / 2, thickness / 2, 7)[1:-1]
    lines = array.reshape(-1, planes)
    slices = np.mean(
        [[np.interp(centers + offset, np.arange(planes), line) for line in lines] for offset in offsets], 0
    )
    return np.array([np.interp(np.arange(planes), centers, line) for line in slices]).reshape(array.shape)


def _field(shape: tuple[int, int, int], random: np.random.Generator) -> np.ndarray:
    """A smooth random field in -1 to 1: cubic between three values along each axis."""
    coarse = random.uniform(-1, 1, (3, 3, 3))
    places = np.stack(np.meshgrid(*(np.linspace(0, 2, n) for n in shape), indexing="ij"))
    field = map_coordinates(coarse, places, order=2, mode="nearest")
    return field / np.abs(field).max()
