"""The section Result: what a training gave, case by case, and the decision about it."""

from __future__ import annotations

from typing import Protocol

import ctk
import qt
from slicer.i18n import tr as _

from llmboost.messages.words import StopReason

from ..panels.speed import duration
from .candidate import AdapterCandidate
from .casestore import CaseStore
from .casesview import title
from .cells import PROBLEM_COLOR, Table
from .figures import change, finite, shown

WORSE = 0.005  # of Dice, from which on it is pointed out


class Widgets(Protocol):
    resultButton: ctk.ctkCollapsibleButton
    resultLabel: qt.QLabel
    warningsLabel: qt.QLabel
    diceTable: qt.QTableWidget


class CandidateView:
    """Hidden while nothing waits for a decision."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        self._table = Table(ui.diceTable, [_("Case"), _("Before"), _("After"), _("Change"), _("Labels")], 0, 4)
        self._ids: list[str] = []
        self.candidate: AdapterCandidate | None = None
        self.clear()

    @property
    def selected(self) -> str:
        """The id of the chosen case, by default the first one's; empty where no case was checked."""
        return next(iter(self._table.selected), next(iter(self._ids), ""))

    def show(self, candidate: AdapterCandidate, store: CaseStore) -> None:
        self.candidate, ui = candidate, self._ui
        before = {case.id: case.dice for case in candidate.before.cases}
        after = {case.id: case.dice for case in candidate.after.cases}
        names = {str(label.value): label.name for label in candidate.card.labels}
        titles = {id: title(store.cases[id]) if id in store.cases else id for id in after}

        def write(row: int, id: str) -> None:
            self._table.text(row, 0, titles[id], id)
            self._write(row, before.get(id, {}), after[id], names)

        self._ids = list(after)
        self._table.fill(self._ids, write)
        ui.diceTable.visible = bool(after)
        ui.resultLabel.text = "\n".join(self._lines(candidate))
        ui.warningsLabel.text = "\n".join(candidate.warnings)
        ui.warningsLabel.visible = bool(candidate.warnings)
        ui.resultButton.visible = True
        ui.resultButton.collapsed = False

    def clear(self) -> None:
        self.candidate, self._ids = None, []
        self._ui.resultButton.visible = False

    def _lines(self, candidate: AdapterCandidate) -> list[str]:
        before, after = candidate.before.mean_dice, candidate.after.mean_dice
        reasons: dict[str, str] = {
            StopReason.BUDGET: _("the time was up"),
            StopReason.FINISH: _("stopped by you"),
            StopReason.EARLY: _("it got no better any more"),
        }
        lines = [
            _("{name}: {steps} steps in {time} ({reason}).").format(
                name=candidate.name,
                steps=candidate.steps,
                time=duration(candidate.seconds),
                reason=reasons.get(candidate.stopped, candidate.stopped),
            )
        ]
        if finite(after) is not None:
            text = _("Dice of what it has not learned from ({count}): {change}.")
            lines.append(text.format(count=len(self._ids), change=change(before, after)))
        if candidate.oldTask:
            text = _("Dice of cases like those that the base learned from: {change}.")
            lines.append(text.format(change=change(candidate.oldTask.before, candidate.oldTask.after)))
        return lines

    def _write(
        self, row: int, before: dict[str, float | None], after: dict[str, float | None], names: dict[str, str]
    ) -> None:
        means = mean(before), mean(after)
        for column, value in enumerate(means, start=1):
            self._table.text(row, column, shown(value))
        gain = None if means[0] is None or means[1] is None else means[1] - means[0]
        worse = gain is not None and gain < -WORSE
        self._table.text(row, 3, "–" if gain is None else f"{gain:+.2f}", color=PROBLEM_COLOR if worse else "")
        texts = [f"{names.get(value, value)} {change(before.get(value), dice)}" for value, dice in after.items()]
        self._table.text(row, 4, ", ".join(texts), "\n".join(texts))


def mean(dice: dict[str, float | None]) -> float | None:
    """Of all labels whose Dice says something."""
    values = [number for value in dice.values() if (number := finite(value)) is not None]
    return sum(values) / len(values) if values else None
