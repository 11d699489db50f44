"""slicer.app with its windows: what a module can reach of the application, on QApplication."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from Testing.host.application import IOManager, Module
from Testing.host.scripted import ModuleParent
from Testing.host.session import Session

from .ctkwidgets import ctkCollapsibleButton
from .mrmlwidgets import qMRMLWidget
from .pythonqt import STAND_INS, Qt

STAND_INS.add(__name__)


def _holding(symbol: str, *arguments: Any) -> Any:
    """A function of Qt, called with Python's global lock held as Slicer's event loop does; PySide6 releases it."""
    library = Path(QtCore.__file__).parent / "Qt" / "lib" / "libQt6Core.so.6"
    function = getattr(ctypes.PyDLL(str(library)), symbol)
    function.argtypes, function.restype = arguments, None
    return function


# QCoreApplication's processEvents(QEventLoop::ProcessEventsFlags) and sendPostedEvents(QObject*, int)
_processEvents = _holding(
    "_ZN16QCoreApplication13processEventsE6QFlagsIN10QEventLoop17ProcessEventsFlagEE", ctypes.c_int
)
_sendPostedEvents = _holding("_ZN16QCoreApplication16sendPostedEventsEP7QObjecti", ctypes.c_void_p, ctypes.c_int)
_DEFERRED_DELETE = 52


# Modules of Slicer that a panel may open; nothing is shown of them here.
_OTHER_MODULES = ("Data", "SampleData", "SegmentEditor", "WelcomeModule")


class qSlicerScriptedLoadableModule(ModuleParent):
    """slicer.modules.<name> of a scripted module."""

    def __init__(self, path: str):
        super().__init__(path)
        self._widget: Any = None

    def widgetRepresentation(self) -> qSlicerScriptedLoadableModuleWidget:
        """The module's panel, made when it is first asked for; the scene is set after setup()."""
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self)
            self._widget.reload()
            self._widget.setMRMLScene(slicer.mrmlScene)
        return self._widget


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The frame of a scripted module's panel."""

    def __init__(self, module: qSlicerScriptedLoadableModule):
        super().__init__()
        QtWidgets.QVBoxLayout(self)
        self._module, self._self, self._entered = module, None, False

    def self(self) -> Any:
        return self._self

    def reload(self) -> None:
        """Make the module's widget class anew, and let it set itself up."""
        name = self._module.name
        self._self = getattr(sys.modules[name], f"{name}Widget")(self)
        setattr(slicer.modules, f"{name}Widget", self._self)
        self._self.setup()

    def enter(self) -> None:
        self._entered = True
        self._self.enter()

    def exit(self) -> None:
        self._entered = False
        self._self.exit()

    isEntered = QtCore.Property(bool, lambda self: self._entered)
    moduleName = QtCore.Property(str, lambda self: self._module.name)


class qSlicerModuleFactoryManager(QtCore.QObject):
    def __init__(self, parent: qSlicerModuleManager):
        super().__init__(parent)
        self._manager = parent

    def loadedModuleNames(self) -> tuple:
        return self._manager.modulesNames()


class qSlicerModuleManager(QtCore.QObject):
    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def __init__(self, session: Session):
        super().__init__()
        self._session = session
        self._scripted: dict[str, qSlicerScriptedLoadableModule] = {}
        self._factory = qSlicerModuleFactoryManager(self)

    def module(self, name: str) -> Any:
        if name in _OTHER_MODULES:
            return Module(name, None)
        if name in self._session.logics:
            return getattr(slicer.modules, name.lower())
        return self._scripted.get(name)

    def modulesNames(self) -> tuple:
        return (*self._session.logics, *self._scripted)

    def factoryManager(self) -> qSlicerModuleFactoryManager:
        return self._factory

    def _load(self, path: Path) -> qSlicerScriptedLoadableModule:
        module = qSlicerScriptedLoadableModule(str(path))
        self._session.load(path, module)
        self._scripted[module.name] = module
        self.moduleLoaded.emit(module.name)
        return module

    def _unloadAll(self) -> None:
        """As at Slicer's exit: widgets clean up, then the modules are gone."""
        for name, module in list(self._scripted.items()):
            self.moduleAboutToBeUnloaded.emit(name)
            for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
                vars(slicer.modules).pop(attribute, None)
            if module._widget:
                module._widget.setParent(None)
                module._widget.deleteLater()
            del self._scripted[name]


