"""Adapting: a base learns from a few cases and is measured on others, and on its old task."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...errors import LLMBoostError
from ...inference.segment import segment
from ...io.dataset import Dataset, DatasetCase, load, read_dataset
from ...io.image import Image, write_image
from ...learn.adaptation.common import AdaptSettings
from ...learn.adaptation.flow import adapt
from ...learn.ranking import rank_cases
from ...library import find
from ...model import Model, load_model
from ..phantom import write_phantom
from ..shift import shifted
from ..subjects import with_subjects
from ..sunnybrook import write_sunnybrook
from . import Context, Measure, settings_of

MEASURES = (
    Measure("dice", "Dice"),
    Measure("old_dice", "Dice, old images"),
)
PHANTOM, SUNNYBROOK = "phantom", "sunnybrook_lv"
HOW = ("none", "matching", "adapt")


@dataclass(frozen=True)
class Settings:
    """What a row may set.

    Attributes:
        data: a data set in the folder of data, ``sunnybrook_lv``, or ``phantom``, which is made up.
        base: a model's name or file.
        how: ``adapt``; or use the base as it is (``none``), or on images whose histogram is matched to that of one of
            the base's training images (``matching``; Nyúl & Udupa's landmarks, as ITK has them).
        cases: to learn from, one a subject, drawn from the train split with the row's seed; 0 takes all of it. Of
            slices, all of a subject's are taken.
        pool: from how many cases, drawn in the same way, the base chooses those to learn from (see
            :mod:`...learn.ranking`); 0: chance alone chooses.
        unlabelled: how many more cases, drawn in the same way, are there without their label maps.
        shift: images to learn from and to measure on are as another scanner would have made them (see :mod:`..shift`);
            ``old_dice`` is then measured on the same cases as they were.
        labels: values to keep; others become background. By default all.
        split, every: what is measured at the end: every n-th case of this split.
        sides: how many cases, numbered one after the other, show one subject.
        adapt: fields of :class:`...learn.adaptation.common.AdaptSettings`.
    """

    data: str
    base: str
    how: str = "adapt"
    cases: int = 5
    pool: int = 0
    unlabelled: int = 0
    shift: bool = False
    labels: list[int] = field(default_factory=list)
    split: str = "test"
    every: int = 1
    sides: int = 1
    adapt: dict[str, Any] = field(default_factory=dict)


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Adapt and measure; the adapter stays in the row's folder."""
    settings = settings_of(row, Settings)
    if settings.how not in HOW:
        raise LLMBoostError(f"row '{row['id']}': how '{settings.how}' is none of {', '.join(HOW)}")
    dataset, temporary = _dataset(settings, context), context.folder / "data"
    random = np.random.default_rng(row["seed"])
    chosen, unlabeled = _draw(dataset, settings, random)
    model = load_model(find(settings.base), context.device)
    if settings.pool:
        chosen = _ranked(model, dataset, chosen, settings, context.folder / "pool")
    numbers: dict[str, float] = {}
    val = 0.0
    if settings.how == "adapt":
        _write(dataset, chosen, settings, temporary, unlabeled)
        output = context.folder / "adapter.safetensors"
        result = adapt(
            find(settings.base),
            temporary,
            output,
            adapt_settings(settings, row["seed"]),
            device=context.device,
            report=context.report,
        )
        model = load_model(output, context.device)
        val = result.after.mean_dice or 0.0
        numbers = {
            "steps": result.steps,
            "adapting (min)": round(result.seconds / 60, 2),
            "file (MB)": round(output.stat().st_size / 1e6, 2),
        }
    reference = None
    if settings.how == "matching":
        reference = load(dataset.cases[str(random.permutation(dataset.splits["train"])[0])])[0][0]
    cases = [
        _measured(model, dataset, case, settings, reference)
        for case in dataset.split(settings.split)[:: settings.every]
    ]
    for folder in (temporary, context.folder / "source"):
        shutil.rmtree(folder, ignore_errors=True)
    return {"val": val, "cases": cases, "numbers": numbers}


def adapt_settings(settings: Settings, seed: int) -> AdaptSettings:
    """How a row adapts; raises LLMBoostError for what is no field of them."""
    try:
        return AdaptSettings(seed=seed, **settings.adapt)
    except TypeError as error:
        raise LLMBoostError(f"adapt: {error}") from error


def _dataset(settings: Settings, context: Context) -> Dataset:
    """The whole data set; ``subjects`` of every case, ``labels`` those that are kept."""
    folder = context.data / settings.data
    if settings.data == PHANTOM:
        folder = context.folder / "source"
        write_phantom(folder)
    elif settings.data == SUNNYBROOK:
        # beside the rows' folders, for all of them
        source, folder = folder, context.folder.parent / SUNNYBROOK
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=context.folder) as temporary:
                write_sunnybrook(source, Path(temporary) / SUNNYBROOK)
                (Path(temporary) / SUNNYBROOK).rename(folder)
    dataset = with_subjects(read_dataset(folder), settings.sides)
    keep = settings.labels or list(dataset.labels)
    return replace(dataset, labels={value: name for value, name in dataset.labels.items() if value in keep})


