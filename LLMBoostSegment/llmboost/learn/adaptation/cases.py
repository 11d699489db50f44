"""Cases that a segmenter learns from, and those that are held out, for the figures and to choose the best weights by.

Held out are those of the split "val", or, without one, every fourth subject. Fewer than four cases are all learned
from.
"""

from __future__ import annotations

from dataclasses import dataclass

from ...card import Card
from ...errors import LLMBoostError
from ...io.dataset import Dataset, DatasetCase
from ...io.datasetcheck import CheckedCases, check, settle
from ...messages.words import HELD_OUT
from .common import IMPROVE, NEW_LABELS

MOST_HELD_OUT = 16  # cases: more would take time from training


@dataclass(frozen=True)
class Cases:
    """Cases of a data set, every file of them checked.

    Attributes:
        dataset: as it is learned from.
        train: to learn from.
        held: that may be held out.
    """

    dataset: Dataset
    train: list[DatasetCase]
    held: list[DatasetCase]
    checked: CheckedCases

    @property
    def val(self) -> list[DatasetCase]:
        """Those that are held out."""
        return self.held[:MOST_HELD_OUT]

    @property
    def every(self) -> list[str]:
        """The ids of all."""
        return [case.id for case in (*self.train, *self.held)]

    @property
    def showing(self) -> list[str]:
        """The ids of those that show a label."""
        return [id for id in self.every if self.checked.values[id] & self.dataset.labels.keys()]


def read_cases(dataset: Dataset) -> Cases:
    """Read all cases and divide them.

    Raises:
        LLMBoostError: no case can be learned from, or something is wrong with files.
    """
    listed = (dataset.folder / "splits.json").exists()
    if listed and dataset.splits["val"]:
        train, val = dataset.split("train"), dataset.split("val")
    else:
        tests = dataset.splits["test"]
        every = [case for case in dataset.cases.values() if case.label and case.id not in tests]
        train = dataset.split("train") if listed else every
        val = []
        if not train:
            raise LLMBoostError(f"{dataset.folder}: no case has a label map; label some")
    checked = check(dataset, [*train, *val])
    dataset, checked = settle(dataset, checked, train)
    train, val = ([case for case in cases if case.id in dataset.cases] for cases in (train, val))

    def shows(case: DatasetCase) -> bool:
        return bool(checked.values[case.id] & dataset.labels.keys())

    if not val and len(train) >= HELD_OUT:
        subjects = sorted({_subject(dataset, case) for case in train if shows(case)})
        chosen = set(subjects[HELD_OUT - 1 :: HELD_OUT])
        val = [case for case in train if _subject(dataset, case) in chosen and shows(case)]
        train = [case for case in train if _subject(dataset, case) not in chosen]
    return Cases(dataset, train, val, checked)


def task_of(card: Card, dataset: Dataset) -> str:
    """Whether the data set labels what the model labels: as many values, and names that agree ("Anterior" will do for
    "Anterior hippocampus")."""
    own = {label.value: set(label.name.casefold().split()) for label in card.labels}
    theirs = {value: set(name.casefold().replace("_", " ").split()) for value, name in dataset.labels.items()}
    same = own.keys() == theirs.keys()
    return IMPROVE if same and all(own[v] <= theirs[v] or theirs[v] <= own[v] for v in own) else NEW_LABELS


def _subject(dataset: Dataset, case: DatasetCase) -> str:
    return dataset.subjects.get(case.id, case.id)
