"""A stand-in for Slicer with its GUI: module panels on PySide6 (off-screen), real MRML and the real slicer.util.

What works here was not run in Slicer. Names that PythonQt, CTK's or Slicer's widgets do not have are an AttributeError.
Usage, in a test below Testing/gui (its fixtures ``host`` and ``panel``)::

    def test_segments(host, panel):                  # panel: the LLMBoostSegmentWidget in the module panel
        volumeNode = slicer.util.addVolumeFromArray(array)
        choose(panel.ui.inputSelector, volumeNode.GetName())   # popup and click, as a user does
        click(panel.ui.applyButton)                  # a real mouse event
        host.runUntil(lambda: panel.ui.applyButton.enabled)    # timers fire, Python threads starve as in Slicer
        assert host.dialogs.take("error").text == "..."        # a dialog that nobody takes fails the test
        grab(panel.parent, path)                     # PNG

    host.answer(True, "Cancel", "/path", "")         # what the user says to the next questions, see dialogs.Dialogs
    widget = host.openModule(path or name)           # loads, opens; host.selectModule(name), host.reload(name)
    typeText(widget, "abc"); press(widget, "Tab"); press(widget, "Ctrl+Return")
    host.closeScene(); host.withoutMainWindow()      # as slicer --testing --no-main-window
    host.quit()                                      # aboutToQuit, then every panel's cleanup()

Exceptions in slots are printed by Slicer and forgotten; here they are kept in ``host.errors`` and fail the test.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import slicer
from PySide6 import QtCore, QtGui, QtTest, QtWidgets
from Testing.host import EventLoop, Session

from . import autocomplete, editoreffects, mrmlviews, mrmlwidgets, segmenteditor
from .application import (
    qSlicerApplication,
    qSlicerScriptedLoadableModule,
    qSlicerScriptedLoadableModuleWidget,
)
from .ctkwidgets import ctk
from .dialogs import Dialogs, replaceModalLoops
from .pythonqt import Qt, qt
from .uiloader import QUiLoader

MODULES = Path(__file__).resolve().parents[2]
_PLAIN = [qSlicerScriptedLoadableModule, qSlicerScriptedLoadableModuleWidget, *editoreffects.CLASSES]
_WIDGETS = [*mrmlwidgets.WIDGETS, *mrmlviews.WIDGETS, *segmenteditor.WIDGETS]


def _utilities() -> list[str]:
    """What slicer-core offers as slicer.<function>, while Slicer has it in slicer.util alone."""
    own = [name for name, value in vars(slicer.util).items() if getattr(value, "__module__", "") == "slicer.util"]
    return [name for name in own if vars(slicer).get(name) is getattr(slicer.util, name)]


def _libraries() -> dict[str, ModuleType]:
    """What is imported of the extension's own packages."""
    return {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("llmboost", "LLMBoostLib")}


def _replaceLibraries(modules: dict[str, ModuleType]) -> None:
    for name in _libraries():
        del sys.modules[name]
    sys.modules.update(modules)


