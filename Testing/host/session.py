"""The scene with its logics, set up as the application does at its start."""

from __future__ import annotations

import functools
import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
import vtk

from . import application, sampledata, scripted
from .parameters import parameterNodeModule

SLICES = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}

# what is warned of here alone: color files come with the application, and there is no display
_OWN_WARNINGS = (".txt can't be found", "bad X server connection")

# nodes that Slicer lists in the subject hierarchy as soon as they are added
_IN_SUBJECT_HIERARCHY = (
    "vtkMRMLVolumeNode",
    "vtkMRMLSegmentationNode",
    "vtkMRMLMarkupsNode",
    "vtkMRMLTransformNode",
    "vtkMRMLModelNode",
    "vtkMRMLTableNode",
)


class Session:
    """The one scene of this process. :meth:`clear` gives each test an empty one."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._listens()
        self._folders = [tempfile.TemporaryDirectory(prefix="slicer-") for _ in range(2)]
        self.scene = slicer.vtkMRMLScene()
        self.appLogic = slicer.vtkSlicerApplicationLogic()
        self.appLogic.SetMRMLScene(self.scene)
        self.appLogic.SetTemporaryPath(self._folders[0].name)
        for factory in (
            slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
            slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        ):
            factory.GetInstance().SetMRMLApplicationLogic(self.appLogic)
        self.logics = self._makeLogics()
        self._readsFiles()
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(self.scene, True)
        self.appLogic.SetSliceLogics(vtk.vtkCollection())
        self.appLogic.SetViewLogics(vtk.vtkCollection())
        self.sliceLogics = {name: self._makeSlice(name, orientation) for name, orientation in SLICES.items()}
        self.errors.clear()
        self.warnings.clear()  # color files and terminologies come with the application alone
        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, self._onNodeAdded)
        self.scene.AddObserver(slicer.vtkMRMLScene.NodeAboutToBeRemovedEvent, self._onNodeRemoved)

    def clear(self) -> None:
        """Close the scene, as the application does: views and color tables stay. What VTK reported is forgotten."""
        self.scene.Clear(False)
        for name, logic in self.sliceLogics.items():  # which a test may have turned
            logic.GetSliceNode().SetOrientation(SLICES[name])
        self.errors.clear()
        self.warnings.clear()

    def load(self, path: Path, parent: scripted.ModuleParent | None = None) -> ModuleType:
        """Load a module file as Slicer does: its folder goes on sys.path, the module's class is made with a parent."""
        name = path.stem
        sys.path.insert(0, str(path.parent))
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        parent = parent or scripted.ModuleParent(str(path))
        setattr(slicer.modules, f"{name}Instance", getattr(module, name)(parent))
        setattr(slicer.modules, name.lower(), parent)
        return module

    def _listens(self) -> None:
        """Collect what VTK and MRML report as errors and as warnings, in place of printing it."""
        self._output = vtk.vtkOutputWindow()
        self._output.SetDisplayModeToNever()
        vtk.vtkOutputWindow.SetInstance(self._output)
        vtk.vtkLogger.SetStderrVerbosity(vtk.vtkLogger.VERBOSITY_OFF)

        @vtk.calldata_type(vtk.VTK_STRING)
        def onError(caller: Any, event: str, text: str) -> None:
            self.errors.append(text.strip())

        @vtk.calldata_type(vtk.VTK_STRING)
        def onWarning(caller: Any, event: str, text: str) -> None:
            if not any(own in text for own in _OWN_WARNINGS):
                self.warnings.append(text.strip())

        self._output.AddObserver(vtk.vtkCommand.ErrorEvent, onError)
        self._output.AddObserver(vtk.vtkCommand.WarningEvent, onWarning)

    def _makeLogics(self) -> dict[str, Any]:
        colors = self.appLogic.GetColorLogic()
        colors.SetMRMLScene(self.scene)
        colors.AddDefaultColorNodes()
        logics = {
            "Colors": slicer.vtkSlicerColorLogic(),
            "Units": slicer.vtkSlicerUnitsLogic(),
            "Volumes": slicer.vtkSlicerVolumesLogic(),
            "Terminologies": slicer.vtkSlicerTerminologiesModuleLogic(),
            "Segmentations": slicer.vtkSlicerSegmentationsModuleLogic(),
            "SubjectHierarchy": slicer.vtkSlicerSubjectHierarchyModuleLogic(),
            "Markups": slicer.vtkSlicerMarkupsLogic(),
            "Models": slicer.vtkSlicerModelsLogic(),
            "Transforms": slicer.vtkSlicerTransformLogic(),
            "Tables": slicer.vtkSlicerTablesLogic(),
            "Plots": slicer.vtkSlicerPlotsLogic(),
            "Sequences": slicer.vtkSlicerSequencesLogic(),
        }
        for name, logic in logics.items():
            logic.SetMRMLApplicationLogic(self.appLogic)  # before the scene: the color logic asks for it
            logic.SetMRMLScene(self.scene)
            self.appLogic.SetModuleLogic(name, logic)
        return logics

    def _readsFiles(self) -> None:
        """What storage nodes need to resolve the files of a saved scene."""
        self._remoteIO = slicer.vtkMRMLRemoteIOLogic()
        self._dataIO = slicer.vtkDataIOManagerLogic()
        for logic in (self._remoteIO, self._dataIO):
            logic.SetMRMLApplicationLogic(self.appLogic)
            logic.SetMRMLScene(self.scene)
        self._remoteIO.GetCacheManager().SetRemoteCacheDirectory(self._folders[1].name)
        self._dataIO.SetAndObserveDataIOManager(self._remoteIO.GetDataIOManager())
        self._remoteIO.AddDataIOToScene()

    def _makeSlice(self, name: str, orientation: str) -> Any:
        logic = slicer.vtkMRMLSliceLogic()
        logic.SetMRMLApplicationLogic(self.appLogic)
        self.appLogic.GetSliceLogics().AddItem(logic)
        logic.SetMRMLScene(self.scene)
        node = logic.AddSliceNode(name)
        node.SetLayoutLabel(name[0])
        node.SetOrientation(orientation)
        return logic

    # In the application, plugins of the subject hierarchy (Qt) do this.
    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeAdded(self, caller: Any, event: str, node: Any) -> None:
        if not node.GetHideFromEditors() and any(node.IsA(name) for name in _IN_SUBJECT_HIERARCHY):
            hierarchy = self.scene.GetSubjectHierarchyNode()
            if not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNodeRemoved(self, caller: Any, event: str, node: Any) -> None:
        hierarchy = self.scene.GetSubjectHierarchyNode()
        item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
        if item:
            hierarchy.RemoveItem(item, False)


@contextmanager
def emptySession() -> Iterator[Session]:
    """The session with an empty scene, for one test.

    Raises:
        AssertionError: VTK or MRML reported an error or a warning meanwhile.
    """
    session = start()
    session.clear()
    yield session
    errors = session.errors + session.warnings
    session.clear()
    assert not errors, "\n".join(errors)


@functools.cache
def start() -> Session:
    """The session of this process, made at the first call."""
    session = Session()
    application.install(session)
    scripted.install()
    sampledata.install()
    parameterNodeModule()
    return session
