"""A series of cases segmented by strokes, one after the other: does the next one take fewer strokes?

A simulated user paints and corrects until a case is good, and goes on to the next. What was drawn of all cases before
teaches the model, as "Add this case" and a training do in the product; nothing else does, no expert's label map.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import LLMBoostError
from ...inference.segment import segment
from ...io.dataset import Dataset, load
from ...io.image import Image, write_image
from ...learn.adaptation.common import AdaptSettings
from ...learn.adaptation.flow import adapt
from ...learn.train import run_folder
from ...library import find
from ...model import load_model
from ...strokes.simulate import SimulatedUser
from ..shift import shifted
from ..sources import PHANTOM, read_source
from . import Context, Measure, settings_of
from .strokes import PRODUCT, answering, mean_scores

LENGTH = 4  # cases of a series
MOST = 7  # rounds; a case that is not good then counts as these
MEASURES = (
    Measure(f"rounds_{LENGTH}", f"rounds, case {LENGTH}", better="lower"),
    *(Measure(f"rounds_{n}", f"rounds, case {n}", better="lower") for n in range(1, LENGTH)),
    *(Measure(f"dice_{n}", f"Dice before strokes, case {n}") for n in (1, LENGTH)),
)


@dataclass(frozen=True)
class Settings:
    """What a row may set.

    Attributes:
        data: a data set in the folder of data, or what else :mod:`..sources` knows; images of one channel.
        model: a model's name or file; its labels have the data set's values.
        good: the mean Dice at which the user goes on to the next case.
        learns: whether the model learns of the cases before, or stays as it is; within a case, strokes teach either.
        split: that the cases are drawn from with the row's seed, no two of the same subject.
        axis: across which the user looks at slices, 0 to 2.
        shift: images are as another scanner would have made them (see :mod:`..shift`).
        sides: how many cases, numbered one after the other, show one subject.
        adapt: fields of :class:`...learn.adaptation.common.AdaptSettings`.
    """

    data: str
    model: str
    good: float = 0.85
    learns: bool = True
    axis: int = 2
    split: str = "val"
    shift: bool = False
    sides: int = 1
    adapt: dict[str, Any] = field(default_factory=dict)


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Paint a series of cases; the row's seed is that of the series, the strokes and the trainings.

    Raises:
        LLMBoostError: the split has too few subjects.
    """
    settings = settings_of(row, Settings)
    dataset = read_source(settings.data, context, settings.sides)
    random = np.random.default_rng(row["seed"])
    listed = dataset.splits[settings.split]
    subjects = random.permutation(sorted({dataset.subjects[id] for id in listed}))[:LENGTH].tolist()
    if len(subjects) < LENGTH:
        raise LLMBoostError(f"{dataset.folder}: a series is of {LENGTH} subjects, split '{settings.split}' has fewer")
    ids = [str(random.choice([id for id in listed if dataset.subjects[id] == subject])) for subject in subjects]
    figures = _series(dataset, ids, settings, row["seed"], context)
    shutil.rmtree(context.folder / PHANTOM, ignore_errors=True)
    case = {"id": "series", "subject": ", ".join(ids), **figures}
    return {"val": -figures[f"rounds_{LENGTH}"], "cases": [case], "numbers": {}}


def _series(dataset: Dataset, ids: Sequence[str], settings: Settings, seed: int, context: Context) -> dict[str, float]:
    """How many rounds each case took, and its Dice before them."""
    base, folder, output = find(settings.model), context.folder / "data", context.folder / "adapter.safetensors"
    model, entry, painted = load_model(base, context.device), dict[str, float](), list[tuple[Image, Image]]()
    for number, id in enumerate(ids, 1):
        if painted and settings.learns:
            output.unlink(missing_ok=True)  # adapting overwrites nothing
            _write(dataset, painted, folder)
            adapt(base, folder, output, AdaptSettings(seed=seed, **settings.adapt), device=context.device)
            model = load_model(output, context.device)
            shutil.rmtree(folder)
            shutil.rmtree(run_folder(output), ignore_errors=True)
        images, label = load(dataset.cases[id])
        assert label is not None
        image = shifted(images[0], id) if settings.shift else images[0]
        truth = label.array.round().astype(np.uint16)
        found = segment(model, [image]).merged(model.card.labels).array.astype(np.uint16)
        entry[f"dice_{number}"] = dice = mean_scores(found, truth, label.spacing)["dice"]
        user, answer = SimulatedUser(truth, settings.axis, seed), answering(PRODUCT, model, image)
        rounds, strokes = 0, user.first_strokes()
        while dice < settings.good and rounds < MOST:
            rounds += 1
            found, _ = answer(strokes)
            dice = mean_scores(found, truth, label.spacing)["dice"]
            strokes = user.correct(strokes, found)
        entry[f"rounds_{number}"] = rounds
        context.report({"event": "step", "fraction": number / LENGTH})
        painted.append((image, image.with_array(found)))
    output.unlink(missing_ok=True)
    return entry


def _write(dataset: Dataset, painted: Sequence[tuple[Image, Image]], folder: Path) -> None:
    """The cases as a data set folder."""
    ids = [f"case_{n}" for n in range(len(painted))]
    for id, (image, labels) in zip(ids, painted, strict=True):
        write_image(image, folder / "imagesTr" / f"{id}.nii.gz")
        write_image(labels, folder / "labelsTr" / f"{id}.nii.gz")
    description = {
        "name": dataset.name,
        "modality": dict(enumerate(dataset.modalities)),
        "labels": {"background": 0, **{name: value for value, name in dataset.labels.items()}},
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    (folder / "splits.json").write_text(json.dumps({"train": ids, "val": [], "test": []}), encoding="utf-8")
