"""Adapting: a base learns from a few cases and is measured on others, and on its old task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from ...errors import LLMBoostError
from ...inference.segment import segment
from ...io.dataset import Dataset, DatasetCase, load, read_dataset
from ...io.datasetcheck import is_constant
from ...io.image import Image, write_image
from ...learn.adaptation.common import AdaptSettings
from ...learn.adaptation.flow import adapt
from ...learn.ranking import rank_cases
from ...learn.train import run_folder
from ...library import find
from ...metrics.segmentation import segmentation_scores
from ...model import Model, load_model
from ..nnunet import train_nnunet
from ..shift import shifted
from ..sources import PHANTOM, read_source
from . import Context, Measure, settings_of

MEASURES = (
    Measure("dice", "Dice"),
    Measure("hd95_mm", "HD95 (mm)", better="lower"),
    Measure("old_dice", "Dice, old images"),
)
DEVELOPMENT = 3  # where there is no val, every third subject of train
DRAWS = 100


@dataclass(frozen=True)
class Settings:
    """What a row may set.

    Attributes:
        data: a data set in the folder of data, or what else :mod:`..sources` knows.
        base: a model's name or file.
        how: ``adapt``; or use the base as it is (``none``), or on images whose histogram is matched to that of one of
            the base's training images (``matching``; Nyúl & Udupa's landmarks, as ITK has them); or let nnU-Net's own
            program fine-tune it for ``adapt``'s minutes (``nnunet``, see :func:`..nnunet.train_nnunet`).
        cases: to learn from, one a subject, drawn from the train split with the row's seed; 0 takes all of it. Of
            slices, all of a subject's are taken. Together they show every label; images of one value are passed over,
            here and where it is measured.
        pool: from how many cases, drawn in the same way, the base chooses those to learn from (see
            :mod:`...learn.ranking`); 0: chance alone chooses.
        unlabelled: how many more cases, drawn in the same way, are there without their label maps.
        shift: images to learn from and to measure on are as another scanner would have made them (see :mod:`..shift`);
            ``old_dice`` is then measured on the same cases as they were.
        labels: values to keep; others become background. By default all.
        partly_labeled: that what a label map lacks was not drawn there, where the data set itself does not tell.
        split, every: what is measured at the end: every n-th case of this split. Of a data set without val, every third
            subject of train is it.
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
    partly_labeled: bool = False
    split: str = "test"
    every: int = 1
    sides: int = 1
    adapt: dict[str, Any] = field(default_factory=dict)


def run(row: Mapping[str, Any], context: Context) -> dict[str, Any]:
    """Adapt and measure; the adapter stays in the row's folder."""
    settings = settings_of(row, Settings)
    if settings.how not in (ways := ("none", "matching", *LEARNING)):
        raise LLMBoostError(f"row '{row['id']}': how '{settings.how}' is none of {', '.join(ways)}")
    dataset, temporary = _dataset(settings, context), context.folder / "data"
    random = np.random.default_rng(row["seed"])
    chosen, unlabeled = _draw(dataset, settings, random)
    model = load_model(find(settings.base), context.device)
    if settings.pool:
        chosen = _ranked(model, dataset, chosen, settings, context.folder / "pool")
    output, val, numbers = context.folder / "adapter.safetensors", 0.0, dict[str, float]()
    if settings.how in LEARNING:
        _write(dataset, chosen, settings, temporary, unlabeled)
        val, numbers = LEARNING[settings.how](settings, temporary, output, row["seed"], context)
        model = load_model(output, context.device)
    reference = None
    if settings.how == "matching":
        reference = load(dataset.cases[str(random.permutation(dataset.splits["train"])[0])])[0][0]
    cases = [
        _measured(model, dataset, case, settings, reference)
        for case in [case for case in dataset.split(settings.split) if _shown(case) is not None][:: settings.every]
    ]
    for folder in (temporary, context.folder / PHANTOM, run_folder(output)):
        shutil.rmtree(folder, ignore_errors=True)
    return {"val": val, "cases": cases, "numbers": numbers}


def _by_ourselves(
    settings: Settings, data: Path, output: Path, seed: int, context: Context
) -> tuple[float, dict[str, float]]:
    """Dice on the cases held out, and what else the row tells."""
    given = adapt_settings(settings, seed)
    result = adapt(find(settings.base), data, output, given, device=context.device, report=context.report)
    return result.after.mean_dice or 0.0, {
        "steps": result.steps,
        "adapting (min)": round(result.seconds / 60, 2),
        "file (MB)": round(output.stat().st_size / 1e6, 2),
    }


def _by_nnunet(settings: Settings, data: Path, output: Path, seed: int, _: Context) -> tuple[float, dict[str, float]]:
    """As :func:`_by_ourselves`; it holds no case out."""
    if not (minutes := adapt_settings(settings, seed).minutes):
        raise LLMBoostError("nnU-Net fine-tunes for minutes; give them")
    used = train_nnunet(read_dataset(data), output, minutes, seed, find(settings.base))
    return 0.0, {"steps": used["steps"], "adapting (min)": used["minutes"]}


LEARNING = {"adapt": _by_ourselves, "nnunet": _by_nnunet}


