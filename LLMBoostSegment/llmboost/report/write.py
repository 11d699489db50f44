"""A report on a model of either task."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..card import Card
from ..io.dataset import Dataset
from ..io.imageset import ImageSet
from . import classification, segmentation
from .classification import ObservedImages
from .observed import Observed
from .sections import Training


def observer(data: Dataset | ImageSet) -> Observed | ObservedImages:
    """Which is to be shown each case of a data set as it is measured."""
    return ObservedImages() if isinstance(data, ImageSet) else Observed(data.labels, data.ignore)


def write_report(
    path: Path,
    card: Card,
    result: Mapping[str, Any],
    observed: Observed | ObservedImages,
    training: Training | None = None,
) -> None:
    """Write a report, whole or not at all.

    Args:
        result: what :func:`..evaluation.evaluate` gave, or of that form.
        observed: was shown its cases.

    Raises:
        LLMBoostError: it cannot be written.
    """
    if isinstance(observed, ObservedImages):
        classification.write_report(path, card, result, observed, training)
    else:
        segmentation.write_report(path, card, result, observed, training)
