"""Small made-up images to classify. A test module says ``from .class_samples import write_npz``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

SIZE = 16
# of the small networks, so small that a step takes milliseconds
TINY = {"stem": (4, 8), "width": 16, "depth": 2, "heads": 2, "head_width": 8, "mlp": 32, "dropout": 0.0}


def pictures(
    count: int, seed: int = 0, classes: int = 2, size: int = SIZE, noise: float = 10
) -> tuple[np.ndarray, np.ndarray]:
    """Gray pictures (N, rows, columns) of discs in noise and their classes (N, 1), in turn: the larger the disc, the
    higher the class."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    rows, columns = np.mgrid[:size, :size]
    middles = (size - 1) / 2 + random.uniform(-1.5, 1.5, (2, count, 1, 1))
    radius = size * (0.14 + 0.2 * labels / (classes - 1))[:, None, None]
    inside = (rows - middles[0]) ** 2 + (columns - middles[1]) ** 2 < radius**2
    values = 50 + 120 * inside + noise * random.standard_normal(inside.shape)
    return values.clip(0, 255).astype(np.uint8), labels[:, None].astype(np.uint8)


def volumes(count: int, seed: int = 0, size: int = SIZE) -> tuple[np.ndarray, np.ndarray]:
    """Masks (N, R, A, S) of balls (1) and of flat discs (0) of like volume, and their classes."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    index = np.stack(np.meshgrid(*[np.arange(size)] * 3, indexing="ij"))[:, None]
    middles = (size - 1) / 2 + random.uniform(-1, 1, (3, count, 1, 1, 1))
    across = np.where(labels, 0.28, 0.4)[:, None, None, None] * size
    along = np.where(labels, 0.28, 0.12)[:, None, None, None] * size
    r, a, s = (index - middles) / np.stack([across, across, along])
    return (r**2 + a**2 + s**2 < 1).astype(np.uint8), labels[:, None].astype(np.uint8)


def write_npz(path: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Path:
    """A file in MedMNIST's form of images and labels by split."""
    images = {f"{split}_images": pair[0] for split, pair in splits.items()}
    labels = {f"{split}_labels": pair[1] for split, pair in splits.items()}
    np.savez(path, **images, **labels)
    return path


def three_splits(make=pictures, counts=(48, 24, 24), **options) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """train, val and test of ``make``."""
    return {
        split: make(count, seed=n, **options)
        for n, (split, count) in enumerate(zip(("train", "val", "test"), counts, strict=True))
    }
