"""Whether a data set can be learned from: all problems of its images and label maps, before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import LLMBoostError
from ..files import printable
from .dataset import Dataset, DatasetCase, LoadedCase, a_few, load, read_labels
from .image import Image, read_volumes
from .labels import EXACT, NEAR, doubled, listed

KEPT = 2**31  # bytes of images that a check leaves in memory, so that they need not be read again


@dataclass(frozen=True)
class CheckedCases:
    """What :func:`check` saw, and the cases that it read.

    Attributes:
        values: the label values that each case shows, by its id.
        notes: what a user should know, in words.
        loaded: channels and label map of cases as :func:`load` gives them, by their ids: of the first ones, as many as
            there was room for.
        constant: the cases whose images have one value throughout, by their ids.
    """

    values: dict[str, set[int]]
    notes: tuple[str, ...]
    loaded: dict[str, LoadedCase]
    constant: frozenset[str] = frozenset()

    def load(self, case: DatasetCase) -> LoadedCase:
        """As :func:`load`, from memory where the case is there."""
        return self.loaded.get(case.id) or load(case)

    def take(self, case: DatasetCase) -> LoadedCase:
        """As :meth:`load`, for the last time: it is forgotten."""
        return self.loaded.pop(case.id, None) or load(case)


def check(
    dataset: Dataset,
    cases: Iterable[DatasetCase],
    seen: Callable[[DatasetCase, LoadedCase], None] = lambda case, loaded: None,
) -> CheckedCases:
    """Read every file of ``cases`` and refuse the data set if anything is wrong with any.

    Args:
        seen: called with each case that can be used: whoever wants more of all need not read them again.

    Raises:
        LLMBoostError: listing every problem, a line each.
    """
    problems = [f"{dataset.folder / 'dataset.json'}: {line}" for line in doubled(dataset.labels)]
    checked = CheckedCases({}, (), {})
    notes: list[str] = []
    constant: set[str] = set()
    room = KEPT
    for case in cases:
        look = _look(dataset, case)
        problems += look.problems
        notes += look.notes
        if look.constant:
            constant.add(case.id)
        checked.values[case.id] = look.values
        if look.loaded and not look.problems:
            seen(case, look.loaded)
        room -= look.size
        if look.loaded and not problems and room >= 0:
            checked.loaded[case.id] = look.loaded
    if problems:
        lines = "\n  ".join(problems)
        raise LLMBoostError(f"{dataset.folder}: {len(problems)} problem(s), mend them before training:\n  {lines}")
    return replace(checked, notes=tuple(notes), constant=frozenset(constant))


def settle(dataset: Dataset, checked: CheckedCases, train: Sequence[DatasetCase]) -> tuple[Dataset, CheckedCases]:
    """The data set without cases that teach nothing, and with what was not drawn, and in the notes what was decided.

    Where dataset.json does not tell, a label that some volumes lack was not drawn there if at least half of all show
    it: if it was absent after all, little is lost, while the contrary would teach the structure as background. Labels
    that fewer show are absent, as are those that a single slice lacks.

    Raises:
        LLMBoostError: nothing is left to learn from.
    """
    labels = dataset.labels.keys()
    labeled = {id: shown for id, shown in checked.values.items() if shown & labels and id not in checked.constant}
    every = {value: [id for id, shown in labeled.items() if value not in shown] for value in labels}
    lacking = {value: ids for value, ids in every.items() if 0 < len(ids) < len(labeled)}
    notes = []
    empty: set[str] = set()
    if dataset.partly_labeled is not None:
        empty = {
            id
            for id, shown in checked.values.items()
            if dataset.undrawn(id, shown) == labels or not shown - {dataset.ignore}
        }
        told = {
            value: [id for id in ids if value in dataset.undrawn(id, labeled[id])] for value, ids in lacking.items()
        }
        told = {value: ids for value, ids in told.items() if ids}
        notes += _lacking(dataset, told, len(labeled), "not drawn there, by dataset.json")
    elif lacking and min(checked.load(train[0])[0][0].shape) > 1:
        common = {value: ids for value, ids in lacking.items() if 2 * len(ids) <= len(labeled)}
        rare = {value: ids for value, ids in lacking.items() if value not in common}
        dataset = replace(dataset, presumed=frozenset(common))
        for some, taken, other, answer in (
            (common, "not drawn", "absent", "false"),
            (rare, "absent", "not drawn", "true, or a list of names"),
        ):
            what = f'taken as {taken} there; if {other}, say "partly_labeled": {answer} in dataset.json'
            notes += _lacking(dataset, some, len(labeled), what)
    for ids, why in ((checked.constant, "the image has one value throughout"), (empty, "nothing was drawn")):
        if ids:
            notes.append(f"{len(ids)} case(s) left out: {a_few(sorted(ids))}; {why}")
    left = {id: case for id, case in dataset.cases.items() if id not in checked.constant | empty}
    if not any(case.id in left for case in train):
        raise LLMBoostError(f"{dataset.folder}: no case is left to learn from; {'; '.join(notes)}")
    splits = {name: [id for id in ids if id in left] for name, ids in dataset.splits.items()}
    return replace(dataset, cases=left, splits=splits), replace(checked, notes=(*checked.notes, *notes))


def _lacking(dataset: Dataset, lacking: Mapping[int, Sequence[str]], of: int, what: str) -> list[str]:
    """A note on the labels that some of the cases lack, if there are such."""
    labels = [f"{printable(dataset.labels[value])} ({a_few(ids)})" for value, ids in lacking.items()]
    return [f"of {of} cases, some lack {', '.join(labels)}: {what}"] if labels else []


def gaps(
    dataset: Dataset, checked: CheckedCases, train: Sequence[DatasetCase], val: Sequence[DatasetCase]
) -> tuple[list[str], list[str]]:
    """What a training on these cases lacks.

    Returns:
        the names of labels that no case of ``train`` shows; and in words: those, the labels that nothing measures, and
        the cases that are in no split.
    """
    taught, shown = ({v for case in cases for v in checked.values[case.id]} for cases in (train, val))
    untaught = [name for value, name in dataset.labels.items() if value not in taught]
    unmeasured = [name for value, name in dataset.labels.items() if value in taught and value not in shown]
    notes = []
    if untaught:
        notes.append(f"no training case shows {a_few(untaught)}: it cannot be learned; add a case, or take it out")
    if unmeasured and val:
        notes.append(f"no validation case shows {a_few(unmeasured)}: how well it is learned will not be measured")
    used = {id for ids in dataset.splits.values() for id in ids}
    bare = [case.id for case in dataset.cases.values() if case.label is None]
    left = [case.id for case in dataset.cases.values() if case.label and case.id not in used]
    if bare:
        notes.append(f"{len(bare)} image(s) without a label map: {a_few(bare)}; nothing is learned from them")
    if left:
        notes.append(f"{len(left)} labeled case(s) in no list of splits.json: {a_few(left)}; not used")
    return untaught, notes


def is_constant(image: Image) -> bool:
    """Whether an image has one value throughout."""
    return bool(image.array.min() == image.array.max())


@dataclass(frozen=True)
class _Look:
    values: set[int]
    problems: list[str]
    notes: list[str]
    loaded: LoadedCase | None = None

    @property
    def constant(self) -> bool:
        """Whether the images show nothing."""
        return self.loaded is not None and all(is_constant(image) for image in self.loaded[0])

    @property
    def size(self) -> int:
        """Bytes of what was loaded."""
        return sum(image.array.nbytes for image in (*self.loaded[0], self.loaded[1]) if image) if self.loaded else 0


def _look(dataset: Dataset, case: DatasetCase) -> _Look:
    """Read a case's files: what they show, and what is wrong."""
    problems: list[str] = []
    notes: list[str] = []
    values: set[int] = set()
    if case.label is None:
        return _Look(
            values, [f"{case.images[0]}: no label map; put {case.id} with the same extension into labelsTr"], []
        )
    images: list[tuple[Path, Image]] = []
    failed = False
    for path in case.images:
        try:
            images += [(path, image) for image in read_volumes(path)]
        except LLMBoostError as error:
            failed = True
            problems.append(str(error))
    if not failed and len(images) != len(dataset.modalities):
        problems.append(
            f"{case.images[0]}: {len(images)} volume(s), dataset.json names {len(dataset.modalities)} channel(s)"
        )
    try:
        label, far = read_labels(case, images[0][1] if images else None)
    except LLMBoostError as error:
        return _Look(values, [*problems, str(error)], notes)
    for path, image in images:
        if image.shape != label.shape:
            problems.append(f"{path}: {image.shape} voxels, but its label map {label.shape}; they must agree")
        elif (distance := image.grid_distance(label)) > NEAR:
            problems.append(
                f"{path}: its label map lies elsewhere in space (spacing, origin or direction differ, by"
                f" {distance:.3g} voxels)"
            )
    if EXACT < far <= NEAR:
        notes.append(f"{case.id}: its label map lies {far:.2g} voxels off its image, and is taken as if it lay on it")
    values = set(np.unique(label.array).tolist())
    known = {0, *dataset.labels} | ({dataset.ignore} if dataset.ignore is not None else set())
    if unknown := sorted(values - known):
        problems.append(f"{case.label}: value(s) {listed(unknown)} are not among the labels of dataset.json")
    return _Look(values, problems, notes, ([image for _, image in images], label))
