"""Stand-ins for CTK's widgets, with the properties, slots and signals that their headers declare for PythonQt.

A C++ method that is neither a slot nor Q_INVOKABLE cannot be called from Slicer's Python, and does not exist here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType
from typing import Any

from PySide6 import QtCore, QtGui, QtWidgets

from .pythonqt import STAND_INS, Qt

STAND_INS.add(__name__)


def stored(kind: Any, name: str, value: Any, onChanged: Callable[[Any], None] | None = None) -> QtCore.Property:
    """A property that only keeps what is set; lists of texts are tuples in PythonQt."""

    def read(self: Any) -> Any:
        kept = self.__dict__.get(f"_{name}", value)
        return tuple(kept) if kind == "QStringList" else kept

    def write(self: Any, new: Any) -> None:
        self.__dict__[f"_{name}"] = new
        if onChanged:
            onChanged(self)

    return QtCore.Property(kind, read, write)


def forwarded(kind: Any, member: str, name: str) -> QtCore.Property:
    """A property of the widget inside."""

    def write(self: Any, value: Any) -> None:
        setattr(getattr(self, member), name, value)

    return QtCore.Property(kind, lambda self: getattr(getattr(self, member), name), write)


def withSlots(widget: type, names: str) -> None:
    """Give a class the slots that set these properties."""
    for name in names.split():
        setattr(widget, f"set{name[0].upper()}{name[1:]}", lambda self, value, name=name: setattr(self, name, value))


class _Collapsible:
    """Hides the children of a widget, and shows those again that were not hidden by themselves."""

    def _watch(self, child: QtCore.QObject) -> None:
        if isinstance(child, QtWidgets.QWidget):
            child.installEventFilter(self)

    def _applyTo(self: Any, child: QtWidgets.QWidget) -> None:
        self._forcing = True
        wanted = child.property("visibilityToParent") is not False
        child.setVisible(wanted and not self.collapsed)
        if wanted:
            child.setAttribute(Qt.WA_WState_ExplicitShowHide, False)
        self._forcing = False

    def _applyToAll(self: Any) -> None:
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._applyTo(child)

    def _filter(self: Any, child: QtWidgets.QWidget, event: QtCore.QEvent) -> None:
        if self._forcing:
            return
        if event.type() == QtCore.QEvent.ShowToParent:
            child.setProperty("visibilityToParent", True)
            if self.collapsed:
                self._applyTo(child)
        elif event.type() == QtCore.QEvent.HideToParent:
            child.setProperty("visibilityToParent", False)


class ctkCollapsibleButton(QtWidgets.QAbstractButton, _Collapsible):
    """A header that shows and hides what lies below it; checked is not collapsed."""

    contentsCollapsed = QtCore.Signal(bool)

    def __init__(self, text: Any = "", parent: QtWidgets.QWidget | None = None):
        text, parent = (text, parent) if isinstance(text, str) else ("", text)
        super().__init__(parent)
        self._forcing, self._fullHeight = False, self.maximumHeight
        self.text = text
        self.checkable = self.checked = True
        self.setSizePolicy(QtWidgets.QSizePolicy.Minimum, QtWidgets.QSizePolicy.Preferred)
        self.setFocusPolicy(Qt.StrongFocus)
        self.setBackgroundRole(QtGui.QPalette.Window)
        self.setContentsMargins(0, self._header().height(), 0, 0)
        self.toggled.connect(self._onToggled)

    def _isCollapsed(self) -> bool:
        return not self.checked

    def _setCollapsed(self, collapsed: bool) -> None:
        self.checked = not collapsed

    collapsed = QtCore.Property(bool, _isCollapsed, _setCollapsed)
    collapsedHeight = stored(int, "collapsedHeight", 14)
    flat = stored(bool, "flat", False)
    contentsFrameShape = stored(int, "contentsFrameShape", 0)
    contentsFrameShadow = stored(int, "contentsFrameShadow", 16)
    contentsLineWidth = stored(int, "contentsLineWidth", 1)
    contentsMidLineWidth = stored(int, "contentsMidLineWidth", 0)

    def _onToggled(self, checked: bool) -> None:
        if checked:
            self.setMaximumHeight(self._fullHeight)
        else:
            self._fullHeight = self.maximumHeight
            self.setMaximumHeight(self.sizeHint().height())
        self._applyToAll()
        self.updateGeometry()
        self.contentsCollapsed.emit(not checked)

    def _header(self) -> QtCore.QSize:
        size = self.fontMetrics().size(int(Qt.TextShowMnemonic.value), self.text or "XXXX")
        return QtCore.QSize(size.width() + 24, size.height() + 10)

    def sizeHint(self) -> QtCore.QSize:
        return self._size(self.layout().totalSizeHint() if self.layout() else self._header())

    def minimumSizeHint(self) -> QtCore.QSize:
        return self._size(self.layout().totalMinimumSize() if self.layout() else self._header())

    def _size(self, contents: QtCore.QSize) -> QtCore.QSize:
        if not self.checked:
            return self._header() + QtCore.QSize(0, self.__dict__.get("_collapsedHeight", 14))
        return contents.expandedTo(self._header())

    def hitButton(self, position: QtCore.QPoint) -> bool:
        return self._bar().contains(position)

    def _bar(self) -> QtCore.QRect:
        return QtCore.QRect(0, 0, self.width, self._header().height())

    def paintEvent(self, event: QtGui.QPaintEvent) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = self._bar()
        option.text = self.text
        painter.drawControl(QtWidgets.QStyle.CE_PushButtonBevel, option)
        option.rect = QtCore.QRect(6, 0, 12, option.rect.height())
        arrow = QtWidgets.QStyle.PE_IndicatorArrowDown if self.checked else QtWidgets.QStyle.PE_IndicatorArrowRight
        painter.drawPrimitive(arrow, option)
        flags = int(Qt.AlignVCenter.value | Qt.AlignLeft.value | Qt.TextShowMnemonic.value)
        painter.drawItemText(self._bar().adjusted(24, 0, 0, 0), flags, self.palette, self.enabled, self.text)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.type() == QtCore.QEvent.ChildAdded:
            self._watch(event.child())

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        self._filter(child, event)
        return False


class ctkCollapsibleGroupBox(QtWidgets.QGroupBox, _Collapsible):
    """A group box whose check mark shows and hides its contents."""

    def __init__(self, title: Any = "", parent: QtWidgets.QWidget | None = None):
        title, parent = (title, parent) if isinstance(title, str) else ("", title)
        super().__init__(title, parent)
        self._forcing, self._fullHeight = False, self.maximumHeight
        self.checkable = self.checked = True
        self.toggled.connect(self._onToggled)

    def _onToggled(self, checked: bool) -> None:
        self._applyToAll()
        self.setMaximumHeight(self._fullHeight if checked else self.fontMetrics().height() + self.collapsedHeight)

    def _isCollapsed(self) -> bool:
        return not self.checked

    def _setCollapsed(self, collapsed: bool) -> None:
        self.checked = not collapsed

    collapsed = QtCore.Property(bool, _isCollapsed, _setCollapsed)
    collapsedHeight = stored(int, "collapsedHeight", 14)

    def childEvent(self, event: QtCore.QChildEvent) -> None:
        if event.type() == QtCore.QEvent.ChildAdded:
            self._watch(event.child())

    def eventFilter(self, child: QtCore.QObject, event: QtCore.QEvent) -> bool:
        self._filter(child, event)
        return False


class ctkSliderWidget(QtWidgets.QWidget):
    """A slider beside a spin box, for floats."""

    valueChanged = QtCore.Signal(float)
    valueIsChanging = QtCore.Signal(float)
    decimalsChanged = QtCore.Signal(int)
    _STEPS = 10_000

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(Qt.Horizontal)
        self._slider.setRange(0, self._STEPS)
        self._spinBox = QtWidgets.QDoubleSpinBox()
        self._spinBox.maximum = 100  # CTK's range, 0..100
        self._spinBox.singleStep = 1
        row.addWidget(self._slider, 1)
        row.addWidget(self._spinBox)
        self.setFocusProxy(self._spinBox)
        self._slider.sliderMoved.connect(self._onMoved)
        self._slider.actionTriggered.connect(lambda action: self._onMoved(self._slider.sliderPosition))
        self._spinBox.valueChanged.connect(self._onValue)

    def _span(self) -> float:
        return self._spinBox.maximum - self._spinBox.minimum

    def _onMoved(self, position: int) -> None:
        self.setValue(self._spinBox.minimum + position / self._STEPS * self._span())

    def _onValue(self, value: float) -> None:
        self._place()
        self.valueChanged.emit(value)

    def _place(self) -> None:
        fraction = (self._spinBox.value - self._spinBox.minimum) / self._span() if self._span() else 0
        self._slider.setSliderPosition(round(fraction * self._STEPS))

    def setValue(self, value: float) -> None:
        self._spinBox.setValue(value)

    def setDecimals(self, decimals: int) -> None:
        self._spinBox.decimals = decimals
        self.decimalsChanged.emit(decimals)

    def reset(self) -> None:
        self.setValue(0)

    def setSpinBoxVisible(self, visible: bool) -> None:
        self._spinBox.visible = visible

    def _setLimit(self, name: str, value: float) -> None:
        setattr(self._spinBox, name, value)
        self._place()

    value = QtCore.Property(float, lambda self: self._spinBox.value, setValue)
    minimum = QtCore.Property(
        float, lambda self: self._spinBox.minimum, lambda self, value: self._setLimit("minimum", value)
    )
    maximum = QtCore.Property(
        float, lambda self: self._spinBox.maximum, lambda self, value: self._setLimit("maximum", value)
    )
    decimals = QtCore.Property(int, lambda self: self._spinBox.decimals, setDecimals)
    singleStep = forwarded(float, "_spinBox", "singleStep")
    pageStep = stored(float, "pageStep", 10.0)
    prefix = forwarded(str, "_spinBox", "prefix")
    suffix = forwarded(str, "_spinBox", "suffix")
    tracking = forwarded(bool, "_slider", "tracking")
    tickInterval = stored(float, "tickInterval", 0.0)
    spinBoxVisible = QtCore.Property(bool, lambda self: not self._spinBox.isHidden(), setSpinBoxVisible)
    popupSlider = stored(bool, "popupSlider", False)
    invertedAppearance = forwarded(bool, "_slider", "invertedAppearance")
    invertedControls = forwarded(bool, "_slider", "invertedControls")


class ctkPathLineEdit(QtWidgets.QWidget):
    """A path to type or to browse for."""

    Dirs, Files, Drives, NoSymLinks, AllEntries = 1, 2, 4, 8, 7
    Readable, Writable, Executable, Hidden = 0x10, 0x20, 0x40, 0x100
    NoDotAndDotDot, NoDot, NoDotDot = 0x1000, 0x2000, 0x4000

    currentPathChanged = QtCore.Signal(str)
    validInputChanged = QtCore.Signal(bool)

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        self._comboBox = QtWidgets.QComboBox()
        self._comboBox.editable = True
        self._comboBox.setSizePolicy(QtWidgets.QSizePolicy.Expanding, QtWidgets.QSizePolicy.Fixed)
        self._button = QtWidgets.QToolButton()
        self._button.text = "..."
        self._button.toolTip = "Open a dialog"
        row.addWidget(self._comboBox, 1)
        row.addWidget(self._button)
        self.setFocusProxy(self._comboBox)
        self._valid = False
        self._button.clicked.connect(self.browse)
        self._comboBox.editTextChanged.connect(self._onEdited)

    def _onEdited(self, path: str) -> None:
        valid, self._valid = self._valid, bool(path)
        if self._valid:  # CTK's validator refuses empty paths
            self.currentPathChanged.emit(path)
        if valid != self._valid:
            self.validInputChanged.emit(self._valid)

    def setCurrentPath(self, path: str) -> None:
        self._comboBox.setEditText(path)

    def browse(self) -> None:
        filters, names = self.filters, ";;".join(self.nameFilters)
        dialog = QtWidgets.QFileDialog
        if not filters & self.Files:
            path = dialog.getExistingDirectory(self, "Select a directory...", self.currentPath)
        elif filters & self.Writable:
            path = dialog.getSaveFileName(self, "Select a file to save ", self.currentPath, names)
        else:
            path = dialog.getOpenFileName(self, "Open a file", self.currentPath, names)
        if path:
            self.setCurrentPath(path)

    def _settings(self) -> tuple[QtCore.QSettings, str]:
        return QtCore.QSettings(), f"ctkPathLineEdit/{self.settingKey or self.objectName}"

    def retrieveHistory(self) -> None:
        settings, key = self._settings()
        path = self.currentPath
        self._comboBox.blockSignals(True)
        self._comboBox.clear()
        self._comboBox.addItems(settings.value(key) or [])
        self._comboBox.setEditText(path)
        self._comboBox.blockSignals(False)

    def addCurrentPathToHistory(self) -> None:
        settings, key = self._settings()
        history = [path for path in settings.value(key) or [] if path != self.currentPath]
        settings.setValue(key, [self.currentPath, *history][:5])
        self.retrieveHistory()

    def comboBox(self) -> QtWidgets.QComboBox:
        return self._comboBox

    currentPath = QtCore.Property(str, lambda self: self._comboBox.currentText, setCurrentPath)
    label = stored(str, "label", "")
    filters = stored(int, "filters", 7)
    options = stored(int, "options", 0)
    settingKey = stored(str, "settingKey", "")
    nameFilters = stored("QStringList", "nameFilters", ())
    minimumContentsLength = stored(int, "minimumContentsLength", 0)
    showBrowseButton = QtCore.Property(
        bool, lambda self: not self._button.isHidden(), lambda self, shown: self._button.setVisible(shown)
    )
    showHistoryButton = stored(bool, "showHistoryButton", True)


class ctkDirectoryButton(QtWidgets.QWidget):
    """A button that shows a folder and opens a dialog to choose another."""

    directoryChanged = QtCore.Signal(str)
    directorySelected = QtCore.Signal(str)

    def __init__(self, directory: Any = "", parent: QtWidgets.QWidget | None = None):
        directory, parent = (directory, parent) if isinstance(directory, str) else ("", directory)
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._button = QtWidgets.QPushButton()
        row.addWidget(self._button)
        self._directory = os.path.abspath(directory)
        self._button.text = self._directory
        self.setFocusProxy(self._button)
        self._button.clicked.connect(self.browse)

    def _setDirectory(self, directory: str) -> None:
        new = os.path.abspath(directory)
        changed, self._directory = new != self._directory, new
        self._button.text = self.text or new
        self.directorySelected.emit(new)
        if changed:
            self.directoryChanged.emit(new)

    def browse(self) -> str:
        path = QtWidgets.QFileDialog.getExistingDirectory(self, self.caption or self.toolTip, self._directory)
        if path:
            self._setDirectory(path)
        return path

    directory = QtCore.Property(str, lambda self: self._directory, _setDirectory)
    caption = stored(str, "caption", "")
    text = stored(str, "text", "", lambda self: setattr(self._button, "text", self._text or self._directory))
    icon = forwarded(QtGui.QIcon, "_button", "icon")
    options = stored(int, "options", 0)


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box with a text for "nothing is chosen"."""

    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)

    def _setDefaultText(self, text: str) -> None:
        self.placeholderText = text

    def _userData(self) -> str:
        return str(self.currentData or "")

    def setCurrentUserDataAsString(self, value: str) -> None:
        self.setCurrentIndex(next((i for i in range(self.count) if str(self.itemData(i)) == value), -1))

    defaultText = QtCore.Property(str, lambda self: self.placeholderText, _setDefaultText)
    defaultIcon = stored(QtGui.QIcon, "defaultIcon", QtGui.QIcon())
    forceDefault = stored(bool, "forceDefault", False)
    elideMode = stored(int, "elideMode", 3)
    scrollWheelEffect = stored(int, "scrollWheelEffect", 1)
    currentUserDataAsString = QtCore.Property(str, _userData, setCurrentUserDataAsString)


