"""Deep structures of whole heads in T1 (shared data `heads_t1_flair_2mm`) as a data set in the Decathlon's form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..io.image import read_image, write_image
from ..io.labels import NEAR

TRAIN = 7  # of the heads, by name; the others are for development
# indices of MUSE's regions, right and left
STRUCTURES = {"thalamus": (59, 60), "caudate": (36, 37), "putamen": (57, 58), "hippocampus": (47, 48)}


def write_heads(source: Path, target: Path) -> None:
    """Write the T1 images of the folder ``source``, with eight labels of its ``muse``, as the data set ``target``."""
    regions: dict[str, int] = {}
    for name, (right, left) in STRUCTURES.items():
        regions |= {f"Right {name}": right, f"Left {name}": left}
    label_of = np.zeros(256, np.uint8)
    label_of[list(regions.values())] = np.arange(1, len(regions) + 1)
    ids = []
    for path in sorted((source / "t1").glob("*.nii.gz")):
        image, label = read_image(path), read_image(source / "muse" / path.name)
        if not image.same_grid(label, NEAR):
            continue  # head_10: its labels lie 7 voxels off, and fit the T1 neither there nor voxel by voxel
        write_image(image, target / "imagesTr" / path.name)
        write_image(label.with_array(label_of[label.array.astype(np.uint8)]), target / "labelsTr" / path.name)
        ids.append(path.name.removesuffix(".nii.gz"))
    description = {
        "name": "Deep structures of the brain",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", **{str(n): name for n, name in enumerate(regions, 1)}},
        "licence": "SBIA software agreement",
        "reference": "NiChart_Project, sample datasets",
    }
    (target / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    splits = {"train": ids[:TRAIN], "val": ids[TRAIN:], "test": []}
    (target / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
