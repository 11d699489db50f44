"""How well a series suits a model: what speaks against it, and by what it is better or worse than another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from ..card import Card, Preprocessing
from ..card.modality import differ, term
from . import words
from .series import PLANES, SeriesFacts

COARSE = 2.5  # times the model's spacing
THIN = 0.25  # of what the model sees at once
_GAP = 1.3  # from slice to slice, times their thickness
_ALIKE = math.log(1.1)  # lengths that differ by less are no reason
# what a rule can overrule by speaking of it
IMAGE, MODALITY, BODY, SLICES = "image", "modality", "body", "slices"
ALWAYS = ""  # what nothing overrules


@dataclass(frozen=True)
class Wanted:
    """What a model takes: its preprocessing, and its card, which need not be known."""

    preprocessing: Preprocessing
    card: Card | None = None

    @cached_property
    def text(self) -> str:
        if self.card is None:
            return ""
        names = " ".join(label.name for label in self.card.labels)
        return f"{self.card.title} {self.card.description} {self.card.modality} {names}"

    @property
    def modality(self) -> str:
        return self.card.modality if self.card else ""

    @cached_property
    def sequences(self) -> tuple[str, ...]:
        return words.sequences(self.text)

    @cached_property
    def regions(self) -> frozenset[str]:
        return words.regions(self.text)

    @property
    def flat(self) -> bool:
        """Whether the model takes slices or pictures."""
        return self.preprocessing.slice_axis is not None

    def unsuitable(self, facts: SeriesFacts) -> dict[str, str]:
        """What speaks against a series, in words, by what a rule must speak of to overrule it; empty if it suits."""
        found = {}
        if facts.no_image or facts.problem:
            return {ALWAYS: facts.no_image or facts.problem}
        if facts.color != self.preprocessing.color:
            found[ALWAYS] = "in color" if facts.color else "not in color"
        elif not (facts.placed or self.flat):
            found[ALWAYS] = "without a place in the body"
        kind = words.unfit(facts.description, facts.kinds)
        if kind and kind != words.unfit(self.text, ()):
            found[IMAGE] = kind
        elif facts.orientations > 1:
            found[IMAGE] = f"slices of {facts.orientations} orientations"
        elif facts.slices == 1 and not self.flat:
            found[SLICES] = "a single slice"
        if differ(facts.modality, self.modality):
            found[MODALITY] = f"{facts.modality}, the model takes {self.modality}"
        shown = region_of(facts)
        if shown and self.regions and not shown & self.regions:
            found[BODY] = f"of the {' and '.join(sorted(shown))}, the model is for the {_listed(self.regions)}"
        return found

    def rank(self, facts: SeriesFacts) -> list[tuple[float, str]]:
        """By what series that suit are compared, the weightiest first: lower is better; and a reason, in words."""
        return list(self._criteria(facts))

    def _criteria(self, facts: SeriesFacts) -> Iterator[tuple[float, str]]:
        yield facts.is_picture and not self.preprocessing.color, "a picture, without a place in the body"
        yield facts.volumes > 1, f"{facts.volumes} images of each place"
        made = words.derived(facts.description, facts.kinds)
        yield bool(made), made
        ratio, mm, wanted = self._coarsest(facts)
        coarse = f"{mm:.3g} mm, the model works at {wanted:.3g} mm" if ratio else "of unknown spacing"
        yield not 0 < ratio <= COARSE, coarse
        yield self._is_thin(facts), "covers little of what the model looks at"
        axis = self.preprocessing.slice_axis
        other = None not in (axis, facts.across) and axis != facts.across
        yield other, f"{facts.plane}, the model takes {PLANES[axis or 0]} slices"
        yield self._sequence(facts)
        known = region_of(facts)
        yield not (self.regions and known), "not told of which part of the body"
        yield self._agent(facts)
        kernel = words.kernel(facts.description, facts.kernel)
        yield bool(kernel) and kernel not in words.words_of(self.text), f"reconstructed for {kernel}"
        yield round(math.log(max(ratio, 1)) / _ALIKE), coarse
        gap = bool(facts.step and facts.thickness and facts.step > _GAP * facts.thickness)
        yield gap, "gaps between its slices"
        extent = facts.extent or (1, 1, 1)
        yield -round(sum(math.log(max(one, 1e-3)) for one in extent) / (3 * _ALIKE)), "covers less"
        finest = max(facts.spacing) if facts.spacing else 1.0
        yield round(math.log(max(finest, 1e-3)) / _ALIKE), f"coarser, {finest:.3g} mm"

    def _coarsest(self, facts: SeriesFacts) -> tuple[float, float, float]:
        """The spacing that is furthest above the model's: by what factor, its mm, and the model's; zeros if unknown."""
        if facts.spacing is None:
            return 0.0, 0.0, 0.0
        steps = zip(facts.spacing, self.preprocessing.spacing, strict=True)
        axis = facts.across if self.flat else None
        return max((mm / wanted, mm, wanted) for n, (mm, wanted) in enumerate(steps) if n != axis)

    def _is_thin(self, facts: SeriesFacts) -> bool:
        if facts.extent is None or self.flat:
            return False
        sizes = zip(facts.extent, self.preprocessing.patch_size, self.preprocessing.spacing, strict=True)
        return any(mm < THIN * n * step for mm, n, step in sizes)

    def _sequence(self, facts: SeriesFacts) -> tuple[float, str]:
        """Those that the card names, as it names them, then other images of the anatomy, then what is made for else."""
        name = words.sequence(facts.description)
        if term(facts.modality) not in ("MR", "") or name in self.sequences[:1]:
            return 0, ""
        last = len(self.sequences)
        if name in self.sequences:
            return self.sequences.index(name), f"{name}, the model's card names {self.sequences[0]} first"
        named = f", the model's card names {', '.join(self.sequences)}" if last else ""
        return last + (not words.is_plain(name)), (name or "an unknown sequence") + named

    def _agent(self, facts: SeriesFacts) -> tuple[float, str]:
        """A contrast agent is wanted where the card speaks of one, and else no reason in CT."""
        given = bool(facts.agent) or words.with_agent(facts.description)
        if words.with_agent(self.text):
            return not given, "without contrast agent"
        return given and term(facts.modality) == "MR", "with contrast agent"


def region_of(facts: SeriesFacts) -> frozenset[str]:
    """The regions of the body that a series shows, by the word that is closest to it."""
    texts = (facts.description, facts.study, facts.body)
    return next((found for text in texts if (found := words.regions(text))), frozenset())


def _listed(names: frozenset[str] | tuple[str, ...]) -> str:
    return ", ".join(sorted(names))
