"""Writes into the shipped classifiers' cards what their training images look like; weights and digests stay.

    .venv/bin/python scripts/fit_guards.py --data ../shared/data/medmnist

A training does the same at its end; these models were trained before there was such a guard.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from llmboost.card import read_card, write_card
from llmboost.inference import looks
from llmboost.io.imageset import read_image_set
from llmboost.learn.classification.task import read_images
from llmboost.library import find

SETS = {
    "adrenal": "adrenalmnist3d_64",
    "breast": "breastmnist",
    "pneumonia": "pneumoniamnist",
    "retina": "retinamnist",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MedMNIST's .npz files")
    arguments = parser.parse_args()
    for name, file in SETS.items():
        path, data = find(name), read_image_set(arguments.data / f"{file}.npz")
        card = read_card(path)
        classification, preprocessing = card.classification, card.preprocessing
        assert classification is not None
        train, val = (
            read_images(data.split(split), preprocessing, classification.input_region) for split in ("train", "val")
        )
        usual = looks.fit(
            train.images.numpy(), val.images.numpy(), preprocessing.mirror, classification.input_region == "mask"
        )
        refused = (looks.distance(usual, val.images.numpy()) > usual.limit).mean()
        print(f"{name}: {usual.blocks} blocks, limit {usual.limit:.3f}, {len(usual.numbers) / 1024:.0f} KB,", end=" ")
        print(f"refuses {refused:.1%} of val")
        write_card(path, dataclasses.replace(card, classification=dataclasses.replace(classification, looks=usual)))


if __name__ == "__main__":
    main()
