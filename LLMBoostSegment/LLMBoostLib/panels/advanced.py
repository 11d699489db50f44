"""The section Advanced of the panel: the worker and its environment, and what a report about them needs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from typing import Protocol

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.messages.worker import Hello, HelloRequest

from ..install import diagnostics
from ..install.environment import PrivateEnvironment
from ..worker.client import Client
from ..worker.commandline import Cancelled
from ..worker.consent import checkCommand
from ..worker.launcher import COMMAND_SETTING, defaultCommand
from .errordisplay import errorsShown, sentence, showError
from .modelentries import entries
from .plaintext import boxOptions, confirmed
from .run import Run, State, Work

LOG_LINES = 500


class Widgets(Protocol):
    advancedButton: ctk.ctkCollapsibleButton
    commandEdit: qt.QLineEdit
    copyButton: qt.QPushButton
    createEnvironmentButton: qt.QPushButton
    environmentGroup: qt.QGroupBox
    environmentLabel: qt.QLabel
    interpreterEdit: ctk.ctkPathLineEdit
    logEdit: qt.QPlainTextEdit
    releaseButton: qt.QPushButton
    removeEnvironmentButton: qt.QPushButton
    useEnvironmentButton: qt.QPushButton
    versionsLabel: qt.QLabel
    wheelsEdit: ctk.ctkPathLineEdit


class Advanced:
    """Watches its widgets; what they do is told to ``say``.

    Args:
        client: of the worker that the panel uses.
        run: what goes on in the panel; what is done here is one, too.
        onWorker: is called after another worker, or what it runs in, may be there.
    """

    def __init__(
        self,
        ui: Widgets,
        client: Client,
        run: Run,
        onWorker: Callable[[], None],
    ) -> None:
        self._ui, self._client, self._run, self._onWorker = ui, client, run, onWorker
        self._closed = False
        ui.commandEdit.setPlaceholderText(shlex.join(defaultCommand()))
        self._showCommand()
        ui.logEdit.setMaximumBlockCount(LOG_LINES)
        ui.versionsLabel.text = " · ".join(f"{name} {version}" for name, version in diagnostics.versions().items())
        ui.commandEdit.connect("editingFinished()", self._onCommand)
        for button, slot in (
            (ui.releaseButton, self._onRelease),
            (ui.copyButton, self._onCopy),
            (ui.createEnvironmentButton, self._onCreate),
            (ui.useEnvironmentButton, self._onUse),
            (ui.removeEnvironmentButton, self._onRemoveEnvironment),
        ):
            button.connect("clicked()", slot)
        run.observe(self.refresh)
        self.refresh()

    def say(self, text: str) -> None:
        """Write a line into the log."""
        if text and not self._closed:
            self._ui.logEdit.appendPlainText(f"{time.strftime('%H:%M:%S')}  {text}")

    def shutDown(self) -> None:
        """The panel goes away."""
        self._closed = True

    def refresh(self) -> None:
        """While an image is computed, or a model imported, the worker and its environment stay as they are."""
        if self._closed:
            return
        ui, running = self._ui, self._run.does(Work.IMAGE, Work.MODEL)
        for widget in (ui.commandEdit, ui.releaseButton, ui.environmentGroup):
            widget.enabled = not running
        self._showEnvironment()

    # The worker

    @staticmethod
    def _command() -> str:
        return str(qt.QSettings().value(COMMAND_SETTING) or "")

    def _showCommand(self) -> None:
        self._ui.commandEdit.text = self._command()
        self._ui.commandEdit.cursorPosition = 0  # a long one is seen from its beginning

    def _onCommand(self) -> None:
        text = self._ui.commandEdit.text.strip()
        if text == self._command():
            return
        with errorsShown():
            try:
                shlex.split(text, posix=False)
            except ValueError as error:
                self._showCommand()
                raise LLMBoostError(
                    _("This is no command line ({error}): {text}").format(error=error, text=text)
                ) from None
            qt.QSettings().setValue(COMMAND_SETTING, text)
            self._commandChanged()

    def _commandChanged(self) -> None:
        """The next request starts the worker that the setting names now."""
        self._client.shutDown()
        self._showCommand()
        self.say(_("worker: {command}").format(command=self._command() or _("Slicer's own Python")))
        self.refresh()
        self._onWorker()

    def _onRelease(self) -> None:
        self._client.shutDown()
        self.say(_("worker ended, memory released"))

    def _onCopy(self) -> None:
        if self._run.active or self._client.busy:
            self._copy(_("busy with a request"))
            return
        try:
            checkCommand()
        except LLMBoostError as error:
            self._copy(str(error))
            return
        self._run.begin(Work.DIAGNOSTICS)

        def done(hello: Hello | str) -> None:
            self._run.end()
            self._onWorker()
            self._copy(hello)

        self._client.start(HelloRequest(), onDone=done, onError=lambda error: done(sentence(error)))

    def _copy(self, hello: Hello | str) -> None:
        names = ", ".join(entry.name for entry in entries())
        text = diagnostics.report(hello, self._run.lastError, self._command() or shlex.join(defaultCommand()), names)
        qt.QApplication.clipboard().setText(text)
        self.say(_("diagnostics copied to the clipboard"))

    # Its private environment

    def provideEnvironment(self) -> None:
        """Use the private environment, or offer to make it: where Slicer's own Python cannot run the worker."""
        self._ui.advancedButton.collapsed = False  # where the log tells what goes on, and Cancel is
        if PrivateEnvironment().exists:
            self._onUse()
        else:
            self._onCreate()

    def _showEnvironment(self) -> None:
        ui, environment, creating = self._ui, PrivateEnvironment(), self._run.does(Work.ENVIRONMENT)
        exists = environment.exists
        ui.createEnvironmentButton.text = _("Cancel") if creating else _("Create")
        ui.createEnvironmentButton.enabled = creating or not (exists or self._run.active)
        isUsed = str(environment.python) in self._command()
        ui.useEnvironmentButton.enabled = exists and not creating and not isUsed
        ui.removeEnvironmentButton.enabled = exists and not creating
        text = _("The worker can have Python packages of its own, apart from Slicer's, in {folder}.")
        if exists and not ui.useEnvironmentButton.enabled:
            text = _("The worker uses {folder}.")
        elif exists:
            text = _("{folder} exists, but is not used.")
        ui.environmentLabel.text = text.format(folder=environment.folder)

    def _onCreate(self) -> None:
        if self._run.active:
            self._run.stop(_("cancelled"))
            return
        ui, environment = self._ui, PrivateEnvironment()
        python, wheels = ui.interpreterEdit.currentPath, ui.wheelsEdit.currentPath
        if not slicer.util.confirmOkCancelDisplay(environment.question(wheels), **boxOptions()):
            return
        self._run.begin(Work.ENVIRONMENT)
        try:
            # for both modules, as there is no place to ask again
            stopped = lambda: self._run.state is State.CANCELLING  # noqa: E731
            environment.create(python, wheels, purpose="train", onLine=self.say, shouldCancel=stopped)
            environment.use()
        except Cancelled:
            self.say(_("cancelled"))
        except Exception as error:
            showError(error)
        self._run.end()
        if not self._closed:
            self._commandChanged()

    def _onUse(self) -> None:
        with errorsShown():
            PrivateEnvironment().use()
            self._commandChanged()

    def _onRemoveEnvironment(self) -> None:
        environment = PrivateEnvironment()
        question = _("Delete {folder} and all that is in it?").format(folder=environment.folder)
        if not confirmed(question):
            return
        with errorsShown():
            self._client.shutDown()  # it may run there
            environment.remove()
            self._commandChanged()
