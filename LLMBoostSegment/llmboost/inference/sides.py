"""Sides of labels: which two show one structure, and labels of images whose header does not say how they lie in the
patient, where no left and no right is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ..card import LEFT, RIGHT, Code, Label, Pair, is_altered, label_codes, same_name, with_codes

_SIDES = re.compile(r"[-_ ,.]*(?<![a-z])(left|right|lh|rh)(?![a-z])[-_ ,.]*", re.I)
_LETTERS = re.compile(r"[-_ ,.]*(?<![a-z0-9])([lr])(?![a-z0-9])[-_ ,.]*", re.I)
_CHAMBERS = re.compile(r"(left|right)[ _-]*(ventric|atri)", re.I)  # of the heart, where the words tell what, not where
_OTHER = str.maketrans("lLrR", "rRlL")


def without_sides(labels: Sequence[Label]) -> tuple[tuple[Label, ...], list[int]]:
    """The labels without their sides: those that differ in nothing else become one, with the first one's value.

    Returns:
        the labels left, and of each of ``labels`` the number of the one that it became, from 0.
    """
    names = {label.name.lower() for label in labels}
    merged: dict[str, Label] = {}
    places = []
    for label in labels:
        found = _without_side(label, names)
        merged.setdefault(found.name.lower(), found)
        places.append(list(merged).index(found.name.lower()))
    return tuple(merged.values()), places


def _without_side(label: Label, names: set[str]) -> Label:
    coded = side_of(label) is not None
    name = label.name if _CHAMBERS.match(label.name) else _SIDES.sub(_gap, label.name)
    # a letter is a side where a code says so, or another label has the other letter
    other = _LETTERS.sub(lambda found: found[0].translate(_OTHER), label.name).lower()
    if coded or (other != label.name.lower() and other in names):
        name = _LETTERS.sub(_gap, name)
    if name != label.name:
        name = " ".join(re.sub(r"\(\s*\)", "", name).split()).strip(" _-,.") or "either side"
        name = name[0].upper() + name[1:] if label.name[0].isupper() else name
    modifier, region_modifier = (None if _side(code) else code for code in (label.modifier, label.region_modifier))
    return replace(label, name=name, modifier=modifier, region_modifier=region_modifier)


def _gap(found: re.Match[str]) -> str:
    """What stands in place of a side between two words."""
    return " " if found[0][0].isalpha() else found[0][0]


def side_of(label: Label) -> Code | None:
    """LEFT or RIGHT, by the label's codes; None where they tell no side."""
    return _side(label.modifier) or _side(label.region_modifier)


def _side(code: Code | None) -> Code | None:
    known = {(side.scheme, side.value): side for side in (LEFT, RIGHT)}
    return None if code is None else known.get((code.scheme, code.value))


def pairs_of(labels: Sequence[Label]) -> tuple[Pair, ...]:
    """The structures that labels show on both sides: their codes, or by the table of anatomy their names, are the same
    but for the side. Labels of one code are told apart by their names, and lesions have no other side."""
    sided = [label for label in with_codes(labels) if side_of(label) and not is_altered(label)]
    plain = {label.name: without_sides([label])[0][0] for label in sided}
    pairs = []
    for left in (label for label in sided if side_of(label) == LEFT):
        name, codes = plain[left.name].name, _codes(plain[left.name])
        alike = [label for label in sided if _codes(plain[label.name]) == codes]
        if len(alike) > 2 or not any(codes):
            alike = [label for label in alike if same_name(plain[label.name].name) == same_name(name)]
        rights = [label for label in alike if side_of(label) == RIGHT]
        if len(alike) == 2 and rights:
            pairs.append(Pair(name, left.name, rights[0].name))
    return tuple(pairs)


def _codes(label: Label) -> tuple[str, ...]:
    """All codes of a label, of which empty ones tell nothing."""
    part = label.region_modifier
    return (*label_codes(label), f"{part.scheme}^{part.value}" if part else "")