class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view: it tells editors of the mouse, and shows what a view of Testing.host draws, if it is given one."""

    def __init__(self, logic: Any):
        super().__init__()
        self._logic = logic
        self._watchers: dict[Any, Callable[[str, float, float, Any], None]] = {}
        self._view: Any = None  # a Testing.host.SliceView of the same logic
        self.resize(*logic.GetSliceNode().GetDimensions()[:2])

    def _tell(self, kind: str, event: QtGui.QMouseEvent) -> None:
        """XY of slices counts from the lower left corner."""
        place = event.position()
        for tell in list(self._watchers.values()):
            try:
                tell(kind, place.x(), self.height - 1 - place.y(), self)
            except Exception:  # which no C++ above can take
                sys.excepthook(*sys.exc_info())

    def drawBy(self, view: Any) -> None:
        """Show what a view of Testing.host draws, in its size."""
        self._view = view
        self.resize(*self._logic.GetSliceNode().GetDimensions()[:2])

    def mousePressEvent(self, event: QtGui.QMouseEvent) -> None:
        self._tell("press", event)

    def mouseMoveEvent(self, event: QtGui.QMouseEvent) -> None:
        self._tell("move", event)

    def mouseReleaseEvent(self, event: QtGui.QMouseEvent) -> None:
        self._tell("release", event)

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        if self._view:
            pixels = np.ascontiguousarray(self._view.render())
            height, width, _ = pixels.shape
            image = QtGui.QImage(pixels.data, width, height, 3 * width, QtGui.QImage.Format_RGB888)
            painter = QtGui.QPainter(self)
            painter.drawImage(0, 0, image)
            painter.end()

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def mrmlSliceCompositeNode(self) -> Any:
        return self._logic.GetSliceCompositeNode()

    def sliceLogic(self) -> Any:
        return self._logic

    def fitSliceToBackground(self) -> None:
        self._logic.FitSliceToBackground()


class qSlicerLayoutManager(QtCore.QObject):
    layoutChanged = QtCore.Signal(int)

    def __init__(self, session: Session):
        super().__init__()
        self._session = session
        self._resets = 0
        self._slices = {name: qMRMLSliceWidget(logic) for name, logic in session.sliceLogics.items()}

    def sliceViewNames(self) -> tuple:
        return tuple(self._slices)

    def sliceWidget(self, name: str) -> Any:
        return self._slices.get(name)

    def mrmlSliceLogics(self) -> Any:
        return self._session.appLogic.GetSliceLogics()

    def mrmlScene(self) -> Any:
        return self._session.scene

    def resetSliceViews(self) -> None:
        for widget in self._slices.values():
            widget.fitSliceToBackground()

    def resetThreeDViews(self) -> None:
        """There are no 3D views here: it is counted."""
        self._resets += 1

    def setLayout(self, layout: int) -> None:
        self.__dict__["_layout"] = layout
        self.layoutChanged.emit(layout)

    layout = QtCore.Property(int, lambda self: self.__dict__.get("_layout", 3), setLayout)
    threeDViewCount = QtCore.Property(int, lambda self: 0)
    tableViewCount = QtCore.Property(int, lambda self: 0)
    plotViewCount = QtCore.Property(int, lambda self: 0)


class qSlicerModuleSelectorToolBar(QtCore.QObject):
    moduleSelected = QtCore.Signal(str)

    def __init__(self, window: qSlicerMainWindow, manager: qSlicerModuleManager):
        super().__init__(window)
        self._window, self._manager, self._current = window, manager, ""

    def selectModule(self, name: str) -> None:
        if name == self._current or (name and not self._manager.module(name)):
            return
        self._current = name
        module = self._manager.module(name) if name else None
        isScripted = isinstance(module, qSlicerScriptedLoadableModule)
        self._window._show(module.widgetRepresentation() if isScripted else None)
        self.moduleSelected.emit(name)

    selectedModule = QtCore.Property(str, lambda self: self._current, selectModule)


class qSlicerMainWindow(QtWidgets.QMainWindow):
    """The window with the module panel; there are no views in it."""

    def __init__(self, manager: qSlicerModuleManager):
        super().__init__()
        self.objectName = "qSlicerMainWindow"
        self.windowTitle = "stand-in for 3D Slicer"
        self._scrollArea = QtWidgets.QScrollArea()
        self._scrollArea.widgetResizable = True
        self._scrollArea.setHorizontalScrollBarPolicy(Qt.ScrollBarAlwaysOff)
        contents = QtWidgets.QWidget()
        self._column = QtWidgets.QVBoxLayout(contents)
        self._help = ctkCollapsibleButton("Help && Acknowledgement")
        self._help.collapsed = True
        self._column.addWidget(self._help)
        self._scrollArea.setWidget(contents)
        self.setCentralWidget(self._scrollArea)
        self._selector = qSlicerModuleSelectorToolBar(self, manager)
        self._shown: Any = None
        self.resize(460, 900)

    def moduleSelector(self) -> qSlicerModuleSelectorToolBar:
        return self._selector

    def _show(self, widget: qSlicerScriptedLoadableModuleWidget | None) -> None:
        if self._shown is not None:
            self._shown.exit()
            self._column.removeWidget(self._shown)
            self._shown.visible = False
            self._shown.setParent(None)
        self._shown = widget
        if widget is not None:
            widget.layout().setContentsMargins(0, 0, 0, 0)
            self._column.insertWidget(1, widget, 1)
            widget.visible = True
            widget.enter()


class qSlicerApplication(QtWidgets.QApplication):
    """The one application object; :meth:`_start` gives it a session, as a fresh start of Slicer would."""

    startupCompleted = QtCore.Signal()
    mrmlSceneChanged = QtCore.Signal(object)

    def __init__(self) -> None:
        super().__init__(["Slicer"])
        # The destination of qt.QSettings() is a folder of the test, see _start.
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        self.organizationName, self.applicationName = "LLMBoost tests", "Slicer"
        self.applicationVersion = "5.12.3 (stand-in)"
        self.setQuitOnLastWindowClosed(False)
        self._registerFonts()
        self.setStyle("fusion")
        self._session: Any = None
        self._testing = False

    def _registerFonts(self) -> None:
        """A machine without fonts would show boxes: take those that come with matplotlib."""
        if not QtGui.QFontDatabase.families():
            import matplotlib

            for path in Path(matplotlib.get_data_path(), "fonts", "ttf").glob("DejaVuSans*.ttf"):
                QtGui.QFontDatabase.addApplicationFont(str(path))
        self.setFont(QtGui.QFont("DejaVu Sans", 9))

    def _start(self, session: Session, folder: Path) -> None:
        self._session, self._testing = session, False
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(folder))
        self._settings = QtCore.QSettings()
        self._manager = qSlicerModuleManager(session)
        self._layoutManager = qSlicerLayoutManager(session)
        for logic in session.sliceLogics.values():
            logic.GetSliceNode().SetMappedInLayout(True)  # as layouts do with the views that they show
        self._window: Any = qSlicerMainWindow(self._manager)
        self._window.show()

    def _stop(self) -> None:
        if self._window:
            self._window.moduleSelector().selectModule("")
        self._manager._unloadAll()
        if self._window:
            self._window.deleteLater()
            self._window = None
        self._settings.sync()

    def _tick(self) -> None:
        """One round of the event loop."""
        _processEvents(0)
        _sendPostedEvents(None, _DEFERRED_DELETE)

    # -- what modules call; Python's lock is held meanwhile

    def processEvents(self, *_: Any) -> None:
        _processEvents(0)

    def applicationLogic(self) -> Any:
        return self._session.appLogic

    def mrmlScene(self) -> Any:
        return self._session.scene

    def moduleManager(self) -> qSlicerModuleManager:
        return self._manager

    def moduleLogic(self, name: str) -> Any:
        return self._session.logics.get(name)

    def layoutManager(self) -> Any:
        return self._layoutManager if self._window else None

    def coreIOManager(self) -> IOManager:
        return IOManager(self._session)

    def ioManager(self) -> IOManager:
        return IOManager(self._session)

    def userSettings(self) -> QtCore.QSettings:
        return self._settings

    def settings(self) -> QtCore.QSettings:
        return self._settings

    def revisionUserSettings(self) -> QtCore.QSettings:
        return self._settings

    def testingEnabled(self) -> bool:
        return self._testing

    def startupEnvironment(self) -> QtCore.QProcessEnvironment:
        """What Slicer itself added is taken out: here, nothing."""
        environment = QtCore.QProcessEnvironment()
        for key, value in os.environ.items():
            environment.insert(key, value)
        return environment

    def environment(self) -> QtCore.QProcessEnvironment:
        return self.startupEnvironment()

    def setRenderPaused(self, paused: bool) -> None:
        pass

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass

    def openNodeModule(self, node: Any, role: str = "", context: str = "") -> None:
        pass

    def moduleDocumentationUrl(self, name: str) -> str:
        return f"https://slicer.readthedocs.io/en/latest/user_guide/modules/{name.lower()}.html"

    temporaryPath = QtCore.Property(str, lambda self: self._session.appLogic.GetTemporaryPath())
    cachePath = QtCore.Property(str, lambda self: self._session.appLogic.GetTemporaryPath())
    extensionsInstallPath = QtCore.Property(str, lambda self: self._session.appLogic.GetTemporaryPath())
    majorVersion = QtCore.Property(int, lambda self: 5)
    minorVersion = QtCore.Property(int, lambda self: 12)
    revision = QtCore.Property(str, lambda self: "34000")
    repositoryRevision = QtCore.Property(str, lambda self: "stand-in")
    releaseType = QtCore.Property(str, lambda self: "Stable")
    os = QtCore.Property(str, lambda self: {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux"))
    arch = QtCore.Property(str, lambda self: "amd64")
    platform = QtCore.Property(str, lambda self: f"{self.os}-{self.arch}")
    isInstalled = QtCore.Property(bool, lambda self: True)
