"""The adapter that a training gave: it waits for the user's decision, also in the next Slicer."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card, read_card
from llmboost.card.figures import ADVICE
from llmboost.errors import LLMBoostError
from llmboost.files import write_whole
from llmboost.messages.cases import HeldOutFigures, OldTask
from llmboost.messages.codec import from_parts
from llmboost.messages.words import Device

from .filechanges import makeFolder, makePrivate
from .runfolders import OUTCOME, PENDING, RUN, discardPending

LONGEST = 48  # letters of a name that is proposed


@dataclass(frozen=True)
class AdapterCandidate:
    """An adapter that is in no library yet.

    Attributes:
        name: of the adapted model.
        path: its file.
        base, task: what it was made of and for.
        before, after: figures on the cases that were kept for checking.
        oldTask: the same before and after on what the base learned from, if that was measured.
        stopped: why it ended: a word of StopReason.
        rank, device: as they were asked for.
        dataset: what it learned from; empty: the cases.
        inSteps: its budget was no time.
        outOfFold: figures on every case, by networks like it that had not seen the case, ``folds`` of them; None: it
            was not checked so.
    """

    name: str
    path: Path
    base: str
    task: str
    before: HeldOutFigures
    after: HeldOutFigures
    oldTask: OldTask | None = None
    seconds: float = 0.0
    steps: int = 0
    stopped: str = ""
    warnings: tuple[str, ...] = field(default_factory=tuple)
    rank: int | None = None
    device: str = Device.AUTO
    dataset: str = ""
    inSteps: bool = False
    outOfFold: HeldOutFigures | None = None
    folds: int = 0

    @property
    def card(self) -> Card:
        return read_card(self.path)

    def keep(self, written: Path) -> None:
        """Move the file that was written, and the folder of its run, to where it waits for a decision, in place of an
        earlier one; or, if it is written there already, note what it is now.

        Raises:
            LLMBoostError: it cannot be kept.
        """
        folder = self.path.parent
        try:
            if written != self.path:
                discardPending(folder.parent)
                makeFolder(folder)
                shutil.move(written, self.path)
                if (run := written.with_suffix(RUN)).is_dir():
                    shutil.move(run, self.path.with_suffix(RUN))
            known = {key: value for key, value in asdict(self).items() if key != "path"}
            write_whole(folder / OUTCOME, json.dumps(known).encode())
            makePrivate(folder)
        except OSError as error:
            text = _("{path}: cannot be written ({reason}); check the free space")
            raise LLMBoostError(text.format(path=self.path, reason=error.strerror)) from error

    def accept(self, anyway: bool = False) -> Card:
        """Put it into the library, where all of LLMBoost finds it.

        Raises:
            LLMBoostError: it has learned nothing, and that was not to be taken; or it cannot be kept.
        """
        if (doubts := self.card.doubts) and not anyway:
            text = _("{doubts}; {advice} (anyway=True accepts it all the same)")
            raise LLMBoostError(text.format(doubts=doubts, advice=ADVICE))
        card = library.import_model(self.path, anyway=anyway)
        self.discard()
        return card

    def discard(self) -> None:
        """Delete it."""
        discardPending(self.path.parents[1])


def candidatePath(folder: Path, name: str) -> Path:
    """Where the adapter of this name waits, beside the cases of a folder."""
    return folder / PENDING / (name + library.EXTENSION)


def pending(folder: Path) -> AdapterCandidate | None:
    """The adapter that an earlier training, perhaps in an earlier Slicer, left for a decision."""
    try:
        known = json.loads((folder / PENDING / OUTCOME).read_text(encoding="utf-8"))
        known |= {"path": candidatePath(folder, known["name"]), "warnings": tuple(known["warnings"])}
        told = [key for key in ("before", "after", "outOfFold") if known.get(key)]
        known |= {key: from_parts(HeldOutFigures, known[key]) for key in told}
        known["oldTask"] = known["oldTask"] and from_parts(OldTask, known["oldTask"])
        candidate = AdapterCandidate(**known)
        read_card(candidate.path)
        return candidate
    except (OSError, ValueError, KeyError, TypeError, LLMBoostError):
        return None


def checkName(name: str) -> None:
    """Refuse what cannot be the name of a new model; raises LLMBoostError."""
    if not name or Path(name).name != name or name.startswith(".") or len(name) > 60:
        raise LLMBoostError(_("'{name}' cannot be a model's name: take letters, digits and hyphens").format(name=name))
    if name in library.installed():
        raise LLMBoostError(_("A model named '{name}' is installed already: choose another name").format(name=name))


def nameAfter(labels: Iterable[str]) -> str:
    """What a network of its own is called after, which has nothing of a base: as many of its labels as a name holds,
    such as "left-atrium-aorta"; empty where they have no letters."""
    words = ["-".join(re.findall(r"[^\W_]+", label.casefold())) for label in labels]
    name = ""
    for word in filter(None, words):
        longer = f"{name}-{word}" if name else word[:LONGEST]
        if len(longer) > LONGEST:
            break
        name = longer
    return name


def freeName(base: str) -> str:
    """A name for what is made of a base, or called after something else."""
    known = library.installed()
    number = 1
    while f"{base}-local-{number}" in known:
        number += 1
    return f"{base}-local-{number}"
