"""What the shipped classifiers say of MedMNIST's val and test lists, and how unusual images of other kinds are to them.

    .venv/bin/python scripts/measure_classifiers.py --data ../shared/data [NAME ...]

A row a model and list goes into Testing/bench/classifiers/rows.jsonl, in place of the one of before:
NAME/val and NAME/test with each image's probabilities, NAME/foreign with the distances of the foreign kinds of
measure_guards.py. Nothing is chosen here; summarize_classifiers.py makes tables and pictures of the rows.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from llmboost.bench.rows import program_commit
from llmboost.bench.runner import ROWS as FILE
from llmboost.bench.runner import read_rows
from llmboost.errors import LLMBoostError
from llmboost.evaluation import judged
from llmboost.files import write_whole
from llmboost.inference.classify import classify
from llmboost.io.image import Image
from llmboost.io.imageset import read_image_set
from llmboost.learn.provenance import made_with
from llmboost.library import find
from llmboost.machine import processor
from llmboost.model import Model, load_model
from measure_guards import SETS, kinds_of

FOLDER = Path(__file__).parents[1] / "Testing" / "bench" / "classifiers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(SETS), help="models; by default all that are shipped")
    parser.add_argument("--data", type=Path, required=True, help="folder with medmnist, viewer and the other data sets")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    commit = program_commit()  # before the rows change a file of it
    for name in arguments.names:
        model = load_model(find(name))
        for part, measured in (("val", on_list), ("test", on_list), ("foreign", on_foreign)):
            started = time.monotonic()
            found = measured(model, arguments.data, part)
            keep(model, part, commit, time.monotonic() - started, found)
            print(f"{name}/{part}: {time.monotonic() - started:.0f} s", flush=True)


def on_list(model: Model, root: Path, split: str) -> dict[str, Any]:
    """Figures over a split's images and, image by image: class, probabilities, mean value (of a mask: how much it
    fills), and distance to the training's images."""
    data = read_image_set(root / "medmnist" / f"{SETS[model.card.name]}.npz")
    meaning = model.card.classification
    assert meaning is not None
    cases: list[dict[str, Any]] = []
    kept: dict[str, list[Any]] = {"class": [], "probabilities": [], "mean": [], "distance": []}
    for sample in data.split(split):
        channels = sample.read(model.card.preprocessing)
        found = classify(model, channels, anyway=True)
        cases.append({"target": sample.target, "probabilities": found.probabilities})
        kept["class"].append(int(np.argmax(sample.target)))
        kept["probabilities"].append([_rounded(p) for p in found.probabilities])
        kept["mean"].append(_rounded(float(np.mean([channel.array.mean() for channel in channels]))))
        kept["distance"].append(_rounded(found.range.score))
    figures = judged(data, split, meaning, cases)
    figures = {name: value for name, value in figures.items() if name not in ("cases", "dataset", "split")}
    return {"figures": figures, "cases": kept}


def on_foreign(model: Model, root: Path, _: str) -> dict[str, Any]:
    """The distance of each foreign image to the training's, by kind; none where an image cannot even be read."""
    kinds = kinds_of(model, root, "second")
    return {"kinds": {kind: [_distance(model, one) for one in images] for kind, images, foreign in kinds if foreign}}


def _distance(model: Model, channels: list[Image]) -> float | None:
    try:
        return _rounded(classify(model, channels).range.score)
    except LLMBoostError:
        return None


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")


def keep(model: Model, part: str, commit: str, seconds: float, found: dict[str, Any]) -> None:
    """Write the row into the file, in place of the one of before."""
    card = model.card
    assert card.classification is not None
    assert card.classification.looks is not None
    row = {
        "row": f"{card.name}/{part}",
        "settings": {"data": f"medmnist/{SETS[card.name]}.npz", "part": part},
        "model": {"version": card.version, "digest": card.digest},
        "temperature": card.classification.temperature,
        "limit": card.classification.looks.limit,
        "device": "cpu",
        "threads": torch.get_num_threads(),
        "commit": commit,
        **made_with(),
        "seconds": round(seconds, 1),
        "machine": processor(),
        **found,
    }
    others = [record for record in read_rows(FOLDER) if record["row"] != row["row"]]
    FOLDER.mkdir(exist_ok=True)
    lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in [*others, row])
    write_whole(FOLDER / FILE, lines.encode())


if __name__ == "__main__":
    main()
