"""What is chosen, as a section that folds to one line, and beside Apply why it cannot be clicked, or what it takes."""

from __future__ import annotations

from typing import Protocol

import ctk
import qt
from slicer.i18n import tr as _

from .errordisplay import NOTICE_STYLE, PROBLEM_STYLE
from .foldedline import FoldedLine
from .plaintext import tip
from .run import Run, Work
from .speed import duration

LENGTHS = 13, 24, 16  # letters of the image, the model and the output: together no wider than a panel


class Widgets(Protocol):
    applyButton: qt.QPushButton
    applyLabel: qt.QLabel
    choiceButton: ctk.ctkCollapsibleButton


class ChoiceView:
    """The section's header tells image, model and output while it is folded.

    Args:
        run: what goes on in the panel.

    Attributes:
        seconds: that Apply will take, if that is known.
    """

    def __init__(self, ui: Widgets, run: Run) -> None:
        self._ui, self._run = ui, run
        self._line = FoldedLine(ui.choiceButton, *LENGTHS)
        self._problem, self._isMissing, self._classifies = "", False, False
        self.seconds: float | None = None
        run.observe(self.showApply)

    def fold(self, folded: bool) -> None:
        """To one line, or open it."""
        self._line.fold(folded)

    def show(self, image: str, model: str, output: str) -> None:
        """What is chosen, by name; nothing of what is not."""
        self._line.show(image, model, output)

    def ask(self, problem: str, isMissing: bool, classifies: bool, seconds: float | None) -> None:
        """What Apply would do.

        Args:
            problem: why it can do nothing; empty: it can.
            isMissing: there is no image yet, which is no fault.
            seconds: that it will take, if that is known.
        """
        self._problem, self._isMissing, self._classifies = problem, isMissing, classifies
        self.seconds = seconds
        self.showApply()

    def showApply(self) -> None:
        """The button begins a run or stops it; beside it stands why it cannot, or how long that takes."""
        button, label, run = self._ui.applyButton, self._ui.applyLabel, self._run
        running = run.does(Work.IMAGE)
        button.text = _("&Cancel") if running else _("Cl&assify") if self._classifies else _("&Apply")
        button.enabled = not run.resting and (running or not (self._problem or run.active))
        what = _("Classify the image") if self._classifies else _("Segment the image")
        stop = _("Stop the computation; the scene stays as it is")
        button.toolTip = tip(stop if running else self._problem or what)
        label.text, style = self._reason(running)
        label.setStyleSheet(style)
        label.visible = bool(label.text)

    def _reason(self, running: bool) -> tuple[str, str]:
        """The words beside the button, and their style."""
        if running:
            return "", ""
        if self._run.active:
            return _("Something else is being computed: wait for it, or cancel it"), NOTICE_STYLE
        if self._problem:
            return self._problem, NOTICE_STYLE if self._isMissing else PROBLEM_STYLE
        if self.seconds is not None:
            return _("about {time} on this machine").format(time=duration(self.seconds)), NOTICE_STYLE
        return "", ""