class Host:
    """The application; one a process, started anew for each test.

    Attributes:
        dialogs: what was shown and what will be answered.
        errors: tracebacks of exceptions that reached the event loop.
        messages: warnings of Qt.
        loop: the event loop.
    """

    def __init__(self) -> None:
        self.app = qSlicerApplication()
        self.dialogs = Dialogs()
        replaceModalLoops(self.dialogs)
        self.errors: list[str] = []
        self.messages: list[str] = []
        self.loop = EventLoop()
        self.loop.slots.append(self.processEvents)
        self._undo: list[Callable[[], Any]] = []
        self._opened: set[str] = set()  # names of modules
        self._running = False
        qt.QUiLoader = QUiLoader
        QtCore.qInstallMessageHandler(self._onMessage)

    # -- life

    def start(self, session: Session, folder: Path) -> None:
        """A fresh start with an empty scene; settings live in ``folder``."""
        self.session = session
        self.errors.clear()
        self.messages.clear()
        self.dialogs.reset()
        self._running = True
        for name, module in (("qt", qt), ("ctk", ctk)):
            self._set(sys.modules, name, module)
        self.useEffectClasses(autocomplete.slicersOwn())
        for widget in [*_WIDGETS, *_PLAIN]:
            self._set(vars(slicer), widget.__name__, widget)
        self._set(vars(slicer), "app", self.app)
        for name in _utilities():
            self._set(vars(slicer), name, None)
            del vars(slicer)[name]
        excepthook = sys.excepthook
        sys.excepthook = self._onException
        self._undo.append(lambda: setattr(sys, "excepthook", excepthook))
        paths = list(sys.path)
        self._undo.append(lambda: sys.path.__setitem__(slice(None), paths))
        self.app._start(session, folder)
        self.processEvents()

    def useEffectClasses(self, folder: Path | None) -> None:
        """Effects that are loaded from now on derive from the base classes of this folder; None: from stand-ins."""
        for name, module in editoreffects.modules(autocomplete.package(folder)).items():
            self._set(sys.modules, name, module)

    def stop(self) -> None:
        if self._running:
            self._running = False
            self.app._stop()
            self.processEvents()
        for name in self._opened:
            sys.modules.pop(name, None)
        self._opened.clear()
        editoreffects.qSlicerSegmentEditorEffectFactory._forget()
        while self._undo:
            self._undo.pop()()

    def quit(self) -> None:
        """Slicer's exit."""
        self.app.aboutToQuit.emit()
        self._running = False
        self.app._stop()
        self.processEvents()

    def check(self) -> None:
        """Raise AssertionError if something happened that no test expected."""
        assert not self.errors, "\n".join(self.errors)
        assert not self.dialogs.unanswered, f"nobody answered {self.dialogs.unanswered}"
        assert not self.dialogs.shown, f"nobody expected {self.dialogs.shown}"
        assert not self.dialogs.answers, f"nobody asked for {self.dialogs.answers}"

    def _set(self, names: dict, name: str, value: Any) -> None:
        missing = object()
        before = names.get(name, missing)
        self._undo.append(lambda: names.pop(name, None) if before is missing else names.__setitem__(name, before))
        names[name] = value

    def _onException(self, kind: type, error: BaseException, trace: Any) -> None:
        self.errors.append("".join(traceback.format_exception(kind, error, trace)))

    def _onMessage(self, kind: Any, context: Any, text: str) -> None:
        if not text.startswith("This plugin does not support"):  # the off-screen platform's
            self.messages.append(text)
            logging.getLogger("qt").warning(text)

    # -- modules

    def loadModule(self, path: Path) -> None:
        """Load a module's file, as at Slicer's start."""
        self._opened.add(path.stem)
        self.app.moduleManager()._load(path)
        self.app.startupCompleted.emit()
        with warnings.catch_warnings(action="ignore"):  # where nobody was connected
            self.app.startupCompleted.disconnect()

    def openModule(self, module: str | Path) -> Any:
        """Load a module, by name from the extension or by its file, and show its panel: the widget's Python object."""
        path = Path(module) if str(module).endswith(".py") else MODULES / module / f"{module}.py"
        if self.app.moduleManager().module(path.stem) is None:
            self.loadModule(path)
        self.selectModule(path.stem)
        return slicer.util.getModuleWidget(path.stem)

    def selectModule(self, name: str) -> None:
        """Show another module; "" for none."""
        self.app._window.moduleSelector().selectModule(name)
        self.processEvents()

    def reload(self, name: str) -> Any:
        """What the button Reload does: the new widget. Other tests of this process get the old library back."""
        before = _libraries()
        self._undo.append(lambda: _replaceLibraries(before))
        slicer.util.getModuleWidget(name).onReload()
        self.processEvents()
        return slicer.util.getModuleWidget(name)

    def closeScene(self) -> None:
        slicer.mrmlScene.Clear(False)
        self.processEvents()

    @contextmanager
    def withoutMainWindow(self) -> Iterator[None]:
        """As on Slicer's build machines: in testing mode, with no main window."""
        window, self.app._window = self.app._window, None
        name, window.objectName = window.objectName, ""  # by which slicer.util finds it
        self.app._testing = True
        try:
            yield
        finally:
            window.objectName = name
            self.app._window, self.app._testing = window, False

    # -- events

    def answer(self, *answers: Any) -> None:
        """What the user will say to the next questions."""
        self.dialogs.answers.extend(answers)

    def processEvents(self) -> None:
        self.app._tick()

    def runUntil(self, condition: Callable[[], bool], timeout: float = 300.0) -> None:
        """Let the event loop run until a condition holds.

        Raises:
            TimeoutError: it does not in time.
        """
        self.loop.runUntil(condition, timeout)


