"""Segmenting by strokes: a simulated user paints in three slices, and then corrects one slice a round."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import LLMBoostError
from ...inference.segment import segment
from ...io.dataset import load
from ...io.image import Image
from ...library import find
from ...messages.strokes import BACKGROUND
from ...metrics.segmentation import segmentation_scores
from ...model import Model, load_model
from ...strokes.simulate import SimulatedUser
from ...strokes.strokes import strokes_of
from ...strokes.volume import StrokedVolume
from ..shift import shifted
from ..sources import read_source
from ..strokers import STROKERS, stroker
from . import Context, Measure, settings_of

ROUNDS = 4
MEASURES = (
    *(Measure(f"dice_{n}", f"Dice, round {n}") for n in range(1, ROUNDS + 1)),
    *(Measure(f"hd95_mm_{n}", f"HD95 (mm), round {n}", better="lower") for n in range(1, ROUNDS + 1)),
)
PRODUCT, MODEL = "product", "model"
WAYS = (PRODUCT, MODEL, *STROKERS)


@dataclass(frozen=True)
class Settings:
    """What a row may set.

    Attributes:
        data: a data set in the folder of data, or what else :mod:`..sources` knows; images of one channel.
        how: ``product`` answers as the worker does, by the walker, or by ``model`` where one is named, which learns
            from the strokes; ``model`` is that one as it is; or one of :mod:`..strokers`, in the same box.
        model: a model's name or file; its labels have the data set's values.
        axis: across which the user looks at slices, 0 to 2.
        split, every: what is measured: every n-th case of this split.
        shift: images are as another scanner would have made them (see :mod:`..shift`).
        sides: how many cases, numbered one after the other, show one subject.
    """

    data: str
    how: str = PRODUCT
    model: str = ""
    axis: int = 2
    split: str = "val"
    every: int = 1
    shift: bool = False
    sides: int = 1


# of strokes uint16 [i, j, k]: the labels' values [i, j, k], and how many voxels the box has that was computed
Answering = Callable[[np.ndarray], tuple[np.ndarray, int]]


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Paint and correct; the row's seed is that of the strokes."""
    settings = settings_of(row, Settings)
    if settings.how not in WAYS:
        raise LLMBoostError(f"row '{row['id']}': how '{settings.how}' is none of {', '.join(WAYS)}")
    model = load_model(find(settings.model), context.device) if settings.model else None
    dataset = read_source(settings.data, context, settings.sides)
    chosen = dataset.split(settings.split)[:: settings.every]
    cases: list[dict[str, Any]] = []
    seconds: list[float] = []
    voxels: list[int] = []
    for case in chosen:
        images, label = load(case)
        assert label is not None
        image = shifted(images[0], case.id) if settings.shift else images[0]
        truth = label.array.round().astype(np.uint16)
        entry: dict[str, Any] = {"id": case.id, "subject": dataset.subjects[case.id]}
        user, answer = SimulatedUser(truth, settings.axis, row["seed"]), answering(settings.how, model, image)
        strokes = user.first_strokes()
        for number in range(1, ROUNDS + 1):
            started = time.process_time()
            found, count = answer(strokes)
            seconds.append(time.process_time() - started)
            voxels.append(count)
            entry |= {f"{name}_{number}": value for name, value in mean_scores(found, truth, label.spacing).items()}
            strokes = user.correct(strokes, found)
        cases.append(entry)
        context.report({"event": "step", "fraction": len(cases) / len(chosen)})
    return {
        "val": float(np.mean([case[f"dice_{ROUNDS}"] for case in cases])),
        "cases": cases,
        "numbers": {
            "CPU s a round": float(np.mean(seconds)),
            "its 95th percentile": float(np.percentile(seconds, 95)),
            "voxels in the box": float(np.mean(voxels)),
        },
    }


def answering(how: str, model: Model | None, image: Image) -> Answering:
    """What answers, for one image. What is painted is kept."""
    labels = np.zeros(image.shape, np.uint16)
    if how == PRODUCT:
        volume = StrokedVolume(image, model.card if model else None)

        def product(strokes: np.ndarray) -> tuple[np.ndarray, int]:
            answer = volume.update(strokes, model=model)
            found = labels.copy()
            found[answer.box] = answer.labels
            return found, answer.labels.size

        return product
    if how == MODEL:
        assert model is not None, "a row of a model names it"
        known = segment(model, [image]).labelmap.array
        return lambda strokes: (_painted_over(known, strokes), known.size)
    method = stroker(how)

    def other(strokes: np.ndarray) -> tuple[np.ndarray, int]:
        painted = strokes_of(strokes, image.spacing)
        box = painted.box()
        inner = painted.within(box)
        classes = method(image.array[box].astype(np.float32), inner.classes, image.spacing)
        found = labels.copy()
        found[box] = np.array([0, *painted.values])[classes]
        return _painted_over(found, strokes), inner.array.size

    return other


def _painted_over(labels: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """The labels, and where something is painted, that."""
    return np.where(strokes > 0, np.where(strokes == BACKGROUND, 0, strokes), labels)


def mean_scores(found: np.ndarray, truth: np.ndarray, spacing: tuple[float, float, float]) -> dict[str, float]:
    """Means over the labels of the truth; the HD95 of one that was not found is the length of the image's diagonal."""
    scores = segmentation_scores(found, truth, spacing, [int(value) for value in np.unique(truth) if value])
    diagonal = float(np.linalg.norm(np.multiply(truth.shape, spacing)))
    distances = [diagonal if mm is None else mm for mm in scores["hd95_mm"].values()]
    return {"dice": float(np.mean(list(scores["dice"].values()))), "hd95_mm": float(np.mean(distances))}
