"""What is drawn of a case: class indices, and on request each class's probabilities and the entropy."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..errors import LLMBoostError
from .quality import Tally

# larger maps lie in a temporary file
MAPS_IN_MEMORY = 2**28


@dataclass(frozen=True)
class Canvas:
    """What is drawn, on the grid of an image: class indices and entropy [i, j, k], probabilities [c, i, j, k].

    ``tallies`` gets one of each part that is drawn.
    """

    indices: np.ndarray
    probabilities: np.ndarray | None
    entropy: np.ndarray | None
    tallies: list[Tally] = field(default_factory=list)

    def through(self, view: Callable[[np.ndarray], np.ndarray]) -> Canvas:
        """The same arrays, each through a function that gives views."""
        probabilities, entropy = (None if one is None else view(one) for one in (self.probabilities, self.entropy))
        return Canvas(view(self.indices), probabilities, entropy, self.tallies)

    def with_blank_indices(self) -> Canvas:
        """The same maps, and other indices, all background."""
        return replace(self, indices=np.zeros_like(self.indices))

    def add(self, other: Canvas, shift: int) -> None:
        """Take over the other's indices where nothing was drawn yet, each raised by ``shift``."""
        new = (other.indices > 0) & (self.indices == 0)
        self.indices[new] = other.indices[new] + shift

    def clear(self) -> None:
        """As if nothing had been drawn."""
        self.indices[...] = 0
        if self.probabilities is not None:
            self.probabilities[...], self.probabilities[0] = 0, 1
        if self.entropy is not None:
            self.entropy[...] = 0
        self.tallies.clear()

    def merge(self, places: Sequence[int]) -> None:
        """Draw each label as the one at its place; the probability of those that become one is that of any of them.

        Args:
            places: of each label that was drawn, its new number, from 0.
        """
        numbers = np.array([0, *(place + 1 for place in places)])
        for plane in self.indices:  # one at a time: memory stays bounded
            plane[...] = numbers[plane]
        if self.probabilities is None or len(self.probabilities) != len(numbers):  # a cascade's model knows no sides
            return
        for place in set(places):
            classes = [n + 1 for n, other in enumerate(places) if other == place]
            if len(classes) > 1:
                self.probabilities[classes] = self.probabilities[classes].sum(axis=0)


def empty_canvas(
    shape: tuple[int, int, int], labels: int, classes: int, *, probabilities: bool, entropy: bool
) -> Canvas:
    """Background everywhere.

    Args:
        labels: how many are to be drawn; ``classes``: how many the model tells apart, background included.

    Raises:
        LLMBoostError: the disk of temporary files is full.
    """
    maps = _zeros((classes, *shape)) if probabilities else None
    if maps is not None:
        maps[0] = 1
    indices = np.zeros(shape, np.uint8 if labels < 256 else np.uint16)
    return Canvas(indices, maps, _zeros((1, *shape))[0] if entropy else None)


def _zeros(shape: tuple[int, ...]) -> np.ndarray:
    """Zeros, float32; many of them in a file that vanishes with them.

    Raises:
        LLMBoostError: the disk of temporary files is full.
    """
    size = int(np.prod(shape)) * 4
    if size <= MAPS_IN_MEMORY:
        return np.zeros(shape, np.float32)
    try:
        with tempfile.TemporaryFile() as file:  # stays as long as it is mapped
            # written, not just reserved: on a full disk, a mapped hole would end the process
            for done in range(0, size, 2**24):
                file.write(bytes(min(2**24, size - done)))
            file.flush()
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        folder = tempfile.gettempdir()
        raise LLMBoostError(
            f"{folder}: no room for {size / 2**30:.1f} GB of maps ({error.strerror}); free some, or set TMPDIR"
        ) from error