class ctkCheckableComboBox(QtWidgets.QComboBox):
    """A combo box whose items have check marks."""

    checkedIndexesChanged = QtCore.Signal()

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self.setModel(QtGui.QStandardItemModel(0, 1, self))
        self.model().rowsInserted.connect(self._onInserted)
        self.model().dataChanged.connect(self._onData)
        self.view().pressed.connect(self._onPressed)

    def _onInserted(self, parent: Any, first: int, last: int) -> None:
        for row in range(first, last + 1):
            item = self.model().item(row)
            item.setFlags(Qt.ItemIsEnabled | Qt.ItemIsSelectable | Qt.ItemIsUserCheckable)
            item.setData(Qt.Unchecked, Qt.CheckStateRole)

    def _onData(self, first: Any, last: Any, roles: Any) -> None:
        if Qt.CheckStateRole in roles:
            self.checkedIndexesChanged.emit()

    def _onPressed(self, index: QtCore.QModelIndex) -> None:
        self.setCheckState(index, Qt.Unchecked if self.checkState(index) == Qt.Checked else Qt.Checked)

    def _indexes(self) -> list[QtCore.QModelIndex]:
        return [self.model().index(row, 0) for row in range(self.count)]

    def checkableModel(self) -> Any:
        return self.model()

    def checkState(self, index: QtCore.QModelIndex) -> Any:
        return self.model().itemFromIndex(index).checkState()

    def setCheckState(self, index: QtCore.QModelIndex, state: Any) -> None:
        self.model().itemFromIndex(index).setCheckState(state)

    def checkedIndexes(self) -> list[QtCore.QModelIndex]:
        return [index for index in self._indexes() if self.checkState(index) == Qt.Checked]

    def allChecked(self) -> bool:
        return len(self.checkedIndexes()) == self.count

    def noneChecked(self) -> bool:
        return not self.checkedIndexes()


