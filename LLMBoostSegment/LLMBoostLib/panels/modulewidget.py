"""A module's life in the application: what both modules' widgets have in common."""

from __future__ import annotations

import sys
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

HOMEPAGE = "https://github.com/llmboost/SlicerLLMBoost"


class ModuleWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """Loads the module's .ui file, and tells its panel what happens to the module and to the scene.

    A subclass makes logic and panel, and chooses the parameters.
    """

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic: Any = None
        self.panel: Any = None

    def makeLogic(self) -> Any:
        raise NotImplementedError

    def makePanel(self) -> Any:
        """The panel of ``self.ui`` and ``self.logic``; imported here, for only sessions with windows need it."""
        raise NotImplementedError

    def makeParameterNode(self) -> Any:
        """The scene's parameters."""
        raise NotImplementedError

    def setup(self) -> None:
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath(f"UI/{self.moduleName}.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = self.makeLogic()
        self.panel = self.makePanel()
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneChanged)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneChanged)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """The module is reloaded, or the application ends."""
        self.removeObservers()
        if self.panel:
            self.panel.shutDown()

    def enter(self) -> None:
        self.initializeParameterNode()
        self.panel.enter()

    def exit(self) -> None:
        self.panel.setParameterNode(None)
        self.panel.exit()

    def onSceneStartClose(self, _caller: Any, _event: str) -> None:
        self.panel.forgetScene()

    def onSceneChanged(self, _caller: Any, _event: str) -> None:
        """The scene is empty, or another one was loaded, perhaps with parameters of its own."""
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        self.panel.setParameterNode(self.makeParameterNode())

    def onReload(self) -> None:
        """Reload the library, too: Slicer itself executes the module's file alone again."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("LLMBoostLib", "llmboost")]:
            del sys.modules[name]
        super().onReload()