def adapt_settings(settings: Settings, seed: int) -> AdaptSettings:
    """How a row adapts; raises LLMBoostError for what is no field of them."""
    try:
        return AdaptSettings(seed=seed, **settings.adapt)
    except TypeError as error:
        raise LLMBoostError(f"adapt: {error}") from error


def _dataset(settings: Settings, context: Context) -> Dataset:
    """The whole data set; ``subjects`` of every case, ``labels`` those that are kept."""
    dataset = read_source(settings.data, context, settings.sides)
    if settings.split == "val" and not dataset.splits["val"]:
        dataset = _with_development(dataset)
    keep = settings.labels or list(dataset.labels)
    labels = {value: name for value, name in dataset.labels.items() if value in keep}
    partly = dict.fromkeys(dataset.cases, frozenset(labels)) if settings.partly_labeled else dataset.partly_labeled
    return replace(dataset, labels=labels, partly_labeled=partly)


def _with_development(dataset: Dataset) -> Dataset:
    """A data set that has train and test alone, with a val of its train's."""
    ids = dataset.splits["train"]
    held = sorted({dataset.subjects[id] for id in ids})[DEVELOPMENT - 1 :: DEVELOPMENT]
    train, val = ([id for id in ids if (dataset.subjects[id] in held) == wanted] for wanted in (False, True))
    return replace(dataset, splits={**dataset.splits, "train": train, "val": val})


def _draw(
    dataset: Dataset, settings: Settings, random: np.random.Generator
) -> tuple[list[DatasetCase], list[DatasetCase]]:
    """The cases to learn from, and those without a label map: more cases hold all of fewer ones with the same seed,
    but where fewer ones lack a label, and are drawn anew.

    Raises:
        LLMBoostError: so many cases never show all labels.
    """
    if not settings.cases:
        return dataset.split("train"), []
    shown = cache(_shown)  # each case is read once
    for _ in range(DRAWS):
        labeled, unlabeled = _drawn(dataset, settings, random, shown)
        if {value for case in labeled for value in shown(case) or ()} >= dataset.labels.keys():
            return labeled, unlabeled
    raise LLMBoostError(f"{dataset.folder}: no {settings.cases} case(s) show all labels; learn from more, or name some")


def _drawn(
    dataset: Dataset,
    settings: Settings,
    random: np.random.Generator,
    shown: Callable[[DatasetCase], set[int] | None],
) -> tuple[list[DatasetCase], list[DatasetCase]]:
    train = dataset.split("train")
    count = settings.pool or settings.cases
    drawn: tuple[list[DatasetCase], list[DatasetCase]] = ([], [])
    number = 0
    for subject in random.permutation(sorted({dataset.subjects[case.id] for case in train})):
        if number == count + settings.unlabelled:
            break
        own = [case for case in train if dataset.subjects[case.id] == subject]
        own = own if settings.sides == 1 else [own[int(random.integers(len(own)))]]
        own = [case for case in own if shown(case) is not None]
        drawn[number >= count].extend(own)
        number += bool(own)
    return drawn


def _shown(case: DatasetCase) -> set[int] | None:
    """The values of a case's label map; None of images that show nothing, which neither teach nor measure."""
    images, label = load(case)
    assert label is not None
    return None if all(map(is_constant, images)) else set(np.unique(label.array).tolist())


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
    if dataset.partly_labeled is not None:
        partly = {case.id: dataset.partly_labeled.get(case.id, frozenset()) for case in cases}
        description["partly_labeled"] = {
            id: [name for value, name in dataset.labels.items() if value in values] for id, values in partly.items()
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
    undrawn = dataset.undrawn(case.id, set(np.unique(label.array).tolist()))
    if reference is not None:
        images = [_matched(image, reference) for image in images]
    entry = {"id": case.id, "subject": dataset.subjects[case.id], **_scores(model, images, label, undrawn)}
    old = _scores(model, load(case)[0], label, undrawn)["dice"] if settings.shift else None
    return {**entry, "old_dice": old}


def _scores(model: Model, images: Sequence[Image], label: Image, undrawn: Collection[int]) -> dict[str, float | None]:
    """Means over the labels that image or answer have. Where one of them alone has a label, its HD95 is the length of
    the image's diagonal: an arm that finds nothing is not to look the better for it."""
    found = segment(model, images).merged(model.card.labels).array
    values = [one.value for one in model.card.labels]
    scores = segmentation_scores(found, label.array, label.spacing, values, undrawn=undrawn)
    either = [key for key in scores["dice"] if scores["volume_ml"][key] or scores["reference_ml"][key]]
    diagonal = float(np.linalg.norm(np.multiply(label.shape, label.spacing)))
    distances = [diagonal if (mm := scores["hd95_mm"][key]) is None else mm for key in either]
    return {
        "dice": float(np.mean([scores["dice"][key] for key in either])) if either else None,
        "hd95_mm": float(np.mean(distances)) if either else None,
    }


def _matched(image: Image, reference: Image) -> Image:
    """The image with the reference's histogram, at 7 landmarks above each one's mean."""
    one, other = (sitk.GetImageFromArray(each.array.astype(np.float32)) for each in (image, reference))
    matching = sitk.HistogramMatchingImageFilter()
    matching.SetNumberOfHistogramLevels(256)
    matching.SetNumberOfMatchPoints(7)
    matching.ThresholdAtMeanIntensityOn()
    return image.with_array(sitk.GetArrayFromImage(matching.Execute(one, other)))