class ctkSearchBox(QtWidgets.QLineEdit):
    showSearchIcon = stored(bool, "showSearchIcon", False)
    searchIcon = stored(QtGui.QIcon, "searchIcon", QtGui.QIcon())
    clearIcon = stored(QtGui.QIcon, "clearIcon", QtGui.QIcon())

    def __init__(self, parent: QtWidgets.QWidget | None = None):
        super().__init__(parent)
        self.clearButtonEnabled = True


class ctkCheckBox(QtWidgets.QCheckBox):
    indicatorIcon = stored(QtGui.QIcon, "indicatorIcon", QtGui.QIcon())
    indicatorIconSize = stored(QtCore.QSize, "indicatorIconSize", QtCore.QSize(0, 0))


class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box with "Don't show this message again"."""

    dontShowAgain = stored(bool, "dontShowAgain", False)
    dontShowAgainSettingsKey = stored(str, "dontShowAgainSettingsKey", "")
    dontShowAgainVisible = stored(bool, "dontShowAgainVisible", False)

    def setDontShowAgain(self, value: bool) -> None:
        self.dontShowAgain = value


class CtkModule(ModuleType):
    """Slicer's module ctk, as far as there is a stand-in."""

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"there is no stand-in for ctk.{name}; read its header in CTK, then add it")


ctk = CtkModule("ctk")
WIDGETS = [
    ctkCollapsibleButton,
    ctkCollapsibleGroupBox,
    ctkSliderWidget,
    ctkPathLineEdit,
    ctkDirectoryButton,
    ctkComboBox,
    ctkCheckableComboBox,
    ctkSearchBox,
    ctkCheckBox,
    ctkMessageBox,
]
ctk.__dict__.update({widget.__name__: widget for widget in WIDGETS})
