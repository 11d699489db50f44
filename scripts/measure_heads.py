"""Whole heads and what is none: `.venv/bin/python scripts/measure_heads.py VIEWER OUTPUT [--orientations 10]`.

VIEWER is a folder of real scans (see foreign_samples.py and the list below). Segments each head with `hippocampus`, as
it is stored and with its axes stored in random other orders and senses, and then what is no head; prints millilitres,
the largest deviation among the orientations, seconds and the process's peak of memory, and draws the heads into the
picture OUTPUT (.jpg).
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import resource
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from foreign_samples import HEADS, MNI152
from llmboost.inference.segment import Segmentation, segment
from llmboost.io.dicom import find_series, read_series
from llmboost.io.image import Image, read_image
from llmboost.io.picture import Scene, draw
from llmboost.library import find
from llmboost.model import load_model
from reorient_dataset import reorient

OTHERS = {
    "chest_CT": "nifti/ct_chest_lidc_0314_1p5mm.nii.gz",
    "body_PET": "dicom/pet_wholebody_qin_headneck_with_seg.zip",
    "spine_MR": "nifti/mr_spine_t2.nii.gz",
    "abdomen_CT": "ct_mr_totalsegmentator/example_ct.nii.gz",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("viewer", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--model", default="hippocampus")
    parser.add_argument("--orientations", type=int, default=10)
    arguments = parser.parse_args()
    model, scenes = load_model(find(arguments.model)), []
    for name, image, modality in heads(arguments.viewer):
        result = segment(model, [replace(image, modality=modality)])
        scenes.append(Scene(name, image, result.labelmap))
        deviations = [
            _deviation(result, segment(model, [reorient(image, axes, senses)]))
            for axes, senses in _orders(arguments.orientations)
        ]
        _tell(name, result, f"largest deviation {100 * max(deviations, default=0):.2f} %")
    draw(scenes, result.labels, arguments.output)
    for name, image, modality in others(arguments.viewer):
        _tell(name, segment(model, [replace(image, modality=modality)]), "")
    unit = 2**30 if sys.platform == "darwin" else 2**20
    print(f"peak of memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit:.2f} GB")


def heads(viewer: Path) -> Iterator[tuple[str, Image, str]]:
    """The whole heads: name, image, modality."""
    wheel = importlib.util.find_spec("nilearn")
    if wheel is not None and wheel.submodule_search_locations:
        yield "MNI152", *read(Path(wheel.submodule_search_locations[0]) / MNI152)
    for name, path in HEADS.items():
        yield name, *read(viewer / path)


def others(viewer: Path) -> Iterator[tuple[str, Image, str]]:
    """Scans of other parts of the body, noise, and nothing."""
    for name, path in OTHERS.items():
        yield name, *read(viewer / path)
    place = ((1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    yield "noise", Image(np.random.default_rng(0).normal(100, 30, (180, 200, 180)).astype(np.int16), *place), ""
    yield "zeros", Image(np.zeros((180, 200, 180), np.int16), *place), ""


def read(path: Path) -> tuple[Image, str]:
    """The image of a file, or that of the largest DICOM series in a zip file with its modality."""
    if path.suffix != ".zip":
        return read_image(path), ""
    with tempfile.TemporaryDirectory() as folder:
        zipfile.ZipFile(path).extractall(folder)
        series = max(find_series(Path(folder)), key=lambda one: len(one.files))
        return read_series(series)[0][0], series.modality


def _orders(count: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    every = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))[1:]
    return [every[n] for n in np.random.default_rng(0).choice(len(every), count, replace=False)]


def _deviation(one: Segmentation, other: Segmentation) -> float:
    """The largest relative difference of a side's volume."""
    sides = [
        [sum(ml for name, ml in result.volumes_ml.items() if name.startswith(side)) for side in ("Left", "Right")]
        for result in (one, other)
    ]
    return max(abs(b / a - 1) if a else float(b > 0) for a, b in zip(*sides, strict=True))


def _tell(name: str, result: Segmentation, more: str) -> None:
    volumes = ", ".join(f"{label} {ml:.2f}" for label, ml in result.volumes_ml.items())
    print(f"{name}: {volumes} mL; {result.seconds:.1f} s {more} {'; '.join(result.warnings)}", flush=True)


if __name__ == "__main__":
    main()
