"""The section Result: what a training gave, case by case, and the decision about it."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from ..panels.speed import duration
from .adaptersview import change
from .candidate import AdapterCandidate
from .casestore import CaseStore
from .casesview import title
from .cells import PROBLEM_COLOR, Table
from .figures import finite, shown

WORSE = 0.005  # of Dice, from which on it is pointed out


class OutcomeView:
    """Hidden while nothing waits for a decision.

    Args:
        ui: resultButton, resultLabel, warningsLabel, diceTable.
    """

    def __init__(self, ui: Any) -> None:
        self._ui = ui
        self._table = Table(ui.diceTable, [_("Case"), _("Before"), _("After"), _("Change"), _("Labels")], 0, 4)
        self._store: CaseStore | None = None
        self.outcome: AdapterCandidate | None = None
        self.clear()

    @property
    def selected(self) -> str:
        """The id of the chosen case, by default the first one's; empty where no case was checked."""
        return next(iter(self._table.selected), next(iter(self._rows), ""))

    def show(self, outcome: AdapterCandidate, store: CaseStore) -> None:
        self.outcome, self._store, ui = outcome, store, self._ui
        before = {case["id"]: case["dice"] for case in outcome.before["cases"]}
        self._rows = {case["id"]: (before.get(case["id"], {}), case["dice"]) for case in outcome.after["cases"]}
        self._names = {str(label.value): label.name for label in outcome.card.labels}
        self._table.fill(list(self._rows), self._write)
        ui.diceTable.visible = bool(self._rows)
        ui.resultLabel.text = "\n".join(self._lines(outcome))
        ui.warningsLabel.text = "\n".join(outcome.warnings)
        ui.warningsLabel.visible = bool(outcome.warnings)
        ui.resultButton.visible = True
        ui.resultButton.collapsed = False

    def clear(self) -> None:
        self.outcome, self._rows, self._names = None, {}, {}
        self._ui.resultButton.visible = False

    def _lines(self, outcome: AdapterCandidate) -> list[str]:
        before, after = outcome.before.get("mean_dice"), outcome.after.get("mean_dice")
        reasons = {
            "budget": _("the time was up"),
            "finish": _("stopped by you"),
            "early": _("it got no better any more"),
        }
        lines = [
            _("{name}: {steps} steps in {time} ({reason}).").format(
                name=outcome.name,
                steps=outcome.steps,
                time=duration(outcome.seconds),
                reason=reasons.get(outcome.stopped, outcome.stopped),
            )
        ]
        if finite(after) is not None:
            text = _("Dice of what it has not learned from ({count}): {change}.")
            lines.append(text.format(count=len(self._rows), change=change(before, after)))
        if outcome.oldTask:
            text = _("Dice of cases like those that the base learned from: {change}.")
            lines.append(text.format(change=change(outcome.oldTask["before"], outcome.oldTask["after"])))
        return lines

    def _write(self, row: int, id: str) -> None:
        before, after = self._rows[id]
        means = _mean(before), _mean(after)
        case = self._store.cases.get(id)
        self._table.text(row, 0, title(case) if case else id, id)
        for column, value in enumerate(means, start=1):
            self._table.text(row, column, shown(value))
        gain = None if None in means else means[1] - means[0]
        worse = gain is not None and gain < -WORSE
        self._table.text(row, 3, "–" if gain is None else f"{gain:+.2f}", color=PROBLEM_COLOR if worse else "")
        texts = [f"{self._names.get(value, value)} {change(before.get(value), dice)}" for value, dice in after.items()]
        self._table.text(row, 4, ", ".join(texts), "\n".join(texts))


def _mean(dice: dict[str, float | None]) -> float | None:
    values = [number for value in dice.values() if (number := finite(value)) is not None]
    return sum(values) / len(values) if values else None
