"""The section Result: what a training gave, case by case, and the decision about it."""

from __future__ import annotations

from typing import Protocol

import ctk
import qt
from slicer.i18n import tr as _

from llmboost.card.figures import at_worst
from llmboost.messages.words import StopReason

from ..panels.speed import duration
from .candidate import AdapterCandidate
from .casestore import CaseStore
from .casesview import title
from .cells import PROBLEM_COLOR, Table
from .figures import change, finite, shown

WORSE = 0.005  # of Dice, from which on it is pointed out
LABELS = 7  # at most that are told below each other, the worst ones
CASE, BEFORE, AFTER, CHANGE, CHECKED, NAMED = range(6)  # columns


Dice = dict[str, float | None]  # of a case's labels, by their values


class Widgets(Protocol):
    resultButton: ctk.ctkCollapsibleButton
    resultLabel: qt.QLabel
    warningsLabel: qt.QLabel
    diceTable: qt.QTableWidget


class CandidateView:
    """Hidden while nothing waits for a decision."""

    def __init__(self, ui: Widgets) -> None:
        self._ui = ui
        headers = [_("Case"), _("Before"), _("After"), _("Change"), _("Checked"), _("Labels")]
        self._table = Table(ui.diceTable, headers, CASE, NAMED)
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
        checked = {case.id: case.dice for case in candidate.outOfFold.cases} if candidate.outOfFold else {}
        names = {str(label.value): label.name for label in candidate.card.labels}
        places = {id: place for place, id in enumerate(store.cases)}  # as the cases' own table has them
        self._ids = sorted(checked or after, key=lambda id: places.get(id, len(places)))
        titles = {id: title(store.cases[id]) if id in store.cases else id for id in self._ids}

        def write(row: int, id: str) -> None:
            self._table.text(row, CASE, titles[id], id)
            self._write(row, before.get(id, {}), after.get(id, {}), checked.get(id), names)

        self._table.fill(self._ids, write)
        for columns, figures in (((BEFORE, CHANGE), before), ((AFTER,), after), ((CHECKED,), checked)):
            for column in columns:
                ui.diceTable.setColumnHidden(column, not figures)
        ui.diceTable.visible = bool(self._ids)
        lines = self._lines(candidate, len(after))
        if checked:
            lines += self._linesOfCheck(candidate, {titles[id]: dice for id, dice in checked.items()}, names)
        ui.resultLabel.text = "\n".join(lines)
        ui.warningsLabel.text = "\n".join(candidate.warnings)
        ui.warningsLabel.visible = bool(candidate.warnings)
        ui.resultButton.visible = True
        ui.resultButton.collapsed = False

    def clear(self) -> None:
        self.candidate, self._ids = None, []
        self._ui.resultButton.visible = False

    def _lines(self, candidate: AdapterCandidate, kept: int) -> list[str]:
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
            lines.append(text.format(count=kept, change=change(before, after)))
        if candidate.oldTask:
            text = _("Dice of cases like those that the base learned from: {change}.")
            lines.append(text.format(change=change(candidate.oldTask.before, candidate.oldTask.after)))
        return lines

    def _linesOfCheck(
        self, candidate: AdapterCandidate, cases: dict[str, dict[str, float | None]], names: dict[str, str]
    ) -> list[str]:
        """What every case says, by ``cases`` with their titles: of the whole, and of each label."""
        assert candidate.outOfFold
        text = _("Checked on every case ({count}), each by one of {folds} networks that had not seen it: Dice {dice}.")
        dice = shown(candidate.outOfFold.mean_dice)
        means = {value: mean({id: one.get(value) for id, one in cases.items()}) for value in names}
        order = sorted(names, key=lambda value: (means[value] is None, means[value]))
        lines = [f"    {at_worst(names[value], value, cases)}" for value in order[:LABELS]]
        more = [_("    and {count} labels more").format(count=len(order) - LABELS)] if len(order) > LABELS else []
        return [text.format(count=len(cases), folds=candidate.folds, dice=dice), *lines, *more]

    def _write(self, row: int, before: Dice, after: Dice, checked: Dice | None, names: dict[str, str]) -> None:
        means = mean(before), mean(after)
        for column, value in zip((BEFORE, AFTER, CHECKED), (*means, mean(checked or {})), strict=True):
            self._table.text(row, column, shown(value))
        gain = None if means[0] is None or means[1] is None else means[1] - means[0]
        worse = gain is not None and gain < -WORSE
        self._table.text(row, CHANGE, "–" if gain is None else f"{gain:+.2f}", color=PROBLEM_COLOR if worse else "")
        if checked is None:
            told = {value: change(before.get(value), dice) for value, dice in after.items()}
        else:
            told = {value: shown(dice) for value, dice in checked.items()}
        texts = [f"{names.get(value, value)} {text}" for value, text in told.items()]
        self._table.text(row, NAMED, ", ".join(texts), "\n".join(texts))


def mean(dice: Dice) -> float | None:
    """Of all labels whose Dice says something."""
    values = [number for value in dice.values() if (number := finite(value)) is not None]
    return sum(values) / len(values) if values else None
