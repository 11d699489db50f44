"""Which slices of a DICOM series make up one image: phases, echoes, b-values and kinds of images, told apart."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import LLMBoostError
from .grid import Layout, lay_out
from .slices import KINDS, TELLING, TIMES, Slice, Told

# Slices of at most so many passes through the body are looked for.
_MOST_PASSES = 8


@dataclass(frozen=True, eq=False)
class Stack:
    """Slices on one grid.

    Attributes:
        slices, layout: they, and where they lie.
        times: which of the images of its place each slice is.
        varied: the elements that tell those apart; none if there is one image, but for duplicates.
    """

    slices: Sequence[Slice]
    layout: Layout
    times: Sequence[int]
    varied: Sequence[str]

    @property
    def resolved(self) -> bool:
        """Whether each slice has a place and a time of its own."""
        return len(self.slices) == len(self.layout.depths) * (max(self.times) + 1)

    def notes(self) -> list[str]:
        """What there was to tell apart, in a line."""
        if self.varied:
            return [f"{max(self.times) + 1} images of each place, told apart by {', '.join(self.varied)}"]
        return [] if self.resolved else [f"left out {len(self.slices) - len(self.layout.depths)} duplicate slice(s)"]

    def doubts(self) -> list[str]:
        """What makes it less than sure that the slices of a place and a time belong together, a line each."""
        if not self.resolved:
            return []
        order = np.argsort(self.layout.places, kind="stable")
        slices = [self.slices[n] for n in order if self.times[n] == 0]
        doubts = []
        for keyword in KINDS:
            kinds = len({_told(one, keyword) for one in slices})
            if keyword not in self.varied and 1 < kinds <= len(slices) // 2:
                doubts.append(f"slices of {kinds} kinds, by {keyword}, in one stack: taken as one image")
        how = next((keyword for keyword in ("InstanceNumber", *TIMES) if _in_passes(slices, keyword)), None)
        what = f"slices of several passes alternate, by {how}" if how and how not in self.varied else ""
        if 1 < len({one.number for one in slices}) < len(slices):
            what = "several slices have the same InstanceNumber"
        if what:
            doubts.append(
                f"{what}: taken as one image; if these are several scans or phases, give each as a series of its own"
            )
        return doubts


def find_stacks(slices: Sequence[Slice], where: str) -> tuple[list[Stack], list[str]]:
    """The images that slices make up, and a line on each way that they were told apart.

    Images of the same places share a stack. Where the places differ, as those of phases that lie half a slice apart or
    of images with a slice more, elements of KINDS make stacks of their own.

    Args:
        where: begins the message of a refusal.

    Raises:
        LLMBoostError: slices that lie on no grid, and that nothing tells apart.
    """
    stack, refusal = None, None
    try:
        positions = np.array([one.position for one in slices])
        first = slices[0]
        layout = lay_out(positions, first.orientation, first.pixel, first.thickness or 1.0, where)
        stack = Stack(slices, layout, *time_frames(slices, layout.places))
    except LLMBoostError as error:
        refusal = error
    for keyword in KINDS:
        parts: dict[Told, list[Slice]] = defaultdict(list)
        for one in slices:
            parts[_told(one, keyword)].append(one)
        together = stack is not None and stack.resolved and (keyword in stack.varied or not _between(stack, keyword))
        if together or len(parts) == 1 or min(map(len, parts.values())) < 2:
            continue
        try:
            found = [find_stacks(parts[value], where) for value in sorted(parts)]
        except LLMBoostError:
            continue
        stacks = [one for part, _ in found for one in part]
        if all(one.resolved for one in stacks):
            how = f"{len(parts)} stacks at places of their own, told apart by {keyword}"
            return stacks, list(dict.fromkeys([how, *(note for _, notes in found for note in notes)]))
    if stack is None:
        raise refusal or AssertionError
    return [stack], []


def _told(one: Slice, keyword: str) -> Told:
    return one.told[TELLING.index(keyword)]


def _between(stack: Stack, keyword: str) -> bool:
    """Whether slices of one kind lie between those of another, at places of their own."""
    places: dict[Told, set[int]] = defaultdict(set)
    for one, place in zip(stack.slices, stack.layout.places, strict=True):
        places[_told(one, keyword)].add(int(place))
    if min(map(len, places.values())) < 2 or all(kind == set(stack.layout.places) for kind in places.values()):
        return False
    ranges = sorted((min(kind), max(kind)) for kind in places.values())
    return any(start < last for (_, last), (start, _) in itertools.pairwise(ranges))


def _in_passes(slices: Sequence[Slice], keyword: str) -> bool:
    """Whether slices, in their order in space, were made in several passes, by a number or a time of each.

    Slices that are merely excited in turn, the odd ones first, follow each other without a pause; phases do not.
    """
    told = [(one.number, "") if keyword == "InstanceNumber" else _told(one, keyword) for one in slices]
    if any(text for _, text in told):
        return False
    values = np.array([number for number, _ in told], np.float64)
    if keyword.endswith(("AcquisitionTime", "DateTime")):  # HHMMSS
        values = values // 10000 % 100 * 3600 + values // 100 % 100 * 60 + values % 100
    for passes in range(2, min(_MOST_PASSES, len(values) // 2) + 1):
        sweeps = sorted((values[first::passes] for first in range(passes)), key=np.min)
        steps = np.concatenate([np.diff(sweep) for sweep in sweeps])
        pause = 0 if keyword.endswith("Number") else 2 * np.abs(steps).max()
        one_way = (steps >= 0).all() or (steps <= 0).all()
        if one_way and all(after.min() - before.max() > pause for before, after in itertools.pairwise(sweeps)):
            return True
    return False


def time_frames(slices: Sequence[Slice], places: np.ndarray) -> tuple[list[int], list[str]]:
    """Which of the images of its place each slice is, and the elements that tell them apart.

    Elements that have the same values at all places come first, in the order of TELLING. Where they do not suffice,
    images are counted in the order of the others at each place, for times may differ from place to place. All zero,
    and no element, unless all places have as many images, all of which can be told apart.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for n, place in enumerate(places):
        members[int(place)].append(n)
    groups = list(members.values())
    ranks = [0] * len(slices)
    if len({len(group) for group in groups}) > 1:
        return ranks, []

    def told(columns: Sequence[int]) -> list[list[tuple[Told, ...]]]:
        return [sorted(tuple(slices[n].told[column] for column in columns) for n in group) for group in groups]

    varying = [column for column in range(len(TELLING)) if len({one.told[column] for one in slices}) > 1]
    chosen: list[int] = []
    known = len(groups)  # how many images are told from all others of their place
    for alike, column in itertools.product((True, False), varying):
        values = told([*chosen, column])
        kinds = sum(len(set(group)) for group in values)
        if kinds > known and (not alike or all(group == values[0] for group in values)):
            chosen.append(column)
            known = kinds
    if known < len(slices):
        return ranks, []
    for group in groups:
        for rank, n in enumerate(sorted(group, key=lambda n: [slices[n].told[column] for column in chosen])):
            ranks[n] = rank
    return ranks, [TELLING[column] for column in chosen]
