"""A model's card as people read it: where it comes from, what it takes and draws, and what it will cost here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from slicer.i18n import tr as _

from llmboost.card import CLASSIFICATION, Card
from llmboost.card.figures import measured
from llmboost.card.told import told

from .modelentries import Entry
from .speed import duration


def describe(
    entry: Entry | None,
    seconds: float | None = None,
    memory: float | None = None,
    words: Sequence[str] = (),
    extentMm: Sequence[float] | None = None,
) -> str:
    """What a user should know about a model, as rich text.

    Args:
        seconds: that it will take, by earlier runs on this machine.
        memory: in bytes, that the image will take.
        words: that were searched for; of many labels, those that they fit come first.
        extentMm: of the chosen image along R, A and S, if one is chosen.
    """
    if entry is None:
        return escape(_("No model is chosen."))
    if entry.card is None:
        return escape(_("This file cannot be used: {problem}").format(problem=entry.problem))
    card = entry.card
    needed = _("about {size:.1f} GB for this image").format(size=memory / 1e9) if memory else ""
    rows = told(card, time=_time(card, seconds), memory=needed, words=words, _=_)
    rows[_("Accuracy")] = accuracy(card, extentMm)
    rows[_("File")] = _("{name} {version}, {size:.1f} MB").format(
        name=_breakable(card.name), version=card.version, size=entry.size / 1e6
    )
    if card.origin:
        rows[_("Origin")] = f"{card.origin.program}, {_breakable(card.origin.source)}"
    cells = "".join(
        f'<tr><td style="padding-right: 8px">{escape(key)}:</td><td>{escape(text)}</td></tr>'
        for key, text in rows.items()
        if text
    )
    return f"<p>{escape(card.description)}</p><table>{cells}</table>"


def inShort(card: Card | None, extentMm: Sequence[float] | None = None) -> str:
    """What to know of a model before it is used: what it takes, and how good it is on images such as the chosen one."""
    if card is None:
        return ""
    return " · ".join([told(card, _=_)[_("Input")], accuracy(card, extentMm)])


def accuracy(card: Card, extentMm: Sequence[float] | None = None) -> str:
    """The figure that tells most, and whether it is one of images such as the chosen one."""
    text, cascade = measured(card), card.cascade
    if cascade is None or not any(target.structure for target in cascade.targets):
        return text
    text = _("{figure} (crops)").format(figure=text)
    if extentMm is None or not card.needs_cascade(extentMm):
        return text
    names = {"figure": text, "subject": cascade.subject}
    if cascade.quality is None or card.adapter:
        return _("{figure}; of a whole {subject}, not measured").format(**names)
    tests = cascade.quality.figures.get("heads")
    if not tests:
        return _("{figure}; of a whole {subject}, told with the result").format(**names)
    text = _(
        "{figure}; of a whole {subject}, told with the result (off by {error:.2f} on average of {count:.0f} tests)"
    )
    return text.format(**names, error=tests["mae"], count=tests["cases"])


def _breakable(text: str) -> str:
    """Names of folders and files may be broken where they have marks: else they make the panel wider."""
    return "".join(f"{letter}\u200b" if letter in "_/\\-" else letter for letter in text)


def _time(card: Card, seconds: float | None) -> str:
    fromCard = card.figures.get("seconds")
    if seconds is not None:
        return _("about {time} on this machine").format(time=duration(seconds))
    if isinstance(fromCard, int | float):
        return _("about {time} by its card").format(time=duration(fromCard))
    return "" if card.task == CLASSIFICATION else _("known after the first run")
