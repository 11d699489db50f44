"""Measuring a model on a labeled data set: a segmenter case by case on the images' own grids, a classifier on all."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from .card import Classification
from .errors import LLMBoostError
from .files import printable, write_whole
from .inference.classify import classify
from .inference.segment import segment
from .io.dataset import Dataset, DatasetCase, load, read_dataset
from .io.datasetcheck import is_constant
from .io.image import Image
from .io.imageset import ImageSet, is_image_set, read_image_set
from .io.labels import NEAR, exchanged
from .jsonfile import append_json
from .metrics.classification import RESAMPLES, classification_scores
from .metrics.segmentation import AVERAGED, segmentation_scores, summarize
from .model import Model

Seen = Callable[[dict[str, Any], Image, Image, Image], None]
SeenImage = Callable[[dict[str, Any], Sequence[Image]], None]
UNJUDGED = 2  # beside the 1 of a region
LOGGED = ("model", "digest", "dataset", "split", "mirror", "n_cases", "mean_dice", "n", "auc")


def open_split(path: Path, asked: str = "") -> tuple[Dataset | ImageSet, str]:
    """The data set at ``path``, and the name of the split to measure on.

    Args:
        asked: train, val, test or all; by default the cases for testing, or, of a data set without splits, on which
            hardly anything was trained, all that are labeled.

    Raises:
        LLMBoostError: no data set, or a damaged one.
    """
    data: Dataset | ImageSet = read_image_set(path) if is_image_set(path) else read_dataset(path)
    if asked:
        return data, asked
    divided = path.is_file() or any((path / name).exists() for name in ("splits.json", "train"))
    return data, "test" if data.splits["test"] or divided else "all"


def evaluate(
    model: Model,
    data: Dataset | ImageSet,
    split: str,
    *,
    mirror: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda case: None,
    seen: Any = None,
) -> dict[str, Any]:
    """:func:`evaluate_segmenter` or :func:`evaluate_classifier`, as the data are labeled."""
    if isinstance(data, ImageSet):
        return evaluate_classifier(model, data, split, report=report, seen=seen)
    return evaluate_segmenter(model, data, split, mirror=mirror, report=report, seen=seen)


def evaluate_segmenter(
    model: Model,
    dataset: Dataset,
    split: str,
    *,
    mirror: bool = False,
    report: Callable[[dict[str, Any]], None] = lambda case: None,
    seen: Seen | None = None,
    limit: float = math.inf,
) -> dict[str, Any]:
    """The measures of :mod:`.metrics` for every case of a split, their summary, and warnings of what makes figures
    doubtful. A label that was not drawn in a case (``partly_labeled``) has none there. Where the data set has regions,
    a case's ``regions`` are the same measures of each by name, and the summary's their means over the cases.

    Args:
        mirror: as for :func:`.inference.segment.segment`.
        report: called with each case's measures as they come.
        seen: called with each case's measures, its first channel, the reference and what was drawn.
        limit: seconds after which no further case is begun; ``of`` then tells of how many some were measured.

    Raises:
        LLMBoostError: the split is empty, a file of it cannot be used, or the model has other labels.
    """
    cases = dataset.split(split)
    values = [label.value for label in model.card.labels]
    unknown = [f"{value} ({name})" for value, name in dataset.labels.items() if value not in values]
    if unknown:
        raise LLMBoostError(
            f"{dataset.folder}: model '{model.card.name}' has no label {', '.join(unknown)};"
            " evaluate it on a data set with its own labels"
        )
    if wrong := exchanged(dataset.labels, {label.value: label.name for label in model.card.labels}):
        raise LLMBoostError(f"{dataset.folder / 'dataset.json'}: {wrong} for model '{model.card.name}'; renumber it")
    results: list[dict[str, Any]] = []
    warnings, shown, started = [], [], time.monotonic()
    for case in cases:
        if results and time.monotonic() - started > limit:
            break
        channels, reference = _read(case)
        if all(is_constant(channel) for channel in channels):
            warnings.append(f"{case.images[0]}: has one value throughout, so its figures say nothing; export it again")
        if min(reference.shape) > 1:
            shown.append(set(np.unique(reference.array).tolist()))
        scores, drawn = _measure(model, dataset, case.id, channels, reference, mirror)
        results.append({"id": case.id, **scores})
        report(results[-1])
        if seen:
            seen(results[-1], channels[0], reference, drawn)
    groups = [dataset.subjects.get(case.id, case.id) for case in cases[: len(results)]]
    summary = summarize(results, groups=groups)
    return {
        "model": model.card.name,
        "digest": model.card.digest,
        "dataset": dataset.name,
        "split": split,
        "mirror": mirror,
        **({"of": len(cases)} if len(results) < len(cases) else {}),
        **summary,
        **({"regions": _means([one["regions"] for one in results])} if dataset.regions else {}),
        "cases": results,
        "warnings": [*warnings, *_lacking(dataset, shown)],
    }


def _read(case: DatasetCase) -> tuple[list[Image], Image]:
    """Channels and label map, on one grid."""
    channels, reference = load(case)
    if reference is None:
        raise LLMBoostError(f"{case.images[0]}: no label map to compare with; put one into labelsTr")
    if not reference.same_grid(channels[0], NEAR):
        raise LLMBoostError(f"{case.label}: does not lie on the grid of its image {case.images[0].name}")
    return channels, reference


def _measure(
    model: Model, dataset: Dataset, id: str, channels: list[Image], reference: Image, mirror: bool
) -> tuple[dict[str, Any], Image]:
    """The measures of a case, and what was drawn in it."""
    # the labels to compare with tell sides, whether or not the image does
    result = segment(model, [replace(channel, sides_known=True) for channel in channels], mirror=mirror)
    drawn = result.merged(model.card.labels)
    scores = segmentation_scores(
        drawn.array,
        reference.array.astype("int32"),
        reference.spacing,
        dataset.labels,
        ignore=dataset.ignore,
        undrawn=dataset.undrawn(id, set(np.unique(reference.array).tolist())),
    )
    regions = {
        name: _of_region(drawn.array, reference, sorted(values), dataset.ignore)
        if all(scores["dice"][str(value)] is not None for value in values)
        else dict.fromkeys(AVERAGED)
        for name, values in dataset.regions.items()
    }
    return {"seconds": round(result.seconds, 3), **scores, **({"regions": regions} if regions else {})}, drawn


def _of_region(drawn: np.ndarray, reference: Image, values: list[int], ignore: int | None) -> dict[str, float | None]:
    """The measures of several labels as one."""
    array = reference.array
    true = np.where(array == ignore, UNJUDGED, np.isin(array, values)) if ignore else np.isin(array, values)
    scores = segmentation_scores(
        np.isin(drawn, values).astype(np.int8), true.astype(np.int8), reference.spacing, [1], ignore and UNJUDGED
    )
    return {measure: scores[measure]["1"] for measure in AVERAGED}


def _means(cases: Sequence[dict[str, dict[str, float | None]]]) -> dict[str, dict[str, float | None]]:
    """The means over the cases that have the measure."""
    found = {}
    for name in cases[0]:
        columns = {m: [value for case in cases if (value := case[name][m]) is not None] for m in AVERAGED}
        found[name] = {m: float(np.mean(values)) if values else None for m, values in columns.items()}
    return found


def _lacking(dataset: Dataset, shown: list[set[int]]) -> list[str]:
    """A warning where dataset.json does not tell whether what some volumes lack was drawn there.

    Args:
        shown: the values of each label map.
    """
    labeled = [values for values in shown if values & dataset.labels.keys()]
    every = {name: sum(value not in values for values in labeled) for value, name in dataset.labels.items()}
    lacking = [f"{printable(name)} ({n} of {len(labeled)} cases)" for name, n in every.items() if 0 < n < len(labeled)]
    if dataset.partly_labeled is not None or dataset.presumed or not lacking:
        return []
    return [
        f"measured as absent where a label map lacks it: {', '.join(lacking)}; if it was not drawn there, say"
        ' "partly_labeled": true in dataset.json'
    ]


def evaluate_classifier(
    model: Model,
    data: ImageSet,
    split: str,
    *,
    report: Callable[[dict[str, Any]], None] = lambda case: None,
    seen: SeenImage | None = None,
) -> dict[str, Any]:
    """The measures of :mod:`.metrics.classification` over the images of a split, and each image's probabilities.

    Args:
        report: called with each image's probabilities as they come.
        seen: called with those and the image's channels.

    Raises:
        LLMBoostError: the split is empty, a file of it cannot be used, or the model has other classes.
    """
    card, classification = model.card, model.card.classification
    if classification is None:
        raise LLMBoostError(f"{data.path}: is for classifiers, and model '{card.name}' segments")
    samples, names = data.split(split), [label.name for label in card.labels]
    if list(data.classes) != names:
        raise LLMBoostError(
            f"{data.path}: has the classes {', '.join(data.classes)}, but model '{card.name}' tells {', '.join(names)}"
        )
    cases = []
    for sample in samples:
        try:
            channels = sample.read(card.preprocessing)
            found = classify(model, channels, anyway=True)
        except LLMBoostError as error:
            raise LLMBoostError(f"{data.path}: {sample.id}: {error}") from error
        cases.append(
            {
                "id": sample.id,
                "target": list(sample.target),
                "probabilities": [round(p, 5) for p in found.probabilities],
                "outside": found.range.outside,
                "seconds": round(found.seconds, 4),
            }
        )
        report(cases[-1])
        if seen:
            seen(cases[-1], channels)
    return {
        "model": card.name,
        "digest": card.digest,
        "outside": sum(bool(case["outside"]) for case in cases),
        **judged(data, split, classification, cases),
    }


def judged(
    data: ImageSet,
    split: str,
    meaning: Classification,
    cases: Sequence[dict[str, Any]],
    *,
    thresholds: np.ndarray | None = None,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """The measures of images of a split, each with its ``target`` and ``probabilities``.

    Args:
        meaning: of the probabilities.
        thresholds: by default those of ``meaning``.
        resamples: see :func:`.metrics.classification.classification_scores`.
    """
    scores = classification_scores(
        np.array([case["probabilities"] for case in cases]),
        np.array([case["target"] for case in cases]),
        positive=data.classes.index(meaning.positive) if meaning.positive else None,
        thresholds=meaning.thresholds if thresholds is None else thresholds,
        multi_label=meaning.multi_label,
        ordinal=meaning.ordinal,
        resamples=resamples,
    )
    return {
        "dataset": data.name,
        "split": split,
        "classes": list(data.classes),
        "positive": meaning.positive,
        "thresholds": list(meaning.thresholds),
        **scores,
        "cases": list(cases),
    }


def write_evaluation(result: dict[str, Any], path: Path) -> None:
    """Write the result as JSON, and a line about it to the .jsonl file beside it.

    That line stays when the JSON is overwritten: whoever reads a test list more than once can see it there.
    """
    write_whole(path, (json.dumps(result, indent=1) + "\n").encode())
    line = {
        "event": "evaluation",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        **{key: result[key] for key in LOGGED if key in result},
    }
    append_json(path.with_suffix(".jsonl"), line)
