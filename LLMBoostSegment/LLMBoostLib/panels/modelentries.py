"""The models of the library as panels list them: read from the cards alone, no worker is needed for that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.card.told import search_text
from llmboost.errors import LLMBoostError

from .errordisplay import capitalized
from .plaintext import confirmed


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
        """Whether all words, in lower case, occur in what the card tells, or in another name of a structure."""
        card = self.card
        texts = [self.name, self.title]
        if card:
            texts += [card.description, card.modality, card.license, *map(search_text, card.labels)]
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
