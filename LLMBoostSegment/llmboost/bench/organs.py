"""Organs of the abdomen, as TotalSegmentator draws them in its own examples (shared data `viewer`), a case an organ."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..io.image import read_image, write_image

FOLDER = "ct_mr_totalsegmentator"
EXAMPLES = {
    "ct": ("example_ct_sm.nii.gz", "example_seg.nii.gz"),
    "mr": ("example_mr_sm.nii.gz", "example_seg_mr.nii.gz"),
}
# values of TotalSegmentator's tasks "total" and "total_mr"; in the MR the aorta leaves the field of view
ORGANS = {
    "ct": {"spleen": 1, "right-kidney": 2, "left-kidney": 3, "liver": 5, "stomach": 6, "aorta": 52},
    "mr": {"spleen": 1, "right-kidney": 2, "left-kidney": 3, "liver": 5, "stomach": 6},
}


def write_organs(source: Path, target: Path) -> None:
    """Write the examples of the folder ``source`` as the data set folder ``target``: all for validation."""
    ids = []
    for kind, (image_file, label_file) in EXAMPLES.items():
        image, label = (read_image(source / FOLDER / file) for file in (image_file, label_file))
        for organ, value in ORGANS[kind].items():
            ids.append(f"{kind}-{organ}")
            write_image(image, target / "imagesTr" / f"{ids[-1]}.nii.gz")
            write_image(
                label.with_array((label.array == value).astype(np.uint8)), target / "labelsTr" / f"{ids[-1]}.nii.gz"
            )
    description = {
        "name": "TotalSegmentator's examples",
        "modality": {"0": "CT, MRI"},
        "labels": {"0": "background", "1": "Organ"},
        "licence": "Apache-2.0",
        "reference": "Wasserthal et al. 2023, Radiology: Artificial Intelligence 5, e230024",
    }
    (target / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    subjects = {id: id[:2] for id in ids}
    splits = {"train": [], "val": ids, "test": [], "subjects": subjects}
    (target / "splits.json").write_text(json.dumps(splits), encoding="utf-8")
