"""Tell `brain` what a head is: `.venv/bin/python scripts/calibrate_subject.py MAPS [--write VERSION]`.

MAPS is a folder with SynthSeg's label maps (see train_brain.py): where the structures lie to each other is their mean
after each map was shifted, turned and scaled to the others, both sides mirror images. The limits below were chosen on
the samples of foreign_samples.py; measure_foreign.py tells what they do. With `--write` all goes into the model's card,
whose weights and digest stay.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from llmboost.card import Subject, read_card, write_card
from llmboost.inference.subject import aligned
from llmboost.library import find
from synthesis import head_labels, read_head_map
from synthesis.patches import classes_of

# what surrounds the brain, and the halves of the cerebrum, lie where the field of view ends
LOOSE = ("white matter", "cerebral cortex", "fluid")
GRID = 1.5  # mm, how far the middle of a structure may be off on the network's grid of 4 mm
LIMITS: dict[str, Any] = {"fewest": 12, "misfit": 1.3, "scale": (0.6, 1.5), "contrast": 0.08, "rim": 1.5}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", type=Path)
    parser.add_argument("--model", default="brain")
    parser.add_argument("--write", help="the version of the card with the numbers")
    arguments = parser.parse_args()
    subject = head(arguments.maps)
    for name, place in subject.places.items():
        print(f"{name}: {place}")
    if arguments.write:
        path = find(arguments.model)
        write_card(path, dataclasses.replace(read_card(path), subject=subject, version=arguments.write))
        print(f"{path}: card {arguments.write}")


def head(maps: Path) -> Subject:
    labels = {n: label.name for n, label in enumerate(head_labels(), start=1)}
    names = {n: name for n, name in labels.items() if not any(word in name for word in LOOSE)}
    heads = np.array([middles(path, list(names)) for path in sorted(maps.glob("*.nii.gz"))])
    return subject_of("head", heads, list(names.values()), GRID, LIMITS)


def subject_of(name: str, examples: np.ndarray, names: list[str], grid: float, limits: dict[str, Any]) -> Subject:
    """What a subject looks like: the mean of its examples, both sides mirror images.

    Args:
        examples: (subjects, structures, 3): their middles in mm along R, A, S.
        names: of the structures.
        grid: mm, how far a middle may be off on the network's grid.
    """
    other = [names.index(_other_side(structure)) for structure in names]
    mean, alike = examples[0], np.ones(len(names))
    for _ in range(5):
        fitted = np.array([aligned(points, mean, alike)[0] for points in examples])
        mean = fitted.mean(axis=0) - fitted.mean(axis=(0, 1))
        mean = (mean + mean[other] * (-1, 1, 1)) / 2
    # as large as the examples are on average, where the first one was the measure until now
    scale = np.mean([aligned(mean, points, alike)[1] for points in examples])
    spread = np.sqrt(((fitted - mean) ** 2).sum(axis=2).mean(axis=0)) * scale
    spread = np.sqrt((spread**2 + spread[other] ** 2) / 2 + grid**2)
    places = {structure: _tenths([*(scale * mean[n]), spread[n]]) for n, structure in enumerate(names)}
    return Subject(name, places, **limits)


def middles(path: Path, classes: list[int]) -> np.ndarray:
    """(structures, 3): their middles in mm along R, A, S."""
    head = read_head_map(path)
    found = classes_of()[head.indices.long()].numpy()
    return np.array([np.argwhere(found == n).mean(axis=0) * head.spacing for n in classes])


def _tenths(mm: Iterable[float]) -> tuple[float, float, float, float]:
    right, anterior, superior, spread = (round(float(value), 1) for value in mm)
    return right, anterior, superior, spread


def _other_side(name: str) -> str:
    side, _, rest = name.partition(" ")
    return {"Left": f"Right {rest}", "Right": f"Left {rest}"}.get(side, name)


if __name__ == "__main__":
    main()