@functools.cache
def install() -> Host:
    """The host of this process, made at the first call."""
    return Host()


def _reveal(widget: QtWidgets.QWidget) -> None:
    """Open the sections that a widget lies in, and scroll to it, as a user would; hidden ones cannot be reached."""
    folded, ancestor = [], widget.parentWidget()
    while ancestor is not None:
        if getattr(ancestor, "collapsed", False):
            folded.append(ancestor)
        ancestor = ancestor.parentWidget()
    for section in reversed(folded):
        click(section)
    assert widget.visible, f"{widget.className()} {widget.name} is hidden"
    ancestor = widget.parentWidget()
    while ancestor is not None:
        if isinstance(ancestor, QtWidgets.QScrollArea):
            ancestor.ensureWidgetVisible(widget)
        ancestor = ancestor.parentWidget()
    slicer.app.processEvents()


def _target(widget: QtWidgets.QWidget) -> QtCore.QPoint:
    """Where a user would click: check boxes react on their mark and text only, collapsible ones on their header."""
    if isinstance(widget, QtWidgets.QCheckBox | QtWidgets.QRadioButton):
        return QtCore.QPoint(10, widget.height // 2)
    if hasattr(widget, "collapsed"):
        return QtCore.QPoint(10, 10)
    return widget.rect.center()


def isGone(pid: int) -> bool:
    """Whether no process has this number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def click(widget: QtWidgets.QWidget, position: QtCore.QPoint | None = None, double: bool = False) -> None:
    """Press and release the left button over a widget; a disabled one ignores it.

    Raises:
        AssertionError: the widget is hidden.
    """
    _reveal(widget)
    point = position or _target(widget)
    QtTest.QTest.mouseClick(widget, Qt.LeftButton, Qt.NoModifier, point)
    if double:
        QtTest.QTest.mouseDClick(widget, Qt.LeftButton, Qt.NoModifier, point)
    slicer.app.processEvents()


def choose(widget: QtWidgets.QWidget, text: str) -> None:
    """Open a combo box (or a chooser of nodes) and click an item.

    Raises:
        AssertionError: the widget is hidden or disabled, or there is no such item.
    """
    box = widget if isinstance(widget, QtWidgets.QComboBox) else widget.findChild(QtWidgets.QComboBox)
    _reveal(box)
    assert box.enabled, f"{widget.className()} {widget.name} is disabled"
    row = box.findText(text)
    assert row >= 0, f"no {text!r} among {[box.itemText(i) for i in range(box.count)]}"
    box.showPopup()
    slicer.app.processEvents()
    view = box.view()
    index = box.model().index(row, box.modelColumn)
    view.scrollTo(index)
    place = view.visualRect(index).center()
    QtTest.QTest.mouseMove(view.viewport(), place)
    QtTest.QTest.mouseClick(view.viewport(), Qt.LeftButton, Qt.NoModifier, place)
    slicer.app.processEvents()
    if box.view().visible:
        box.hidePopup()


def press(widget: QtWidgets.QWidget, keys: str) -> None:
    """Press keys such as "Tab", "Space" or "Ctrl+Return" where the keyboard's focus is, in the widget's window."""
    window = widget.window()
    window.activateWindow()
    slicer.app.processEvents()
    QtTest.QTest.keySequence(window.focusWidget() or window, QtGui.QKeySequence(keys))
    slicer.app.processEvents()


def typeText(widget: QtWidgets.QWidget, text: str) -> None:
    """Click into a widget and type."""
    click(widget)
    QtTest.QTest.keyClicks(widget.focusProxy() or widget, text)
    slicer.app.processEvents()


def grab(widget: QtWidgets.QWidget, path: Path | str) -> Path:
    """Write how a widget looks now, as PNG."""
    slicer.app.processEvents()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    assert widget.grab().save(str(path)), f"cannot write {path}"
    return Path(path)
