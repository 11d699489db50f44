"""A model's card as people read it: where it comes from, what it takes and draws, and what it will cost here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from slicer.i18n import tr as _

from llmboost.card import CLASSIFICATION, Card
from llmboost.card.figures import measured

from ..scene.segmentinput import takesSegment
from .modelentries import Entry, searchText
from .speed import duration

LISTED = 12  # labels that are named


def describe(
    entry: Entry | None, seconds: float | None = None, memory: float | None = None, words: Sequence[str] = ()
) -> str:
    """What a user should know about a model, as rich text.

    Args:
        seconds: that it will take, by earlier runs on this machine.
        memory: in bytes, that the image will take.
        words: that were searched for; of many labels, those that they fit come first.
    """
    if entry is None:
        return escape(_("No model is chosen."))
    if entry.card is None:
        return escape(_("This file cannot be used: {problem}").format(problem=entry.problem))
    card = entry.card
    rows = {
        _("Input"): _input(card),
        _("Classes") if card.task == CLASSIFICATION else _("Segments"): _labels(card, words),
        _("Codes"): _codes(card),
        _("Works at"): _grid(card),
        _("Expected time"): _time(card, seconds),
        _("Memory"): _("about {size:.1f} GB for this image").format(size=memory / 1e9) if memory else "",
        _("Accuracy"): measured(card),
        _("Doubts"): card.doubts,
        _("Base"): f"{card.adapter.base} {card.adapter.base_version}" if card.adapter else "",
        _("Origin"): f"{card.origin.program}, {_breakable(card.origin.source)}" if card.origin else "",
        _("License"): card.license,
        _("Citation"): card.citation,
        _("File"): _("{name} {version}, {size:.1f} MB").format(
            name=_breakable(card.name), version=card.version, size=entry.size / 1e6
        ),
    }
    cells = "".join(
        f'<tr><td style="padding-right: 8px">{escape(key)}:</td><td>{escape(text)}</td></tr>'
        for key, text in rows.items()
        if text
    )
    return f"<p>{escape(card.description)}</p><table>{cells}</table>"


def _breakable(text: str) -> str:
    """Names of folders and files may be broken where they have marks: else they make the panel wider."""
    return "".join(f"{letter}\u200b" if letter in "_/\\-" else letter for letter in text)


def _labels(card: Card, words: Sequence[str]) -> str:
    positive = card.classification.positive if card.classification else ""
    labels = sorted(card.labels, key=lambda label: not any(word in searchText(label) for word in words))
    names = [_("{name} (positive)").format(name=x.name) if x.name == positive else x.name for x in labels]
    if len(names) <= LISTED:
        return ", ".join(names)
    text = _("{count}: {names} and {more} more")
    return text.format(count=len(names), names=", ".join(names[:LISTED]), more=len(names) - LISTED)


def _codes(card: Card) -> str:
    guessed = sum(label.guessed for label in card.labels)
    if not guessed:
        return ""
    text = _("SNOMED CT, guessed from the names of {guessed} of {count} segments")
    return text.format(guessed=guessed, count=len(card.labels))


def _grid(card: Card) -> str:
    """The voxels that a segmenter works on, and how much it sees at once."""
    if card.task == CLASSIFICATION:
        return ""
    preprocessing = card.preprocessing
    spacing, patch = (
        " x ".join(f"{n:g}" for n in values)
        for values in ([round(mm, 2) for mm in preprocessing.spacing], preprocessing.patch_size)
    )
    return _("{spacing} mm, patches of {patch} voxels").format(spacing=spacing, patch=patch)


def _time(card: Card, seconds: float | None) -> str:
    fromCard = card.figures.get("seconds")
    if seconds is not None:
        return _("about {time} on this machine").format(time=duration(seconds))
    if isinstance(fromCard, int | float):
        return _("about {time} by its card").format(time=duration(fromCard))
    return "" if card.task == CLASSIFICATION else _("known after the first run")


def _input(card: Card) -> str:
    preprocessing = card.preprocessing
    if takesSegment(card):
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
