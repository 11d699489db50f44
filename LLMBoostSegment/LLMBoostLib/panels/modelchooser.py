"""The list of models with its search line, filled from the models' cards: no worker is needed for that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import CLASSIFICATION, Card, read_card
from llmboost.card.figures import measured
from llmboost.errors import LLMBoostError

from ..scene.segmentinput import takesSegment
from .errordisplay import capitalized
from .plaintext import confirmed, tip
from .speed import duration

ROWS = 2, 6  # at least and at most, of the list
ROW_HEIGHT = 16  # pixels, at least


@dataclass(frozen=True)
class Entry:
    """A model file of the library, of so many bytes; ``card`` is None where it is of no use: ``problem`` tells why."""

    name: str
    path: Path
    card: Card | None = None
    size: int = 0
    problem: str = ""

    @property
    def imported(self) -> bool:
        """Whether it lies in the user's folder, from which it can be removed."""
        return self.path.parent == library.user_folder()

    @property
    def title(self) -> str:
        return self.card.title if self.card else _("{name} (damaged)").format(name=self.name)

    def matches(self, words: list[str]) -> bool:
        """Whether all words, in lower case, occur in what the card tells."""
        card = self.card
        texts = [self.name, self.title]
        if card:
            texts += [card.description, card.modality, card.license, *(label.name for label in card.labels)]
        text = " ".join(texts).lower()
        return all(word in text for word in words)


def entries() -> list[Entry]:
    """All models of the library, those that cannot be read last."""
    found = []
    for name, path in library.installed().items():
        try:
            found.append(Entry(name, path, read_card(path), path.stat().st_size))
        except (LLMBoostError, OSError) as error:  # removed in between
            found.append(Entry(name, path, problem=str(error)))
    return sorted(found, key=lambda entry: (entry.card is None, entry.title.lower()))


def importModel(path: Path) -> Card | None:
    """Add a model's file to the library; of one that has learned nothing, only if the user wants it. None: not.

    Raises:
        LLMBoostError: it cannot be used.
    """
    doubts = read_card(path).doubts
    question = _("{doubts}.\n\nTrain it longer, or on more cases. Import it all the same?")
    if doubts and not confirmed(question.format(doubts=capitalized(doubts))):
        return None
    return library.import_model(path, anyway=bool(doubts))


def describe(entry: Entry | None, seconds: float | None = None) -> str:
    """What a user should know about a model, as rich text; ``seconds``: by an earlier run on this machine."""
    if entry is None:
        return escape(_("No model is chosen."))
    if entry.card is None:
        return escape(_("This file cannot be used: {problem}").format(problem=entry.problem))
    card = entry.card
    fromCard = card.figures.get("seconds")
    if seconds is not None:
        time = _("about {time} on this machine").format(time=duration(seconds))
    elif isinstance(fromCard, int | float):
        time = _("about {time} by its card").format(time=duration(fromCard))
    else:
        time = "" if card.task == CLASSIFICATION else _("known after the first run")
    rows = {
        _("Input"): _input(card),
        _("Classes") if card.task == CLASSIFICATION else _("Segments"): ", ".join(_labels(card)),
        _("Expected time"): time,
        _("Accuracy"): measured(card),
        _("Doubts"): card.doubts,
        _("Base"): f"{card.adapter.base} {card.adapter.base_version}" if card.adapter else "",
        _("Origin"): f"{card.origin.program}, {card.origin.source}" if card.origin else "",
        _("License"): card.license,
        _("File"): _("{name} {version}, {size:.1f} MB").format(
            name=card.name, version=card.version, size=entry.size / 1e6
        ),
    }
    cells = "".join(
        f'<tr><td style="padding-right: 8px">{escape(key)}:</td><td>{escape(text)}</td></tr>'
        for key, text in rows.items()
        if text
    )
    return f"<p>{escape(card.description)}</p><table>{cells}</table>"


def _labels(card: Card) -> list[str]:
    positive = card.classification.positive if card.classification else ""
    return [_("{name} (positive)").format(name=x.name) if x.name == positive else x.name for x in card.labels]


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


class ModelChooser:
    """Fills and watches a QListWidget and the QLineEdit that narrows it.

    Args:
        onChosen: is called with the name when the user chooses another model.
    """

    def __init__(self, searchEdit: Any, listWidget: Any, onChosen: Callable[[str], None]) -> None:
        self._search, self._list, self._onChosen = searchEdit, listWidget, onChosen
        self._entries: list[Entry] = []
        self._shown: list[Entry] = []
        self.current: Entry | None = None
        searchEdit.connect("textChanged(QString)", self._fill)
        listWidget.connect("currentRowChanged(int)", self._onRow)
        self.refresh()

    def refresh(self) -> None:
        """Look into the library again; the chosen model stays chosen if it is still there."""
        self._entries = entries()
        self.choose(self.current.name if self.current else "")

    def choose(self, name: str) -> None:
        """Choose a model by its name, which need not be in the list: then none is chosen."""
        self.current = next((entry for entry in self._entries if entry.name == name), None)
        if self.current is not None and not self.current.matches(self._words()):
            self._search.clear()
        self._fill()

    def _words(self) -> list[str]:
        return self._search.text.lower().split()

    def _fill(self, _text: str = "") -> None:
        wasBlocked = self._list.blockSignals(True)
        self._shown = [entry for entry in self._entries if entry.matches(self._words())]
        self._list.clear()
        for entry in self._shown:
            self._list.addItem(f"{entry.title} · {entry.card.modality}" if entry.card else entry.title)
            self._list.item(self._list.count - 1).setToolTip(
                tip(entry.card.description if entry.card else entry.problem)
            )
        rows = min(max(len(self._shown), ROWS[0]), ROWS[1])
        self._list.setFixedHeight(rows * max(self._list.sizeHintForRow(0), ROW_HEIGHT) + 2 * self._list.frameWidth)
        self._list.setCurrentRow(self._shown.index(self.current) if self.current in self._shown else -1)
        self._list.blockSignals(wasBlocked)

    def _onRow(self, row: int) -> None:
        if 0 <= row < len(self._shown):
            self.current = self._shown[row]
            self._onChosen(self.current.name)
