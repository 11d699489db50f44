"""Copy a data set with its axes stored in other orders and senses: `reorient_dataset.py DATASET OUTPUT [--seed N]`.

Every case keeps each voxel's place in space and gets one of the 48 ways to store it, at random. A model that heeds the
headers scores the same on the copy.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
from pathlib import Path

import numpy as np

from llmboost.io.dataset import read_dataset
from llmboost.io.image import Image, read_image, write_image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    orders = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
    for folder in ("imagesTr", "labelsTr"):
        (arguments.output / folder).mkdir(parents=True)
    for name in ("dataset.json", "splits.json"):
        if (arguments.dataset / name).exists():
            shutil.copyfile(arguments.dataset / name, arguments.output / name)
    for case in read_dataset(arguments.dataset).cases.values():
        axes, senses = orders[random.integers(len(orders))]
        for path in (*case.images, case.label):
            if path is not None:
                write_image(reorient(read_image(path), axes, senses), arguments.output / path.parent.name / path.name)


def reorient(image: Image, axes: tuple[int, ...], senses: tuple[int, ...]) -> Image:
    """The image with new axis n being old axis ``axes[n]``, reversed where ``senses[n]`` is -1; no voxel moves."""
    corner = np.zeros(3)
    for axis, sense in zip(axes, senses, strict=True):
        corner[axis] = image.shape[axis] - 1 if sense < 0 else 0
    origin = image.affine[:3, :3] @ corner + image.origin
    i, j, k = axes
    return Image(
        image.array.transpose(axes)[tuple(slice(None, None, sense) for sense in senses)],
        (image.spacing[i], image.spacing[j], image.spacing[k]),
        tuple(origin),
        image.direction[:, axes] * senses,
    )


if __name__ == "__main__":
    main()
