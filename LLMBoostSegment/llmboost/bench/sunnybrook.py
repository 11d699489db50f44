"""The Sunnybrook Cardiac Data as shared, pictures of short-axis slices and masks, as one-slice volumes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
from PIL import Image as Pillow

from ..io.image import Image, write_image

LEFT_VENTRICLE = 1


def write_sunnybrook(source: Path, target: Path) -> None:
    """Write the pictures of the folder ``source`` as the data set folder ``target``, its lists as splits."""
    splits: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    subjects = {}
    with (source / "cases.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        id = Path(row["file"]).stem
        splits[row["split"]].append(id)
        subjects[id] = row["patient"]
        for kind, into in (("images", "imagesTr"), ("masks", "labelsTr")):
            picture = np.asarray(Pillow.open(source / row["split"] / kind / row["file"]).convert("L"))
            array = picture.T[..., None]  # i to the right, j down; the spacing is lost
            array = (array > 0).astype(np.uint8) if kind == "masks" else array
            volume = Image(np.ascontiguousarray(array), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
            write_image(volume, target / into / f"{id}.nii.gz")
    description = {
        "name": "Sunnybrook Cardiac Data, left ventricle",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", str(LEFT_VENTRICLE): "Left ventricle"},
        "licence": "CC0 1.0",
        "reference": "Radau et al. 2009, MIDAS Journal",
    }
    (target / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    (target / "splits.json").write_text(json.dumps({**splits, "subjects": subjects}), encoding="utf-8")
