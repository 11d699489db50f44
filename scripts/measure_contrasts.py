"""How much a model depends on the scan: `.venv/bin/python scripts/measure_contrasts.py DATASET MODEL [MODEL ...]`.

Dice on the val cases of a data set as they are; with their intensities through random curves, the same ones for every
model (not those of training: another seed); and in slices of 6 mm, across one axis after the other.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from llmboost.inference.segment import segment
from llmboost.io.dataset import Dataset, load, read_dataset
from llmboost.io.image import Image, resample, resample_to_spacing
from llmboost.learn.augment import IMAGE, RandContrastd
from llmboost.library import find
from llmboost.metrics.segmentation import segmentation_scores
from llmboost.model import Model, load_model

SEED = 1_000_000
THICK = 6.0  # mm


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("models", nargs="+")
    arguments = parser.parse_args()
    dataset = read_dataset(arguments.dataset)
    for name in arguments.models:
        found = measure(load_model(find(name)), dataset)
        print(f"{name}: " + ", ".join(f"{figure} {dice:.4f}" for figure, dice in found.items()), flush=True)


def measure(model: Model, dataset: Dataset) -> dict[str, float]:
    """Mean Dice of the val cases by the figures' names."""
    cases = [(images[0], label) for images, label in map(load, dataset.split("val")) if label is not None]
    plain = [_dice(model, image, label) for image, label in cases]
    other = [_dice(model, _in_another_contrast(image, SEED + n), label) for n, (image, label) in enumerate(cases)]
    thick = [_dice(model, image, label, axis=n % 3) for n, (image, label) in enumerate(cases)]
    return {
        "val_dice": float(np.mean(plain)),
        "val_dice_in_random_contrasts": float(np.mean(other)),
        f"val_dice_in_{THICK:g}_mm_slices": float(np.mean(thick)),
    }


def _in_another_contrast(image: Image, seed: int) -> Image:
    change = RandContrastd(IMAGE, prob=1.0)
    change.set_random_state(seed=seed)
    values = torch.from_numpy(image.array.astype(np.float32))
    return image.with_array(change({IMAGE: values})[IMAGE].numpy())


def _dice(model: Model, image: Image, label: Image, axis: int | None = None) -> float:
    """Of both labels, on the label map's grid; ``axis``: that across which the image is seen in thick slices."""
    spacing = [THICK if n == axis else mm for n, mm in enumerate(image.spacing)]
    found = resample(segment(model, [resample_to_spacing(image, spacing)]).labelmap, label, "nearest").array
    values = tuple(one.value for one in model.card.labels)
    scores = segmentation_scores(found, label.array.round().astype(int), label.spacing, values)
    return float(np.mean(list(scores["dice"].values())))


if __name__ == "__main__":
    main()
