"""What to do about labels that were not learned."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from ..files import printable

if TYPE_CHECKING:
    from .patches import Volume

FAILED, GOOD = 0.3, 0.5  # Dice: below the first a label was not learned, above the second others show that it can be
SMALL = 8  # times smaller than the others
LINES = 5  # at most
_SIDE = re.compile(r"left|right|\bl\b|\br\b", re.IGNORECASE)


@dataclass(frozen=True)
class LabelFacts:
    """Of a label.

    Attributes:
        dice: on the cases held out; None: not measured.
        cases: that were learned from and show it.
        voxels: its size in a case that shows it, as the network sees it.
    """

    name: str
    dice: float | None
    cases: int
    voxels: float


def advise(labels: Sequence[LabelFacts], cases: int) -> list[str]:
    """A line for each label that failed, the worst one first, and for those that nothing is known of.

    Args:
        cases: how many were learned from. Without a case held out, there is nothing to tell.
    """
    measured = sorted((one for one in labels if one.dice is not None), key=lambda one: one.dice or 0.0)
    failed = [one for one in measured if (one.dice or 0.0) < FAILED]
    if not measured:
        return []
    if len(failed) == len(measured):
        which = f"all {len(failed)} labels are" if len(failed) > 1 else f"{printable(failed[0].name)} is"
        lines = [f"{which} below {FAILED}: give it more minutes, or more cases"]
    else:
        lines = list(dict.fromkeys(_line(one, labels, cases) for one in failed))
    unknown = [printable(one.name) for one in labels if one.dice is None]
    if len(lines) > LINES:
        lines = [*lines[:LINES], f"and {len(lines) - LINES} more labels below {FAILED}"]
    if unknown:
        lines.append(f"{', '.join(unknown)}: not measured, for no case held out shows it: label it in more cases")
    return lines


def facts_of(names: Mapping[int, str], volumes: Iterable[Volume], dice: Mapping[str, float]) -> list[LabelFacts]:
    """Of labels by value, which in the label map of a volume are counted from 1; ``dice`` by value, too."""
    sizes: list[list[int]] = [[] for _ in names]
    for volume in volumes:
        for index, count in zip(*(each.tolist() for each in volume.label.unique(return_counts=True)), strict=True):
            if index > 0:
                sizes[index - 1].append(count)
    return [
        LabelFacts(name, dice.get(str(value)), len(each), median(each) if each else 0.0)
        for (value, name), each in zip(names.items(), sizes, strict=True)
    ]


def _line(failed: LabelFacts, labels: Sequence[LabelFacts], cases: int) -> str:
    twin = _other_side(failed, labels)
    if twin is not None and twin.dice is not None and twin.dice < GOOD:
        one, other = sorted((failed, twin), key=lambda each: each.name)
        both = f"{_told(one)}, {_told(other)}"
        return f"{both}: perhaps taken for each other; look whether sides are drawn alike in all cases"
    if 2 * failed.cases <= cases:
        return f"{_told(failed)}; it is in {failed.cases} of {cases} cases: label more cases that show it"
    others = [one.voxels for one in labels if one is not failed and one.voxels]
    if others and SMALL * failed.voxels < median(others):
        small = f"{_told(failed)}; it is small, {failed.voxels:.0f} voxels"
        return f"{small}: give it more minutes, or images of finer spacing"
    return f"{_told(failed)}, others do better: look whether it is drawn alike in all cases, or label more"


def _told(label: LabelFacts) -> str:
    return f"{printable(label.name)}: {label.dice:.2f}"


def _other_side(label: LabelFacts, labels: Sequence[LabelFacts]) -> LabelFacts | None:
    """The label that is called alike, but for its side."""

    def without_side(name: str) -> str:
        return _SIDE.sub("", name.replace("_", " ")).casefold()

    if not _SIDE.search(label.name.replace("_", " ")):
        return None
    alike = [one for one in labels if one is not label and without_side(one.name) == without_side(label.name)]
    return alike[0] if alike else None
