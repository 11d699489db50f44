"""What many classes cost: `.venv/bin/python scripts/benchmark_classes.py [--classes N] [--grid MM] [--features N ...]`.

Segments a made-up CT of 512 x 512 x 600 voxels (0.8 x 0.8 x 1 mm, int16; balls of different brightness in noise) with
one of nnU-Net's networks, of random weights, whose card is that of an imported model: patches of 128 x 128 x 128
voxels. Prints seconds, the processor's seconds, and the peak memory of the process, from file to file. With ``--back``,
only what bringing 118 classes back to an image's grid takes of a core, and all of every class, resampled by ITK.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch

from llmboost.bench.footprint import measured
from llmboost.card import RAS, SEGMENTATION, Card, Label, Normalization, Origin, Preprocessing
from llmboost.foreign.nnunet.plans import TILING
from llmboost.inference.contest import winning_classes
from llmboost.io.image import Image, resample
from llmboost.model import save_model
from llmboost.networks import build

SPACING = (0.8, 0.8, 1.0)
BALLS = 150
PATCH_SIZE = (128, 128, 128)


def main() -> None:
    parser = argparse.ArgumentParser(description="What many classes cost.")
    parser.add_argument("--classes", type=int, default=105, help="background included")
    parser.add_argument("--grid", type=float, default=1.5, help="the network's spacing, mm")
    parser.add_argument("--features", type=int, nargs="+", default=[4, 8, 16, 16, 16, 16], help="of each stage")
    parser.add_argument("--shape", type=int, nargs=3, default=[512, 512, 600], help="of the scan, voxels")
    parser.add_argument("--fast", action="store_true", help="a larger step from patch to patch")
    parser.add_argument("--back", action="store_true", help="only from the network's grid to the image's")
    options = parser.parse_args()
    if options.back:
        for noise in (0.5, 30.0):
            _bring_back(118, (60, 80, 80), (110, 146, 146), noise)
        return
    with tempfile.TemporaryDirectory() as folder:
        scan, model = Path(folder) / "scan.nii", Path(folder) / "many.safetensors"
        _write_scan(options.shape, scan)
        _write_model(options.classes, options.grid, options.features, model)
        where: list[str | Path] = ["--output", Path(folder) / "out", "--device=cpu"]
        command = [sys.executable, "-m", "llmboost", "segment", scan, "--model", model, *where]
        seconds, gigabytes, message = measured([*command, *(["--fast"] if options.fast else [])])
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        drawn = len(
            np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(next(Path(folder, "out").glob("*.seg.nrrd"))))))
        )
    print(
        f"{options.classes} classes at {options.grid} mm, {drawn} of them drawn: {seconds:.0f} s,"
        f" processor {used.ru_utime + used.ru_stime:.0f} s, peak {gigabytes:.2f} GB. {message}"
    )


def _bring_back(classes: int, shape: tuple[int, int, int], wanted: tuple[int, int, int], noise: float) -> None:
    """Scores of balls, one a class, with more or less noise."""
    random = np.random.default_rng(0)
    voxels = np.moveaxis(np.indices(shape), 0, -1).astype(np.float32)
    scores = np.zeros((classes, *shape), np.float32)
    for one in scores[1:]:
        distance = np.linalg.norm(voxels - random.uniform(0, 1, 3).astype(np.float32) * shape, axis=-1)
        one += np.clip(1.5 * (random.uniform(3, 9) - distance), -12, 12)
    scores += noise * random.standard_normal(scores.shape, np.float32)
    finer = np.array(shape) / wanted
    first = (finer - 1) / 2
    slab = Image(scores, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    part = Image(np.broadcast_to(np.float32(0), wanted), tuple(finer), tuple(first), np.eye(3))
    started = time.process_time()
    best, expected = np.full(wanted, -np.inf, np.float32), np.zeros(wanted, np.int16)
    for n, one in enumerate(scores):
        found = resample(slab.with_array(one), part, "linear").array
        better = found > best
        best[better], expected[better] = found[better], n
    between = time.process_time()
    differing = int((winning_classes(slab, part, _card(classes, 1.0, {}), None) != expected).sum())
    seconds = time.process_time() - between
    print(
        f"noise {noise}: {seconds:.2f} s of a core, all of every class {between - started:.2f} s;"
        f" {differing} of {expected.size} voxels differ"
    )


def _write_scan(shape: list[int], path: Path) -> None:
    random = np.random.default_rng(0)
    scan = np.full(shape[::-1], -1000, np.int16)
    size = np.array(scan.shape)
    for _ in range(BALLS):
        radius = int(random.integers(10, max(int(size.min() // 5), 11)))
        middle = (size * random.uniform(0.15, 0.85, 3)).astype(int)
        box = tuple(slice(max(m - radius, 0), m + radius + 1) for m in middle)
        part = scan[box]
        z, y, x = np.ogrid[tuple(slice(b.start, b.start + n) for b, n in zip(box, part.shape, strict=True))]
        ball = (z - middle[0]) ** 2 + (y - middle[1]) ** 2 + (x - middle[2]) ** 2 < radius**2
        part[ball] = random.integers(-200, 800)
    for plane in scan:  # noise of the whole at once would take eight bytes a voxel
        plane += random.normal(0, 20, plane.shape).astype(np.int16)
    image = sitk.GetImageFromArray(scan)
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(path))


def _write_model(classes: int, grid: float, features: list[int], path: Path) -> None:
    torch.manual_seed(0)
    stages = len(features)
    network = {
        "channels": 1,
        "classes": classes,
        "features": tuple(features),
        "kernels": ((3, 3, 3),) * stages,
        "strides": ((1, 1, 1), *((2, 2, 2),) * (stages - 1)),
        "blocks": (2,) * stages,
        "decoder_convs": (2,) * (stages - 1),
    }
    built = build("plain-conv-unet", network, None)
    with torch.no_grad():
        built.get_parameter("head.weight").mul_(20)  # as sure of a class as a trained network
    save_model(built, _card(classes, grid, {"name": "plain-conv-unet", **network}), path)


def _card(classes: int, grid: float, network: dict[str, Any]) -> Card:
    labels = tuple(Label(n, f"structure {n}", (n * 37 % 256, n * 91 % 256, n * 53 % 256)) for n in range(1, classes))
    return Card(
        name="many",
        title="many classes",
        description="random weights",
        task=SEGMENTATION,
        labels=labels,
        modality="CT",
        preprocessing=Preprocessing(
            spacing=(grid,) * 3,
            patch_size=PATCH_SIZE,
            normalization=(Normalization("window", -1000, 1000, 0, 400),),
            orientation=RAS,
            crop=True,
            resampling="cubic",
            normalize="before",
        ),
        network=network,
        booster={},
        tiling=TILING,
        origin=Origin("nnU-Net v2", "made up", {}),
    )


if __name__ == "__main__":
    main()
