"""Whom each case of a data set shows, for data sets that do not tell."""

from __future__ import annotations

import re
from dataclasses import replace

from ..io.dataset import Dataset


def with_subjects(dataset: Dataset, sides: int) -> Dataset:
    """``dataset`` with a subject of every case: as it says itself, else one for each ``sides`` numbers of cases."""
    return replace(dataset, subjects={id: _subject(dataset, id, sides) for id in dataset.cases})


def _subject(dataset: Dataset, id: str, sides: int) -> str:
    number = re.search(r"\d+$", id)
    if id in dataset.subjects or sides == 1 or number is None:
        return dataset.subjects.get(id, id)
    return str((int(number[0]) - 1) // sides)
