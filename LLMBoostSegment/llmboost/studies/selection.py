"""Which series of a study are taken, and why the others are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..card import Card, Preprocessing
from .rule import Rule, is_rule, parse_rule
from .series import SeriesFacts
from .suitability import Wanted

AUTO, ALL = "auto", "all"


@dataclass(frozen=True)
class Choice:
    """Of the series of a study, by their places in the list that was given.

    Attributes:
        taken: the best one, or all that are wanted; none where none suits.
        left: the others, each with the reason.
        doubt: what the input does not settle, such as two that suit equally well; else empty.
    """

    taken: tuple[int, ...]
    left: tuple[tuple[int, str], ...]
    doubt: str = ""


@dataclass(frozen=True)
class Selection:
    """What is wanted of a study: the series that suits best, all that suit, one by name, or those of a rule.

    Attributes:
        card: the model's, that series are to suit; without it, all that can be said is which are images.
        all: every series that suits, rather than the best one.
        name: of one series: its UID, an end of it, or its number in the study; else empty.
        rule: what else must hold; what it speaks of, the card has no say in.
    """

    card: Card | None = None
    all: bool = False
    name: str = ""
    rule: Rule | None = None

    @staticmethod
    def of(text: str, card: Card | None = None) -> Selection:
        """What ``--series`` says: ``auto``, ``all``, a rule, or the name of a series; raises LLMBoostError."""
        text = text.strip()
        if text in ("", AUTO, ALL):
            return Selection(card, all=text == ALL)
        return Selection(card, rule=parse_rule(text)) if is_rule(text) else Selection(card, name=text)

    def choose(self, series: Sequence[SeriesFacts], preprocessing: Preprocessing) -> Choice:
        """Of the series of one study those that are wanted.

        Args:
            preprocessing: of what is to take them. A model of slices takes all pictures, unless there are volumes.
        """
        wanted = Wanted(preprocessing, self.card)
        left, fit = {}, []
        decides = self.rule.decides if self.rule else set()
        for n, facts in enumerate(series):
            if self.rule and not self.rule.fits(facts):
                left[n] = "not as the rule wants"
            elif against := [why for what, why in wanted.unsuitable(facts).items() if what not in decides]:
                left[n] = "; ".join(against)
            else:
                fit.append(n)
        if self.all or not fit or (wanted.flat and all(series[n].is_picture for n in fit)):
            return Choice(tuple(fit), _in_order(left))
        ranks = {n: wanted.rank(series[n]) for n in fit}
        best = min(fit, key=lambda n: ([value for value, _ in ranks[n]], n))
        equal = [n for n in fit if n != best and _reason(ranks[n], ranks[best]) is None]
        left |= {n: _reason(ranks[n], ranks[best]) or "suits as well" for n in fit if n != best}
        doubt = ""
        if equal:
            others = ", ".join(series[n].name for n in equal)
            doubt = (
                f"{len(equal) + 1} series suit equally well: {series[best].name} was taken, not {others}; if another is"
                " meant, choose it by --series"
            )
        return Choice((best,), _in_order(left), doubt)


def _in_order(left: dict[int, str]) -> tuple[tuple[int, str], ...]:
    return tuple(sorted(left.items()))


def _reason(one: list[tuple[float, str]], best: list[tuple[float, str]]) -> str | None:
    """The first thing by which a series is worse than the best; None if there is none."""
    return next((words for (value, words), (least, _) in zip(one, best, strict=True) if value > least), None)
