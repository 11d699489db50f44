"""Dialogs that answer themselves: the test says beforehand what the user will choose, and reads what was shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

_KINDS = {
    QtWidgets.QMessageBox.Critical: "error",
    QtWidgets.QMessageBox.Warning: "warning",
    QtWidgets.QMessageBox.Information: "info",
    QtWidgets.QMessageBox.Question: "question",
    QtWidgets.QMessageBox.NoIcon: "message",
}
_YES = ("Yes", "Ok", "Open", "Save", "Retry", "Yes to All")
_NO = ("No", "Cancel", "Close", "Abort")


@dataclass
class Dialog:
    """What a dialog showed.

    Attributes:
        kind: error, warning, info, question, message (of a message box); file, folder, input; menu; dialog (any other).
        buttons: the texts of its buttons.
        picture: as it looked on the screen.
        answered: what was chosen; None while nobody has.
        isPlain: whether a message box shows its text as it is written, whatever HTML it looks like.
    """

    kind: str
    text: str
    title: str = ""
    detailedText: str = ""
    buttons: tuple[str, ...] = ()
    picture: Any = field(default=None, repr=False)
    answered: Any = None
    isPlain: bool = False


class Dialogs:
    """Takes the place of the loops of modal dialogs.

    Attributes:
        shown: what no test has looked at yet, see :meth:`take`.
        answers: for the next questions, in turn: True or False (Yes or No, Ok or Cancel), a button's text, a path or a
            text ("" cancels), or a function that is given the dialog and uses its widgets.
        unanswered: questions that nobody had an answer for.
        urls: what was opened outside of the application.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.shown: list[Dialog] = []
        self.answers: list[Any] = []
        self.unanswered: list[Dialog] = []
        self.urls: list[str] = []

    def take(self, kind: str | None = None) -> Dialog:
        """The oldest dialog that was shown (of a kind), which the test thereby expects.

        Raises:
            AssertionError: there is none.
        """
        found = next((dialog for dialog in self.shown if kind in (None, dialog.kind)), None)
        assert found, f"no {kind or 'dialog'} was shown, but {self.shown}"
        self.shown.remove(found)
        return found

    def _answer(self, dialog: Dialog) -> Any:
        self.shown.append(dialog)
        if not self.answers:
            self.unanswered.append(dialog)
            raise AssertionError(f"nobody answers: {dialog}")
        dialog.answered = self.answers.pop(0)
        return dialog.answered

    def _runMessageBox(self, box: QtWidgets.QMessageBox) -> int:
        if not box.buttons():
            box.addButton(QtWidgets.QMessageBox.Ok)
        buttons = {button.text.replace("&", ""): button for button in box.buttons()}
        if box.detailedText:
            buttons.pop("Show Details...", None)
        shown = Dialog(
            _KINDS[box.icon], box.text, box.windowTitle.strip(), box.detailedText, tuple(buttons), _picture(box)
        )
        shown.isPlain = box.textFormat == QtCore.Qt.PlainText
        if box.informativeText:
            shown.text += f"\n{box.informativeText}"
        if len(buttons) == 1:  # nothing to choose
            self.shown.append(shown)
            shown.answered = next(iter(buttons))
        else:
            self._answer(shown)
        if callable(shown.answered):
            shown.answered(box)
        else:
            _button(buttons, shown.answered).click()
        box.hide()
        return box.result()

    def _runDialog(self, dialog: QtWidgets.QDialog) -> int:
        texts = [label.text for label in dialog.findChildren(QtWidgets.QLabel)]
        buttons = tuple(button.text.replace("&", "") for button in dialog.findChildren(QtWidgets.QAbstractButton))
        shown = Dialog("dialog", "\n".join(texts), dialog.windowTitle, "", buttons, _picture(dialog))
        if not buttons:  # nothing to choose
            self.shown.append(shown)
            dialog.hide()
            return 0
        answer = self._answer(shown)
        if callable(answer):
            answer(dialog)
        else:
            dialog.done(int(bool(answer)))
        dialog.hide()
        return dialog.result()

    def run(self, dialog: QtWidgets.QDialog) -> int:
        """In the place of QDialog.exec."""
        if isinstance(dialog, QtWidgets.QMessageBox):
            return self._runMessageBox(dialog)
        return self._runDialog(dialog)

    def chooseAction(self, menu: QtWidgets.QMenu) -> QtGui.QAction | None:
        """In the place of QMenu.exec: the answer is an action's text."""
        actions = {action.text.replace("&", ""): action for action in menu.actions() if not action.isSeparator()}
        answer = self._answer(Dialog("menu", menu.title, buttons=tuple(actions)))
        if answer:
            actions[answer].trigger()
        return actions.get(answer)

    def ask(self, kind: str, title: str, text: str = "") -> str:
        """In the place of a static function that returns a path or a text."""
        answer = self._answer(Dialog(kind, text or title, title))
        return answer if isinstance(answer, str) else ""


def _picture(dialog: QtWidgets.QDialog) -> QtGui.QPixmap:
    dialog.show()
    dialog.adjustSize()
    return dialog.grab()


def _button(buttons: dict[str, Any], answer: Any) -> Any:
    names = {name.casefold(): button for name, button in buttons.items()}
    wanted = (answer,) if isinstance(answer, str) else _YES if answer else _NO
    found = next((names[name.casefold()] for name in wanted if name.casefold() in names), None)
    assert found, f"no button {answer!r} among {list(buttons)}"
    return found


def replaceModalLoops(dialogs: Dialogs) -> None:
    """Dialogs of Qt never wait for a user any more. Results are PythonQt's: a text, where PySide6 gives a pair."""

    def run(self: QtWidgets.QDialog) -> int:
        return dialogs.run(self)

    for cls in (QtWidgets.QDialog, QtWidgets.QMessageBox, QtWidgets.QFileDialog, QtWidgets.QInputDialog):
        cls.exec = cls.exec_ = run

    def file(kind: str) -> Callable[..., str]:
        def ask(parent: Any = None, caption: str = "", directory: str = "", *_: Any, **__: Any) -> str:
            return dialogs.ask(kind, caption)

        return ask

    chooser: Any = QtWidgets.QFileDialog
    chooser.getOpenFileName = chooser.getSaveFileName = staticmethod(file("file"))
    chooser.getExistingDirectory = staticmethod(file("folder"))

    def texts(parent: Any, title: str, label: str, *_: Any, **__: Any) -> str:
        return dialogs.ask("input", title, label)

    entry: Any = QtWidgets.QInputDialog
    entry.getText = entry.getItem = entry.getMultiLineText = staticmethod(texts)

    messageBox: Any = QtWidgets.QMessageBox

    def message(icon: Any) -> Callable[..., Any]:
        def show(parent: Any, title: str, text: str, buttons: Any = messageBox.Ok, default: Any = None) -> Any:
            box = messageBox(icon, title, text, buttons, parent)
            dialogs.run(box)
            return box.standardButton(box.clickedButton())

        return show

    for name in ("Question", "Information", "Warning", "Critical"):
        setattr(messageBox, name.lower(), staticmethod(message(getattr(messageBox, name))))

    def menu(self: QtWidgets.QMenu, *_: Any) -> Any:
        return dialogs.chooseAction(self)

    QtWidgets.QMenu.exec = QtWidgets.QMenu.exec_ = menu
    QtGui.QDesktopServices.openUrl = staticmethod(lambda url: dialogs.urls.append(url.toString()) or True)
