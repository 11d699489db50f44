"""A made-up data set for experiments that must run anywhere, in no time: ellipsoids of two halves in noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from ..io.image import Image, write_image

SHAPE = (24, 28, 24)
COUNTS = {"train": 6, "val": 2, "test": 4}
NOISE = 0.3


def write_phantom(folder: Path) -> None:
    """A data set folder with splits; its voxels are the same every time."""
    splits: dict[str, list[str]] = {split: [] for split in COUNTS}
    for number, split in enumerate(split for split, count in COUNTS.items() for _ in range(count)):
        id = f"phantom_{number:02d}"
        image, label = _case(np.random.default_rng(number))
        write_image(image, folder / "imagesTr" / f"{id}.nii.gz")
        write_image(label, folder / "labelsTr" / f"{id}.nii.gz")
        splits[split].append(id)
    description = {
        "name": "Phantom",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "front", "2": "back"},
        "licence": "CC0",
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")


def _case(random: np.random.Generator) -> tuple[Image, Image]:
    """An image of 1 mm voxels (R, A, S) and its label map."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    middle = (np.array(SHAPE) - 1) / 2 + random.uniform(-2, 2, 3)
    turn = Rotation.from_euler("xyz", random.uniform(-0.4, 0.4, 3)).as_matrix()
    x, y, z = np.moveaxis((index - middle) @ turn / (random.uniform(0.26, 0.34, 3) * SHAPE), -1, 0)
    label = np.where(x**2 + y**2 + z**2 < 1, np.where(y > 0, 1, 2), 0).astype(np.uint8)
    image = np.array([0.0, 1.0, 0.6])[label] + NOISE * random.standard_normal(SHAPE)
    place = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.diag([-1.0, -1.0, 1.0]))
    return Image((300 * image).astype(np.float32), *place), Image(label, *place)
