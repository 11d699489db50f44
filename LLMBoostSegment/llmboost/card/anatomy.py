"""What a label's name says of the anatomy: a SNOMED CT code, its side and Slicer's color, by the table anatomy.tsv.

A name is looked up whole, by its words in any order and spelling; one that is not in the table, or may mean two things,
gets no code. What was found so is marked as guessed. Standard library alone.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from .fields import ANATOMICAL_STRUCTURE, LEFT, RIGHT, TISSUE, Code, Label

GUESSED = "LLMBoost.Codes", "guessed from the name"  # the tag of a segment whose codes nobody has chosen
_TABLE = Path(__file__).with_name("anatomy.tsv")
_CATEGORIES = {
    "A": ANATOMICAL_STRUCTURE,
    "T": TISSUE,
    "M": Code("SCT", "49755003", "Morphologically Altered Structure"),
    "B": Code("SCT", "91720002", "Body Substance"),
    "P": Code("SCT", "260787004", "Physical object"),
}
_ALTERED = _CATEGORIES["M"]
_SIDES = {"left": LEFT, "right": RIGHT}
_SPELLINGS = {"l": "left", "lt": "left", "lh": "left", "r": "right", "rt": "right", "rh": "right"}
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[^\W\d_A-Z]+\d*|\d+[a-z]*")  # also the two of "LeftKidney"
_FILLERS = {"of", "the"}

Words = tuple[str, ...]


@dataclass(frozen=True)
class Structure:
    """A row of the table: a concept with the names by which it goes, and a color (RGB, 0-255).

    ``sided``: a body has a left one and a right one.
    """

    category: Code
    type: Code
    sided: bool
    color: tuple[int, int, int]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Meaning:
    """What a name was recognized as: a structure, or what is altered (``altered``) in one; of which side."""

    structure: Structure | None
    altered: Structure | None = None
    side: Code | None = None


def structures() -> tuple[Structure, ...]:
    """All rows of the table."""
    return _read()


def recognize(name: str) -> Meaning | None:
    """What the name of a label says without a doubt: "kidney_left", "LeftKidney", "Liver tumor", "L1 vertebra"."""
    words = _words(name)
    sides = {word for word in words if word in _SIDES}
    if len(sides) > 1:
        return None
    if found := _index().get(_key(words)):  # also of names that hold a side, such as the heart's chambers
        return Meaning(None, found) if found.category == _ALTERED else Meaning(found)
    rest = [word for word in words if word not in sides]
    side = _SIDES[sides.pop()] if sides else None
    if side and (found := _index().get(_key(rest))):
        return Meaning(found, None, side) if found.sided else None
    return _altered(rest, side)


def with_codes(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels, of which those that say no more than "tissue" get what their names say, marked as guessed.

    Of two structures that Slicer shows in one color, the second keeps its own, so that they can be told apart.
    """
    taken: dict[tuple[int, int, int], Code] = {}
    found = []
    for label in labels:
        coded = _coded(label)
        key = coded.region or coded.type
        if coded.guessed and taken.setdefault(coded.color, key) != key:
            coded = replace(coded, color=label.color)
        found.append(coded)
    return tuple(found)


def is_altered(label: Label) -> bool:
    """Whether the label is of something altered, such as a lesion, and not of a structure that a body has."""
    return (label.category.scheme, label.category.value) == (_ALTERED.scheme, _ALTERED.value)


def synonyms(label: Label) -> tuple[str, ...]:
    """All names in the table of what the label is and of where it lies, by its codes: for a search."""
    by_code = _by_code()
    known = (by_code.get((code.scheme, code.value)) for code in (label.type, label.region) if code)
    return tuple(name for structure in known if structure for name in structure.names)


def _coded(label: Label) -> Label:
    meaning = recognize(label.name) if label.type == TISSUE and label.region is None else None
    if meaning is None:
        return label
    structure, altered, side = meaning.structure, meaning.altered, meaning.side
    if altered is not None:
        region = structure.type if structure else None
        return replace(
            label,
            category=altered.category,
            type=altered.type,
            region=region,
            region_modifier=side,
            color=altered.color,
            guessed=True,
        )
    assert structure is not None
    return replace(
        label, category=structure.category, type=structure.type, modifier=side, color=structure.color, guessed=True
    )


def _altered(words: Sequence[str], side: Code | None) -> Meaning | None:
    """Of "kidney cyst": what is altered, and where; either may be several words, one after the other."""
    index = _index()
    found = set()
    for cut in range(1, len(words)):
        for one, other in ((words[cut:], words[:cut]), (words[:cut], words[cut:])):
            altered, structure = index.get(_key(one)), index.get(_key(other))
            sided = structure is not None and (side is None or structure.sided)
            if altered and altered.category == _ALTERED and structure and structure.category != _ALTERED and sided:
                found.add((structure, altered))
    return Meaning(*found.pop(), side) if len(found) == 1 else None


def _words(name: str) -> list[str]:
    """The words of a name, in its order, as they are looked up: in small letters and in the singular."""
    words = (_singular(word.casefold()) for word in _WORD.findall(name))
    return [_SPELLINGS.get(word, word) for word in words if word not in _FILLERS]


def _singular(word: str) -> str:
    for plural, singular in (("ies", "y"), ("ae", "a"), ("ss", "ss"), ("s", "")):
        if word.endswith(plural) and len(word) > 3:
            return word.removesuffix(plural) + singular
    return word


def _key(words: Iterable[str]) -> Words:
    return tuple(sorted(words))


@functools.cache
def _read() -> tuple[Structure, ...]:
    return tuple(_rows(_TABLE.read_text(encoding="utf-8").splitlines()))


def _rows(lines: Iterable[str]) -> Iterator[Structure]:
    _head, *rows = (line for line in lines if not line.startswith("#"))
    for row in rows:
        kind, code, meaning, sides, color, synonyms = [*row.split("\t"), ""][:6]
        scheme, _, value = code.rpartition(":")
        r, g, b = map(int, color.split())
        names = (meaning, *filter(None, synonyms.split("; ")))
        yield Structure(_CATEGORIES[kind], Code(scheme or "SCT", value, meaning), bool(sides), (r, g, b), names)


@functools.cache
def _index() -> Mapping[Words, Structure]:
    return {_key(_words(name)): structure for structure in _read() for name in structure.names}


@functools.cache
def _by_code() -> Mapping[tuple[str, str], Structure]:
    return {(structure.type.scheme, structure.type.value): structure for structure in _read()}
