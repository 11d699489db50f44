"""How good is `headneck`? `.venv/bin/python scripts/measure_headneck.py [--foreign | --picture FILE]`, of the data in
LLMBOOST_DATA.

Cases of the validation list as they are, as of a mirrored patient, and as a scanner shows them: with a table, a mask
and air around, made up as for the training, but by another seed. With `--foreign`, images of something else, and how
many of them are refused; necks in CT are not among them. With `--picture`, a case of the validation list is drawn.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bootstrap import ROOT
from foreign_samples import heads, others
from llmboost.inference.mirror import in_a_mirror
from llmboost.inference.segment import segment
from llmboost.io.dataset import load, read_dataset
from llmboost.io.image import Image, to_canonical
from llmboost.io.picture import Scene, draw
from llmboost.learn.patches import Volume
from llmboost.library import find
from llmboost.metrics.segmentation import segmentation_scores
from llmboost.model import Model, load_model
from train_headneck import WINDOW, scanned, usable

PICTURED = "pt_157"
DATA = Path(os.environ.get("LLMBOOST_DATA") or ROOT.parent / "shared" / "data")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--foreign", action="store_true")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    model = load_model(find("headneck"))
    if arguments.picture:
        draw_case(model, arguments.picture)
    elif arguments.foreign:
        refuses(model)
    else:
        draws(model)


def draw_case(model: Model, path: Path) -> None:
    """Draws the planners' labels of a case with all organs, and the model's."""
    (case,) = (case for case in read_dataset(DATA / "headneck_ct").split("val") if case.id == PICTURED)
    images, label = load(case)
    assert label is not None
    found = segment(model, images)
    draw([Scene("planners", images[0], label), Scene("headneck", images[0], found.labelmap)], found.labels, path)


def draws(model: Model) -> None:
    """Prints Dice by structure and way, the mean over the cases where it is labeled."""
    names = {label.value: label.name for label in model.card.labels}
    scores: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
    refused: Counter[str] = Counter()
    data = usable(read_dataset(DATA / "headneck_ct"))
    random = np.random.default_rng(1)
    for case in data.split("val"):
        images, label = load(case)
        assert label is not None
        for way, (image, truth) in ways(images[0], label, model, random):
            found = segment(model, [image])
            refused[way] += not found.labelmap.array.any()
            drawn = sorted(set(np.unique(truth.array).astype(int)) & set(names))
            answer, reference = (one.array.astype(int) for one in (found.labelmap, truth))
            for value, score in segmentation_scores(answer, reference, truth.spacing, drawn)["dice"].items():
                scores[way][int(value)].append(score or 0.0)  # of a label that is there, it is known
    for way, of in scores.items():
        means = {names[value]: float(np.mean(dice)) for value, dice in sorted(of.items())}
        print(f"{way}: mean {np.mean(list(means.values())):.3f}, refused {refused[way]};", end=" ")
        print(", ".join(f"{name} {mean:.3f}" for name, mean in means.items()))


def ways(
    image: Image, label: Image, model: Model, random: np.random.Generator
) -> Iterator[tuple[str, tuple[Image, Image]]]:
    """A case as it is, and others that are made of it, each with its labels."""
    yield "as it is", (image, label)
    image, label = to_canonical(image), to_canonical(label)
    other = np.array(in_a_mirror(model.card.labels))[label.array.astype(int)]  # labels are numbered as classes are
    mirrored = (replace(one, array=array[::-1].copy()) for one, array in ((image, image.array), (label, other)))
    yield "a mirrored patient", tuple(mirrored)  # type: ignore[misc]
    values = (np.clip(image.array, WINDOW.low, WINDOW.high) - WINDOW.mean) / WINDOW.std
    volume = Volume(
        "", torch.from_numpy(values[None].astype(np.float32)), torch.from_numpy(label.array[None].copy()), None
    )
    made = scanned(volume, random)
    grid = image.spacing, image.origin, image.direction
    array = made.image[0].numpy() * WINDOW.std + WINDOW.mean
    yield "with table, mask and air", (image.on_grid(array, *grid), image.on_grid(made.label[0].numpy(), *grid))


def refuses(model: Model) -> None:
    """Prints which images of something else are not refused, and how many are, by kind."""
    seen: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for name, kind, image in (*heads(DATA), *others(DATA)):
        if kind.startswith("neck CT"):
            continue
        drawn = bool(segment(model, [image]).labelmap.array.any())
        seen[kind] += 1
        refused[kind] += not drawn
        if drawn:
            print(f"drawn: {name}", flush=True)
    for kind, number in seen.items():
        print(f"{kind}: {refused[kind]} of {number}")
    print(f"all: {sum(refused.values())} of {sum(seen.values())}")


if __name__ == "__main__":
    main()
