"""A card as people read it: where the model comes from, what it takes and draws, and what is known of its quality."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .anatomy import synonyms
from .card import Card
from .fields import CLASSIFICATION, Label
from .figures import measured
from .modality import term

LISTED = 12  # labels that are named
MASK = "SEG"  # DICOM's word for a model whose input is a mask


def told(
    card: Card, *, time: str = "", memory: str = "", words: Sequence[str] = (), _: Callable[[str], str] = str
) -> dict[str, str]:
    """What a user should know about a model, by what it is called: lines without text have nothing to tell.

    Args:
        time, memory: what using it costs, in words.
        words: that were searched for; of many labels, those that they fit come first.
        _: translates.
    """
    return {
        _("Input"): _input(card, _),
        _("Classes") if card.task == CLASSIFICATION else _("Segments"): _labels(card, words, _),
        _("Codes"): _codes(card, _),
        _("Works at"): _grid(card, _),
        _("Expected time"): time,
        _("Memory"): memory,
        _("Accuracy"): measured(card),
        _("Doubts"): card.doubts,
        _("Base"): f"{card.adapter.base} {card.adapter.base_version}" if card.adapter else "",
        _("Origin"): f"{card.origin.program}, {card.origin.source}" if card.origin else "",
        _("License"): card.license,
        _("Citation"): card.citation,
    }


def takes_mask(card: Card) -> bool:
    """Whether the model's input is a mask."""
    return term(card.modality) == MASK


def search_text(label: Label) -> str:
    """A label's name and all others that its structure goes by, in small letters."""
    return " ".join((label.name, *synonyms(label))).lower()


def _labels(card: Card, words: Sequence[str], _: Callable[[str], str]) -> str:
    positive = card.classification.positive if card.classification else ""
    labels = sorted(card.labels, key=lambda label: not any(word in search_text(label) for word in words))
    names = [_("{name} (positive)").format(name=x.name) if x.name == positive else x.name for x in labels]
    if len(names) <= LISTED:
        return ", ".join(names)
    text = _("{count}: {names} and {more} more")
    return text.format(count=len(names), names=", ".join(names[:LISTED]), more=len(names) - LISTED)


def _codes(card: Card, _: Callable[[str], str]) -> str:
    guessed = sum(label.guessed for label in card.labels)
    if not guessed:
        return ""
    text = _("SNOMED CT, guessed from the names of {guessed} of {count} segments")
    return text.format(guessed=guessed, count=len(card.labels))


def _grid(card: Card, _: Callable[[str], str]) -> str:
    """The voxels that a segmenter works on, and how much it sees at once."""
    if card.task == CLASSIFICATION:
        return ""
    preprocessing = card.preprocessing
    spacing, patch = (
        " x ".join(f"{n:g}" for n in values)
        for values in ([round(mm, 2) for mm in preprocessing.spacing], preprocessing.patch_size)
    )
    return _("{spacing} mm, patches of {patch} voxels").format(spacing=spacing, patch=patch)


def _input(card: Card, _: Callable[[str], str]) -> str:
    preprocessing = card.preprocessing
    if takes_mask(card):
        return _("a segment")
    if card.cascade is not None:
        return _("{modality}, a {subject} or a crop of it").format(modality=card.modality, subject=card.cascade.subject)
    if preprocessing.slice_axis is not None and not preprocessing.color:
        return _("{modality}, slice by slice").format(modality=card.modality)
    if preprocessing.color:
        return _("{modality}, a color image").format(modality=card.modality)
    if preprocessing.channels > 1:
        return _("{modality}, {count} images of the same place").format(
            modality=card.modality, count=preprocessing.channels
        )
    return card.modality
