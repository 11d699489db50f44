"""Which of a model's labels a segment is, by its name or its SNOMED code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .fields import TISSUE, Label

Codes = tuple[str, str, str]  # type, its modifier and the anatomic region: scheme and value of each, or empty
_SEPARATORS = re.compile(r"[\s_\-.,/]+")
_NONE = "", "", ""


def normalized(name: str) -> str:
    """A name without what people spell differently: case, separators, order of words."""
    return " ".join(sorted(filter(None, _SEPARATORS.split(name.casefold()))))


def codes_of(terminology: str) -> Codes:
    """The codes of a terminology as Slicer serializes it.

    What Slicer gives to every new segment ("Tissue") counts as nothing.
    """
    parts = [part.split("^")[:2] for part in terminology.split("~")]
    codes = ["^".join(part) if len(part) == 2 and part[1] else "" for part in parts]
    codes += [""] * (7 - len(codes))
    if codes[2] == f"{TISSUE.scheme}^{TISSUE.value}" and not codes[5]:
        return _NONE
    return codes[2], codes[3], codes[5]


def label_codes(label: Label) -> Codes:
    """The same of a label."""
    if label.type == TISSUE and label.region is None:
        return _NONE
    kind, modifier, region = (
        f"{code.scheme}^{code.value}" if code else "" for code in (label.type, label.modifier, label.region)
    )
    return kind, modifier, region


def by_name(name: str, labels: Sequence[Label]) -> Label | None:
    """The label of this name, however it is spelled."""
    key = normalized(name)
    return next((label for label in labels if normalized(label.name) == key), None)


def by_codes(codes: Codes, labels: Sequence[Label]) -> Label | None:
    """The one label of these codes; several of one code are told apart by their names alone."""
    found = [label for label in labels if any(codes) and label_codes(label) == codes]
    return found[0] if len(found) == 1 else None


def label_of(name: str, codes: Codes, labels: Sequence[Label]) -> Label | None:
    """The label that a segment is without a doubt: of its name, or of its codes where these do not contradict."""
    named, coded = by_name(name, labels), by_codes(codes, labels)
    return None if named and coded and named is not coded else named or coded
