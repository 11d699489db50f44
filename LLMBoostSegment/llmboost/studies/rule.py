"""Rules that say which series are wanted: ``modality=MR & description~T1 & thickness<2``.

A rule is compared with what is known of a series, word by word; nothing of it is ever evaluated.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

from ..card.modality import term
from ..errors import LLMBoostError
from ..files import printable
from . import words
from .series import SeriesFacts
from .suitability import BODY, IMAGE, MODALITY, SLICES

_TEXTS: dict[str, Callable[[SeriesFacts], str]] = {
    "modality": lambda facts: term(facts.modality) or facts.modality,
    "description": lambda facts: facts.description,
    "study": lambda facts: facts.study,
    "body": lambda facts: facts.body,
    "plane": lambda facts: facts.plane,
    "type": lambda facts: "\\".join(facts.kinds),
}
_NUMBERS: dict[str, Callable[[SeriesFacts], float | None]] = {
    "number": lambda facts: facts.number,
    "thickness": lambda facts: facts.thickness or facts.step,
    "spacing": lambda facts: facts.in_plane,
    "slices": lambda facts: facts.slices,
    "date": lambda facts: float(facts.date) if facts.date.isdecimal() else None,
}
_COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TERM = re.compile(r"""\s*([A-Za-z]+)\s*(!=|!~|<=|>=|=|~|<|>)\s*("[^"]*"|'[^']*'|[^&|"']*)""")
_OPERATORS = re.compile(r"[=~<>!&|]")
# of what a rule decides by speaking of it
_DECIDES = {"modality": MODALITY, "type": IMAGE, "body": BODY, "slices": SLICES}


@dataclass(frozen=True)
class _Term:
    field: str
    sign: str
    value: str

    def fits(self, facts: SeriesFacts) -> bool:
        if self.field in _NUMBERS:
            number = _NUMBERS[self.field](facts)
            return number is not None and bool(_COMPARE[self.sign](number, float(self.value)))
        told, value = _TEXTS[self.field](facts).casefold(), self.value.casefold()
        if self.field == "modality":
            value = (term(value) or value).casefold()
        found = value in told if "~" in self.sign else value in told.split("\\")
        return found != self.sign.startswith("!")


@dataclass(frozen=True)
class Rule:
    """Terms of which all of one group must hold.

    Attributes:
        text: as it was written.
    """

    text: str
    groups: tuple[tuple[_Term, ...], ...]

    def fits(self, facts: SeriesFacts) -> bool:
        return any(all(one.fits(facts) for one in group) for group in self.groups)

    @property
    def decides(self) -> set[str]:
        """What the rule itself speaks of, and the model's card has no say in."""
        terms = [one for group in self.groups for one in group]
        found = {_DECIDES[one.field] for one in terms if one.field in _DECIDES}
        said = " ".join(one.value for one in terms if one.field in ("description", "study"))
        if words.unfit(said, ()) or words.derived(said, ()):
            found.add(IMAGE)
        if words.regions(said):
            found.add(BODY)
        return found


def is_rule(text: str) -> bool:
    """Whether a text is meant as a rule: it compares something."""
    return bool(_OPERATORS.search(text))


def parse_rule(text: str) -> Rule:
    """A rule from its text: terms ``word sign value``, joined by ``&`` (and), groups of them by ``|`` (or).

    Signs: ``=`` and ``!=``, ``~`` and ``!~`` (contains), of numbers ``<``, ``<=``, ``>``, ``>=``. Capitals do not
    matter; a value with & or | stands in quotes.

    Raises:
        LLMBoostError: it is none; the message tells where and what there is.
    """
    groups: list[list[_Term]] = [[]]
    place = 0
    while True:
        found = _TERM.match(text, place)
        if found is None:
            raise _wrong(text, f"a comparison is missing at '{text[place:].strip()[:30]}'")
        groups[-1].append(_checked(text, *found.groups()))
        place = found.end()
        rest = text[place:].lstrip()
        if not rest:
            return Rule(text, tuple(map(tuple, groups)))
        if rest[0] not in "&|":
            raise _wrong(text, f"'{rest[:30]}' cannot be read; join comparisons by & or |")
        if rest[0] == "|":
            groups.append([])
        place = len(text) - len(rest) + 1


def _checked(text: str, field: str, sign: str, value: str) -> _Term:
    field, value = field.lower(), value.strip().strip("\"'")
    if field not in _TEXTS and field not in _NUMBERS:
        raise _wrong(text, f"'{field}' is no word of a rule")
    if not value:
        raise _wrong(text, f"a value is missing after '{field}{sign}'")
    if field in _TEXTS and sign not in ("=", "!=", "~", "!~"):
        raise _wrong(text, f"'{field}' is text: compare it by =, !=, ~ or !~")
    if field in _NUMBERS:
        if "~" in sign:
            raise _wrong(text, f"'{field}' is a number: compare it by =, !=, <, <=, > or >=")
        if not re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)", value):
            raise _wrong(text, f"'{value}' is no number")
    return _Term(field, sign, value)


def _wrong(text: str, problem: str) -> LLMBoostError:
    known = ", ".join((*_TEXTS, *_NUMBERS))
    return LLMBoostError(
        f"--series {printable(repr(text))}: {printable(problem)}; write for example"
        f' "modality=MR & description~T1 & thickness<2", of {known}'
    )