def _draw(
    dataset: Dataset, settings: Settings, random: np.random.Generator
) -> tuple[list[DatasetCase], list[DatasetCase]]:
    """The cases to learn from, and those without a label map: more cases hold all of fewer ones with the same seed."""
    train = dataset.split("train")
    if not settings.cases:
        return train, []
    subjects = random.permutation(sorted({dataset.subjects[case.id] for case in train}))
    count = settings.pool or settings.cases
    drawn: tuple[list[DatasetCase], list[DatasetCase]] = ([], [])
    for number, subject in enumerate(subjects[: count + settings.unlabelled]):
        own = [case for case in train if dataset.subjects[case.id] == subject]
        drawn[number >= count].extend(own if settings.sides == 1 else [own[int(random.integers(len(own)))]])
    return drawn


def _ranked(
    model: Model, dataset: Dataset, cases: Sequence[DatasetCase], settings: Settings, folder: Path
) -> list[DatasetCase]:
    """Those of ``cases`` that the model asks for first, as if none were labeled."""
    _write(dataset, cases, settings, folder)
    pool = read_dataset(folder)
    unlabeled = {id: replace(case, label=None) for id, case in pool.cases.items()}
    order = rank_cases(model, replace(pool, cases=unlabeled))
    shutil.rmtree(folder)
    return [dataset.cases[entry.id] for entry in order[: settings.cases]]


def _write(
    dataset: Dataset,
    cases: Sequence[DatasetCase],
    settings: Settings,
    folder: Path,
    unlabeled: Sequence[DatasetCase] = (),
) -> None:
    """A data set folder of labeled cases, without splits: what is held out of them is for adapting to choose."""
    for case in [*cases, *unlabeled]:
        images, label = _load(dataset, case, settings)
        for channel, image in enumerate(images):
            write_image(image, folder / "imagesTr" / f"{case.id}_{channel:04d}.nii.gz")
        if case in cases:
            write_image(label, folder / "labelsTr" / f"{case.id}.nii.gz")
    description = {
        "name": dataset.name,
        "channel_names": dict(enumerate(dataset.modalities)),
        "labels": {"background": 0, **{name: value for value, name in dataset.labels.items()}},
        "licence": dataset.license,
        "reference": dataset.reference,
    }
    (folder / "dataset.json").write_text(json.dumps(description), encoding="utf-8")
    subjects = {case.id: dataset.subjects[case.id] for case in cases}
    splits = {"train": [case.id for case in cases], "val": [], "test": [], "subjects": subjects}
    (folder / "splits.json").write_text(json.dumps(splits), encoding="utf-8")


def _load(dataset: Dataset, case: DatasetCase, settings: Settings) -> tuple[list[Image], Image]:
    images, label = load(case)
    assert label is not None
    array = np.where(np.isin(label.array, list(dataset.labels)), label.array, 0).round().astype(np.uint8)
    return [shifted(image, case.id) for image in images] if settings.shift else images, label.with_array(array)


def _measured(
    model: Model, dataset: Dataset, case: DatasetCase, settings: Settings, reference: Image | None
) -> dict[str, Any]:
    images, label = _load(dataset, case, settings)
    if reference is not None:
        images = [_matched(image, reference) for image in images]
    known = [one.value for one in model.card.labels]
    entry = {"id": case.id, "subject": dataset.subjects[case.id], "dice": _dice(model, images, label, known)}
    old = _dice(model, load(case)[0], label, known) if settings.shift else None
    return {**entry, "old_dice": old}


def _dice(model: Model, images: Sequence[Image], label: Image, values: Sequence[int]) -> float | None:
    """The mean over the labels that either has."""
    found = segment(model, images).merged(model.card.labels).array
    scores = []
    for value in values:
        a, b = found == value, label.array == value
        if total := int(a.sum() + b.sum()):
            scores.append(2 * int((a & b).sum()) / total)
    return float(np.mean(scores)) if scores else None


def _matched(image: Image, reference: Image) -> Image:
    """The image with the reference's histogram, at 7 landmarks above each one's mean."""
    one, other = (sitk.GetImageFromArray(each.array.astype(np.float32)) for each in (image, reference))
    matching = sitk.HistogramMatchingImageFilter()
    matching.SetNumberOfHistogramLevels(256)
    matching.SetNumberOfMatchPoints(7)
    matching.ThresholdAtMeanIntensityOn()
    return image.with_array(sitk.GetArrayFromImage(matching.Execute(one, other)))
