"""What can be taken back in the panel, the latest first, with a button that tells what that is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from .plaintext import tip


@dataclass(frozen=True)
class Step:
    """Something that was done.

    Attributes:
        name: of it, in the user's words.
        undo: takes it back.
        ofResult: it is of no use without the nodes of the result that it belongs to.
        isRun: it is a result itself.
    """

    name: str
    undo: Callable[[], None]
    ofResult: bool = True
    isRun: bool = False


class UndoSteps:
    """Keeps the steps.

    Args:
        button: a QPushButton, which is told what it takes back.
    """

    def __init__(self, button: Any) -> None:
        self._button = button
        self._steps: list[Step] = []
        self._show()

    def add(self, step: Step) -> None:
        self._steps.append(step)
        self._show()

    @property
    def last(self) -> Step | None:
        """What would be taken back."""
        return self._steps[-1] if self._steps else None

    def undo(self) -> str:
        """Take the latest step back, which is forgotten also where that fails; its name."""
        step = self._steps.pop()
        self._show()
        step.undo()
        return step.name

    def forgetResults(self) -> None:
        """Nodes are gone: what was done with them cannot be taken back."""
        self._steps = [step for step in self._steps if not step.ofResult]
        self._show()

    def clear(self) -> None:
        self._steps.clear()
        self._show()

    def _show(self) -> None:
        button, last = self._button, self.last
        button.visible = last is not None
        button.text = _("Undo: {step}").format(step=last.name) if last else _("Undo")
        button.toolTip = tip(
            _("Take the latest step back: a result, a correction, what was learned, or the next case.")
        )
