"""Models that come and go: a LLMBoost file is copied, what other programs trained is translated by the worker."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import qt
import slicer
from slicer.i18n import tr as _

from llmboost import library
from llmboost.card import Card
from llmboost.errors import LLMBoostError
from llmboost.messages.foreign import Imported, LookRequest, Offers
from llmboost.messages.words import Device, ErrorKind

from ..install.packages import ensureInstalled
from ..worker.client import Client
from ..worker.consent import checkCommand
from ..worker.troubles import WorkerError
from . import speed
from .errordisplay import errorsShown
from .importdialog import ImportDialog
from .modelchooser import ModelChooser
from .modelentries import importModel
from .plaintext import confirmed
from .progressview import ProgressView
from .run import Run, Work
from .runner import Runner


class Widgets(Protocol):
    importButton: qt.QPushButton
    removeModelButton: qt.QPushButton


class ModelImport:
    """The buttons Import and Remove.

    Args:
        client: of the worker that the panel uses.
        chooser: is filled again when models come or go.
        onModels: is called after models came or went.
    """

    def __init__(
        self,
        ui: Widgets,
        client: Client,
        chooser: ModelChooser,
        run: Run,
        runner: Runner,
        progress: ProgressView,
        onModels: Callable[[], None],
    ) -> None:
        self._ui, self._client, self._chooser, self._onModels = ui, client, chooser, onModels
        self._run, self._runner, self._progress = run, runner, progress
        ui.importButton.connect("clicked()", self.ask)
        ui.removeModelButton.connect("clicked()", self._onRemove)
        run.observe(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """While something is computed, models stay as they are; what is imported can be cancelled."""
        ui, entry, importing = self._ui, self._chooser.current, self._run.does(Work.MODEL)
        ui.importButton.text = _("Cancel") if importing else _("I&mport...")
        ui.importButton.enabled = importing or not self._run.active
        ui.removeModelButton.enabled = not self._run.active and entry is not None and entry.imported

    def take(self, path: str) -> None:
        """Import what lies there: a LLMBoost model at once, anything else with the worker's help; "": what other
        programs keep on this computer."""
        if path.endswith(library.EXTENSION):
            with errorsShown():
                if card := importModel(Path(path)):
                    self._added(card)
            return
        look = partial(self._client.start, LookRequest(path=path), self._progress.tell, self._choose)
        self._runner.begin(Work.MODEL, _("looking for models"), partial(self._whenReady, look))

    def ask(self) -> None:
        """Ask where a model is, and import it; what is imported now is cancelled."""
        if self._run.active:
            self._runner.stop(_("cancelled"))
            return
        menu, window = qt.QMenu(self._ui.importButton), slicer.util.mainWindow()
        kinds = _("Models") + f" (*{library.EXTENSION} *.zip)"
        ways: dict[str, Callable[[], str]] = {
            _("A file or a zip archive..."): lambda: qt.QFileDialog.getOpenFileName(
                window, _("Import a model"), "", kinds
            ),
            _("A folder of nnU-Net, TotalSegmentator or MONAI..."): lambda: qt.QFileDialog.getExistingDirectory(
                window, _("The folder of a trained model")
            ),
            _("What these programs keep on this computer..."): lambda: "",
        }
        actions = {text: menu.addAction(text) for text in ways}
        chosen = menu.exec_(qt.QCursor.pos())
        menu.deleteLater()
        for number, text in enumerate(ways):
            if chosen is not None and chosen == actions[text]:
                path = ways[text]()
                if path or number == len(ways) - 1:
                    self.take(path)

    def _whenReady(self, start: Callable[..., None]) -> None:
        checkCommand()
        ensureInstalled("segment")
        self._run.go()
        start(onError=self._runner.failed)

    def _choose(self, found: Offers) -> None:
        """What is to be imported, and under which terms."""
        with self._runner.failing():
            if host := self._client.remoteHost:
                text = _("The worker runs on {host}, which does not see this computer's files: import there, by"
                         " `llmboost models import`, or clear the worker's command under Advanced")  # fmt: skip
                raise LLMBoostError(text.format(host=host))
            if not found.offers:
                raise LLMBoostError(_("nnU-Net, TotalSegmentator and MONAI keep no model where they usually do on this"
                                      " computer: choose a folder or an archive"))  # fmt: skip
            asked = ImportDialog(found.offers).ask()
            if asked is None:
                raise WorkerError(ErrorKind.CANCELLED, _("cancelled"))
            self._client.start(asked, self._progress.tell, self._imported, self._runner.failed)

    def _imported(self, found: Imported) -> None:
        speed.rememberPatch(found.card, Device.AUTO, found.seconds)
        self._added(found.card)
        self._runner.ended(_("Imported {title}").format(title=found.card.title))

    def _added(self, card: Card) -> None:
        self._chooser.refresh()
        self._chooser.choose(card.name)
        self._onModels()

    def _onRemove(self) -> None:
        entry = self._chooser.current
        assert entry  # else the button is disabled
        question = _("Delete the model '{name}' from this computer?").format(name=entry.title)
        if not confirmed(question):
            return
        with errorsShown():
            try:
                library.remove_model(entry.name)
            finally:  # it may have been removed already
                self._chooser.refresh()
                self._onModels()
