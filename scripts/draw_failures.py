"""Pictures of where the shipped models fail: `.venv/bin/python scripts/draw_failures.py [NAME ...]`, of the data in
LLMBOOST_DATA, into Resources/failure-NAME.jpg.

Of a segmenter, of the cases that it did not learn from and does not refuse, the one with the lowest mean Dice: of the
validation list, or of the real heads that measure_brain.py measures; as experts drew it (or, of the heads, another
network), and below by the model, as far as both know a structure. Of a classifier, the eight test images of which it
was surest, and wrong (rows of measure_classifiers.py).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bootstrap import ROOT
from llmboost.inference.segment import segment
from llmboost.io.dataset import load, read_dataset
from llmboost.io.image import Image, read_image, resample
from llmboost.io.imageset import read_image_set
from llmboost.io.picture import Scene, draw
from llmboost.library import find
from llmboost.metrics.segmentation import segmentation_scores
from llmboost.model import Model, load_model
from measure_guards import SETS
from measure_headneck import DATA
from summarize_classifiers import answers
from synthesis import FINE, head_labels
from synthesis.real import MOVED, classes_of_regions, heads_with_regions
from train_brain import LEARNED_HEADS
from train_headneck import usable

LISTS = {"hippocampus": "Task04_Hippocampus", "headneck": "headneck_ct"}
BRAINS = "brain", "brain-1mm"
ROWS, COLUMNS = 2, 4


def main() -> None:
    for name in sys.argv[1:] or [*LISTS, *BRAINS, *SETS]:
        path = ROOT / "Resources" / f"failure-{name}.jpg"
        if name in SETS:
            draw_mistakes(name, path)
        else:
            draw_worst(name, path)


def draw_worst(name: str, path: Path) -> None:
    """A segmenter's worst case, as it was drawn and as the model draws it."""
    model, worst = load_model(find(name)), 2.0
    for id, image, reference in cases(name, model):
        found = segment(model, [image])
        truth = resample(reference, image, "nearest").array.round().astype(int)
        values = sorted(set(np.unique(truth).tolist()) - {0})
        ours = found.merged(model.card.labels).array.astype(int)
        ours[~np.isin(ours, values)] = 0
        scores = segmentation_scores(ours, truth, image.spacing, values)["dice"]
        dice = float(np.mean([score or 0.0 for score in scores.values()]))
        print(f"{name}, {id}: {dice:.3f}", flush=True)
        if dice < worst and ours.any():
            worst, drawn = dice, (image.with_array(truth), image.with_array(ours))
            scenes = [Scene(title, image, labels) for title, labels in zip(("reference", name), drawn, strict=True)]
    draw(scenes, model.card.labels, path)


def cases(name: str, model: Model) -> Iterator[tuple[str, Image, Image]]:
    """Name, image, and the labels of the model as another drew them, on a grid of their own."""
    if name in LISTS:
        for case in usable(read_dataset(DATA / LISTS[name])).split("val"):
            images, label = load(case)
            assert label is not None
            yield case.id, images[0], label
        return
    folder, names = DATA / "heads_t1_flair_2mm", {label.name: label.value for label in model.card.labels}
    known = {label.value: names[label.name] for label in head_labels(FINE) if label.name in names}
    for path in heads_with_regions(folder)[LEARNED_HEADS:]:
        regions = read_image(folder / "muse" / path.name)
        classes = classes_of_regions(np.rint(regions.array).astype(np.int16))
        ours = np.array([known.get(value, 0) for value in range(int(classes.max()) + 1)])[classes]
        for sequence in ("t1",) if path.name in MOVED else ("t1", "flair"):
            yield f"{path.name}, {sequence}", read_image(folder / sequence / path.name), regions.with_array(ours)


def draw_mistakes(name: str, path: Path) -> None:
    """A classifier's surest mistakes; of a volume, how much of it lies behind each other."""
    card, said = load_model(find(name)).card, answers(name)
    classes = [label.name for label in card.labels]
    samples = read_image_set(DATA / "medmnist" / f"{SETS[name]}.npz").split("test")
    told = said.probabilities.argmax(axis=1)
    sure = np.where(told == said.classes, 0.0, said.probabilities.max(axis=1))
    figure = Figure(figsize=(2.2 * COLUMNS, 2.6 * ROWS), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, n in zip(figure.subplots(ROWS, COLUMNS).flat, np.argsort(-sure), strict=False):
        assert samples[n].target[said.classes[n]], "the rows are of another list"
        channels = [one.array for one in samples[n].read(card.preprocessing)]
        shown = np.stack([one.sum(axis=2).T if one.shape[2] > 1 else one[:, :, 0].T for one in channels], axis=-1)
        axis.imshow(shown.astype(np.uint8) if len(channels) > 1 else shown, cmap="gray")
        title = f"{classes[said.classes[n]]},\ntold {classes[told[n]]} {sure[n]:.0%}"
        axis.set_title(title, fontsize=9)
        axis.set_axis_off()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
