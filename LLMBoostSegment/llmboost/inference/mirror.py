"""Mirror images, of which a network's answers are averaged.

Where the anatomy has no sides, a mirror image is as usual as the image. Where it has, and the network tells them apart,
left is right in a mirror: the network answers as of a mirrored patient, and the answer's sides are exchanged. That
holds for a brain; in a mirrored body, the liver would lie where no network has seen it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..card import STORED, Card, Label
from .preprocessing import mirrorings
from .sides import pairs_of, side_of


@dataclass(frozen=True)
class Mirrored:
    """An image mirrored along axes (0, 1, 2: R, A, S), none of them for the image as it is; ``classes``: where sides
    are exchanged, too, of each class the one that it is in the mirror image."""

    axes: tuple[int, ...] = ()
    classes: tuple[int, ...] = ()


AS_IT_IS = (Mirrored(),)


def mirror_images(card: Card) -> tuple[Mirrored, ...]:
    """The images of which a model's answers may be averaged; the image as it is first."""
    axes, across, classes = card.preprocessing.mirror, _across(card), other_sides(card)
    if across in axes or not classes:  # a model that was trained on mirror images tells no sides apart
        across = None
    chosen = mirrorings(axes if across is None else sorted((*axes, across)))
    chosen = [one for one in chosen if len(one) <= 1 or card.tiling.mirrorings == "all"]
    return tuple(Mirrored(one, classes if across in one else ()) for one in chosen)


def other_sides(card: Card) -> tuple[int, ...]:
    """Of each class, background included, the one of the other side; empty where a mirrored patient would be unusual,
    or a label's other side is none."""
    if {label.value for label in card.labels} != set(card.intracranial):
        return ()
    classes = in_a_mirror(card.labels)
    numbers = {label.name: n for n, label in enumerate(card.labels, start=1)}
    alone = [label for label in card.labels if side_of(label) and classes[numbers[label.name]] == numbers[label.name]]
    return () if alone or classes == sorted(classes) else tuple(classes)


def in_a_mirror(labels: Sequence[Label]) -> list[int]:
    """Of each class, background first, the one that it is where sides are exchanged."""
    numbers = {label.name: n for n, label in enumerate(labels, start=1)}
    classes = list(range(len(labels) + 1))
    for pair in pairs_of(labels):
        left, right = numbers[pair.left], numbers[pair.right]
        classes[left], classes[right] = right, left
    return classes


def _across(card: Card) -> int | None:
    """The network's axis from side to side; None where it goes by how files are stored."""
    orientation = card.preprocessing.orientation
    return None if orientation == STORED else next(n for n, letter in enumerate(orientation) if letter in "LR")
