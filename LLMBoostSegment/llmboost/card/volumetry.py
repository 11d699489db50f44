"""What the volumes of segments say together: of a structure on both sides, and of all that is inside the skull.

Standard library alone: the engine measures so what it drew, and the panel what became of it in the editor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ASYMMETRY_FORMULA = "100 * (left - right) / ((left + right) / 2)"
SHARE_FORMULA = "100 * volume / total intracranial volume"


@dataclass(frozen=True)
class Pair:
    """A structure that a body has on both sides: its name, and those of its labels."""

    structure: str
    left: str
    right: str


@dataclass(frozen=True)
class Volumetry:
    """Which volumes of a case are set against each other, by the names of labels.

    Attributes:
        pairs: the structures whose two sides are compared.
        intracranial: the labels that add up to the total intracranial volume; none where it cannot be told.
    """

    pairs: tuple[Pair, ...] = ()
    intracranial: tuple[str, ...] = ()

    def asymmetry_percent(self, volumes_ml: Mapping[str, float]) -> dict[str, float]:
        """The asymmetry index of each structure by name, in percent of the mean of both sides (see
        ``ASYMMETRY_FORMULA``): above 0 where the left one is larger, from -200 to 200. Where a side is empty, none."""
        sides = ((pair.structure, volumes_ml[pair.left], volumes_ml[pair.right]) for pair in self.pairs)
        return {name: 100 * (left - right) / ((left + right) / 2) for name, left, right in sides if left and right}

    def intracranial_ml(self, volumes_ml: Mapping[str, float]) -> float | None:
        """The total intracranial volume in mL: that of all its labels together; None where it cannot be told."""
        return sum(volumes_ml[name] for name in self.intracranial) or None

    def intracranial_percent(self, volumes_ml: Mapping[str, float]) -> dict[str, float]:
        """The share of each of these labels, by name, in percent of the total (see ``SHARE_FORMULA``)."""
        total = self.intracranial_ml(volumes_ml)
        return {} if total is None else {name: 100 * volumes_ml[name] / total for name in self.intracranial}
