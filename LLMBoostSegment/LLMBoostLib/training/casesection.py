"""What the user does with cases: add, edit, use otherwise, remove; and which label their segments are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ctk
import qt
import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from ..panels.errordisplay import errorsShown
from ..panels.plaintext import TITLE, confirmed
from ..panels.plural import counted
from . import casesview
from .cases import Snapshot
from .casestore import CaseStore
from .casesview import CasesView, title
from .logic import LLMBoostTrainLogic
from .plan import Findings, Plan, purposeOf
from .snapshot import nodesOf, segmentsState

if TYPE_CHECKING:
    from .panel import Panel


class Widgets(casesview.Widgets, Protocol):
    segmentationSelector: slicer.qMRMLNodeComboBox
    addButton: qt.QPushButton
    addAllButton: qt.QPushButton
    importButton: qt.QPushButton
    editButton: qt.QPushButton
    updateButton: qt.QPushButton
    removeButton: qt.QPushButton
    removeAllButton: qt.QPushButton
    folderButton: qt.QPushButton
    folderEdit: ctk.ctkPathLineEdit


class CasesSection:
    """The tables of cases and of labels, in the section Cases and model."""

    def __init__(self, ui: Widgets, logic: LLMBoostTrainLogic, panel: Panel) -> None:
        self._ui, self._logic, self._panel = ui, logic, panel
        self._view = CasesView(ui, panel.showButtons, self._onRole, self._onPartly, self._onLabel)
        self._plan: Plan | None = None
        self._states: dict[str, tuple[int, ...]] = {}  # of the segments when they were copied, by case
        for button, slot in (
            (ui.addButton, self._onAdd),
            (ui.addAllButton, self._onAddAll),
            (ui.importButton, self._onImport),
            (ui.editButton, self._onEdit),
            (ui.updateButton, self._onTakeOver),
            (ui.removeButton, self._onRemove),
            (ui.folderButton, self._onShowFolder),
        ):
            button.connect("clicked()", slot)
        ui.segmentationSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onSegmentation)

    def show(self, plan: Plan | None, found: Mapping[str, Findings]) -> None:
        """Fill the tables; for the arguments see :meth:`.casesview.CasesView.show`."""
        self._plan, store = plan, self._panel.store
        edited = {id for id, case in store.cases.items() if self._isEdited(case)} if store else set()
        self._view.show(store, plan, found, edited)

    def showButtons(self, busy: bool) -> None:
        """Only what can be done can be clicked."""
        ui, node, store, selected = self._ui, self._panel.parameterNode, self._panel.store, self._selected
        ui.addButton.enabled = node is not None and node.inputVolume is not None
        ui.editButton.enabled = len(selected) == 1
        ui.updateButton.enabled = any(map(self._isEdited, selected))
        ui.removeButton.enabled = bool(selected)
        ui.removeAllButton.enabled = bool(store and store.cases) and not busy
        ui.folderEdit.enabled = not busy

    def copy(self, volumeNode: Any, segmentationNode: Any) -> list[Snapshot]:
        """Make a case of nodes, or bring those that they are up to date; raises LLMBoostError."""
        return self._remember(self._logic.addCases(volumeNode, segmentationNode, base=self._panel.cropper))

    # Edits in the tables

    def _onRole(self, id: str, role: str) -> None:
        with self._changing() as store:
            store.setRole(id, role)

    def _onPartly(self, id: str, partly: bool | None) -> None:
        with self._changing() as store:
            store.setPartly(id, partly)

    def _onLabel(self, value: int, name: str) -> None:
        assert self._plan
        purpose = purposeOf(self._plan.card, self._plan.task)
        with self._changing() as store:
            store.setMapping(purpose, {**store.mapping.get(purpose, {}), value: name})

    @contextmanager
    def _changing(self) -> Iterator[CaseStore]:
        """What goes wrong in the block is shown; then the panel shows what became of the cases."""
        with errorsShown():
            yield self._logic.store
        self._panel.update()

    # Buttons

    def _onSegmentation(self, node: Any) -> None:
        """The image that was segmented is probably meant."""
        parameterNode = self._panel.parameterNode
        if node is not None and parameterNode is not None:
            volumeNode = node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole())
            parameterNode.inputSegmentation = node  # before the rest changes, which shows all parameters again
            if volumeNode is not None:
                parameterNode.inputVolume = volumeNode

    def _onAdd(self) -> None:
        with self._changing():
            node = self._panel.parameterNode
            cases = self.copy(node.inputVolume, node.inputSegmentation)
            text = _("{name} is a case now ({count} in all)")
            if len(cases) > 1:
                text = _("crops of it are cases now: {name} ({count} in all)")
            names = ", ".join(map(title, cases))
            self._panel.tell(text.format(name=names, count=len(self._logic.store.cases)))

    def _onAddAll(self) -> None:
        with self._changing():
            cases = self._remember(self._logic.addAllOfScene(self._panel.cropper))
            self._panel.tell(
                counted(len(cases), _("One case added from the scene"), _("{count} cases added from the scene"))
            )

    def _onImport(self) -> None:
        with self._changing():
            text = _("A folder with dataset.json, imagesTr and labelsTr")
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), text)
            if folder:
                with _busyDialog(_("Copying cases")) as onCase:
                    count = self._logic.importFolder(Path(folder), onCase)
                text = counted(count, _("One case copied from {folder}"), _("{count} cases copied from {folder}"))
                self._panel.tell(text.format(folder=folder))

    def _onEdit(self) -> None:
        with errorsShown():
            (case,) = self._selected
            self._panel.edit(case)

    def _onTakeOver(self) -> None:
        with self._changing():
            for case in self._selected:
                if self._isEdited(case):
                    self.copy(*nodesOf(case))

    def _onRemove(self) -> None:
        ids = [case.id for case in self._selected]
        one = _("Delete the copy of this case? Nodes in the scene stay.")
        more = _("Delete the copies of {count} cases? Nodes in the scene stay.")
        question = counted(len(ids), one, more)
        if confirmed(question):
            with self._changing() as store:
                store.remove(ids)

    def _onShowFolder(self) -> None:
        with errorsShown():
            folder = self._logic.folder
            if not folder.is_dir():
                raise LLMBoostError(_("{folder} is made with the first case").format(folder=folder))
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    # What is in the scene

    @property
    def _selected(self) -> list[Snapshot]:
        """The cases whose rows are chosen."""
        cases = store.cases if (store := self._panel.store) else {}
        return [cases[id] for id in self._view.selected if id in cases]

    def _remember(self, cases: list[Snapshot]) -> list[Snapshot]:
        """The segmentation in the scene is what these cases hold."""
        for case in cases:
            segmentationNode = nodesOf(case)[1]
            if segmentationNode is not None:
                self._states[case.id] = segmentsState(segmentationNode)
        return cases

    def _isEdited(self, case: Snapshot) -> bool:
        """Whether the segmentation in the scene was edited since it was copied, or seen first."""
        segmentationNode = nodesOf(case)[1]
        if segmentationNode is None:
            return False
        state = segmentsState(segmentationNode)
        return self._states.setdefault(case.id, state) != state


@contextmanager
def _busyDialog(text: str) -> Iterator[Callable[[int, int], bool]]:
    """A window with progress, which can be cancelled."""
    dialog = slicer.util.createProgressDialog(labelText=text, windowTitle=TITLE)

    def onCase(number: int, count: int) -> bool:
        dialog.maximum = count
        dialog.value = number
        slicer.app.processEvents()
        return not dialog.wasCanceled

    try:
        yield onCase
    finally:
        dialog.close()
