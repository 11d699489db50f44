"""Which label each kind of segment is: by its SNOMED code or its name, or as the user says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from slicer.i18n import tr as _

from llmboost.card import Label, by_codes, by_name, codes_of, normalized
from llmboost.io.labels import IGNORE

from .cases import Kind

BACKGROUND = "background"  # what a kind can be besides a label: nothing that is to be learned
UNDECIDED = ""


@dataclass(frozen=True)
class Match:
    """The label of a kind of segment (or BACKGROUND, IGNORE, UNDECIDED), and how it was found.

    ``problem`` tells what stands in the way, ``doubt`` what a user should look at.
    """

    label: str
    how: str = ""
    problem: str = ""
    doubt: str = ""

    @property
    def isLearned(self) -> bool:
        return self.label not in (BACKGROUND, IGNORE, UNDECIDED)


def match(kind: Kind, labels: Sequence[Label], chosen: str | None = None) -> Match:
    """What a kind of segment is among these labels; what the user chose comes first."""
    names = [label.name for label in labels]
    byName = _name(by_name(kind.name, labels))
    byCode = _name(by_codes(codes_of(kind.terminology), labels))
    if chosen is not None and (chosen in names or chosen in (BACKGROUND, IGNORE)):
        return Match(chosen, _("chosen"), doubt=_disagreement(kind, chosen, byCode))
    if byName:
        return Match(byName, _("name, code") if byName == byCode else _("name"),
                     doubt=_disagreement(kind, byName, byCode))  # fmt: skip
    if byCode:
        return Match(byCode, _("code"))
    if normalized(kind.name) in (BACKGROUND, IGNORE):
        return Match(normalized(kind.name), _("name"))
    if part := _byPart(kind, labels):
        text = _("'{name}' was taken for {label}: look whether that is right")
        return Match(part, _("part of name"), doubt=text.format(name=kind.name, label=part))
    return Match(UNDECIDED, problem=_("'{name}' has no label: choose one").format(name=kind.name))


def ownLabels(kinds: Iterable[Kind]) -> list[str]:
    """The labels of a new structure or label set: the kinds' own names, each spelling once."""
    found: dict[str, str] = {}
    for kind in kinds:
        if normalized(kind.name) not in (BACKGROUND, IGNORE):
            found.setdefault(normalized(kind.name), kind.name)
    return list(found.values())


def matchOwn(kind: Kind, names: Sequence[str], chosen: str | None = None) -> Match:
    """The same for labels that have names alone, those of :func:`ownLabels`."""
    if chosen is not None and (chosen in names or chosen in (BACKGROUND, IGNORE)):
        return Match(chosen, _("chosen"))
    key = normalized(kind.name)
    if key in (BACKGROUND, IGNORE):
        return Match(key, _("name"))
    own = next((name for name in names if normalized(name) == key), UNDECIDED)
    return Match(own, _("its own name") if own == kind.name else _("name"))


def meaningOf(terminology: str) -> str:
    """The type's meaning in words, with its modifier; empty where there is none."""
    if not any(codes_of(terminology)):
        return ""
    parts = [part.split("^") for part in terminology.split("~")]
    return " ".join(part[2] for part in (parts[3], parts[2]) if len(part) > 2 and part[2])


def counts(matches: Mapping[int, Match], voxels: Mapping[int, int]) -> dict[str, int]:
    """Voxels of each label in a case, by its voxels of each kind."""
    found: dict[str, int] = {}
    for value, count in voxels.items():
        label = matches[value].label
        found[label] = found.get(label, 0) + count
    return found


def _name(label: Label | None) -> str:
    return label.name if label else ""


def _byPart(kind: Kind, labels: Sequence[Label]) -> str:
    """The one label whose name holds all words of the kind's, or the other way round."""
    words = set(normalized(kind.name).split())
    names = {label.name: set(normalized(label.name).split()) for label in labels}
    found = [name for name, own in names.items() if words and (words <= own or own <= words)]
    return found[0] if len(found) == 1 else ""


def _disagreement(kind: Kind, label: str, byCode: str) -> str:
    if not byCode or byCode == label:
        return ""
    text = _("the SNOMED code of '{name}' says {other}, not {label}: look which one is right")
    return text.format(name=kind.name, other=byCode, label=label)
