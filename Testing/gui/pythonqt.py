"""PySide6 that answers as PythonQt does in Slicer: what PythonQt lacks is an AttributeError here.

The classes of PySide6 are changed in place, once per process, so that objects made by Qt itself follow, too:

- Qt's properties are attributes (``label.text = "x"``), their getters are not callable (``label.text()`` fails);
- ``name`` is ``objectName``; dynamic properties and children can be read as attributes; no attributes can be added;
- ``w.connect("clicked(bool)", f)`` and ``w.clicked.connect(f)``; a signal that does not exist is an error, which
  PythonQt only prints;
- enumerators belong to their class (``qt.Qt.AlignLeft``), not to the enumeration;
- what came with Qt 6 is missing, for Slicer 5.10 has Qt 5.15.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import enum
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import MethodType, ModuleType
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtNetwork, QtSvg, QtUiTools, QtWidgets

# PySide6 looks into the source of whatever is imported, and fails on modules that other tests of this process made up
builtins.__import__ = vars(builtins).get("__orig_import__", builtins.__import__)

_MODULES = (QtCore, QtGui, QtWidgets, QtNetwork, QtSvg, QtUiTools)

# Slicer's start-up script puts a static function in the place of this property.
_NOT_ATTRIBUTES = {"singleShot"}

# Methods, signals and properties that Qt 5.15 does not have
_QT6 = {
    "QAbstractItemView": "itemDelegateForIndex setKeyboardSearchFlags setUpdateThreshold updateThreshold",
    "QAction": "associatedObjects checkableChanged enabledChanged resetEnabled visibleChanged",
    "QCheckBox": "checkStateChanged",
    "QComboBox": "labelDrawingMode setLabelDrawingMode",
    "QCoreApplication": "checkPermission instanceExists requestPermission shutdown",
    "QFormLayout": "isRowVisible setRowVisible",
    "QHeaderView": "isSortIndicatorClearable setSortIndicatorClearable",
    "QIODevice": "readLineInto",
    "QMessageBox": "options setOption setOptions testOption",
    "QProcess": "failChildProcessModifier setUnixProcessParameters startCommand unixProcessParameters",
    "QShortcut": "keys setKeys",
    "QTimer": "id intervalAsDuration remainingTimeAsDuration",
    "QWidget": "accessibleIdentifier setAccessibleIdentifier setScreen",
}

_NEW = {name for names in _QT6.values() for name in names.split()}

_setGeneric = ctypes.pythonapi.PyObject_GenericSetAttr
_setGeneric.argtypes = [ctypes.py_object] * 3
_setGeneric.restype = ctypes.c_int


def _keepConstants() -> None:
    """PySide6 counts on immortal None, True and False, which Python has since 3.12: hold many references before."""
    if sys.version_info < (3, 12):
        for constant in (None, True, False):
            ctypes.c_ssize_t.from_address(id(constant)).value += 1 << 40


def _classes() -> Iterator[type]:
    for module in _MODULES:
        for name in dir(module):
            found = getattr(module, name)
            if isinstance(found, type) and found.__module__.startswith("PySide6"):
                yield found


def _flattenEnumerations(cls: type) -> None:
    """``Qt.AlignmentFlag.AlignLeft`` becomes ``Qt.AlignLeft``; PythonQt's AlignmentFlag is an int without members."""
    for name, found in list(vars(cls).items()):
        if isinstance(found, type) and issubclass(found, enum.Enum):
            for key, member in found.__members__.items():
                setattr(cls, key, member)
            setattr(cls, name, type(name, (int,), {}))


def _method(cls: type, name: str) -> Callable | None:
    found = inspect.getattr_static(cls, name, None)
    return getattr(cls, name) if callable(found) and not isinstance(found, staticmethod) else None


def _attribute(cls: type, meta: QtCore.QMetaProperty) -> property:
    name = meta.name()
    capital = name[0].upper() + name[1:]
    getter = _method(cls, name) or _method(cls, f"is{capital}") or _method(cls, f"has{capital}")
    setter = _method(cls, f"set{capital}")

    def write(self: Any, value: Any) -> None:
        if setter:
            setter(self, value)
        else:
            _writeNative(self, name, value)

    return property(getter or (lambda self: _readNative(self, name)), write if meta.isWritable() else None)


def _makeAttributes(cls: type) -> None:
    meta = cls.staticMetaObject
    for index in range(meta.propertyCount()):
        item = meta.property(index)
        # a class may override the getter of a property that it inherits, such as sizeHint
        own = index >= meta.propertyOffset() or item.name() in vars(cls)
        if own and item.name() not in _NOT_ATTRIBUTES:
            setattr(cls, item.name(), _attribute(cls, item))


def _signature(sender: QtCore.QObject, signal: str) -> str:
    """The signal's name in Qt's terms; nodes of MRML travel as Python objects.

    Raises:
        AttributeError: the sender has no such signal.
    """
    types = re.sub(r"vtk\w+\s*\*", "PyObject", signal)
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(types).data()).decode()
    if sender.metaObject().indexOfSignal(normalized) < 0 or _isNew(type(sender), normalized.partition("(")[0]):
        raise AttributeError(f"{type(sender).__name__} has no signal {signal}")
    return QtCore.SIGNAL(normalized)


def _connect(self: QtCore.QObject, signal: str, receiver: Any, slot: str | None = None) -> bool:
    target = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    if not callable(target):
        raise TypeError(f"cannot connect {signal} to {target!r}")
    return bool(_connectNative(self, _signature(self, signal), target))


def _disconnect(self: QtCore.QObject, signal: str, receiver: Any = None, slot: str | None = None) -> bool:
    target = receiver if slot is None else getattr(receiver, slot.partition("(")[0])
    if target is None:
        return bool(_disconnectNative(self, _signature(self, signal), None, None))
    return bool(_disconnectNative(self, _signature(self, signal), target))


_connectNative = QtCore.QObject.connect
_disconnectNative = QtCore.QObject.disconnect
_getNative = QtCore.QObject.__getattribute__
_findNative, _childrenNative = QtCore.QObject.findChildren, QtCore.QObject.children
_readNative, _writeNative = QtCore.QObject.property, QtCore.QObject.setProperty
_BOUND = {"connect": _connect, "disconnect": _disconnect}


def _getAttribute(self: QtCore.QObject, name: str) -> Any:
    if name in _BOUND:  # PySide6 finds these two past any override
        return MethodType(_BOUND[name], self)
    if name in _NEW and _isNew(type(self), name):
        raise AttributeError(f"{type(self).__name__}.{name} does not exist in Qt 5.15, which Slicer 5.10 has")
    return _getNative(self, name)


def _missingAttribute(self: QtCore.QObject, name: str) -> Any:
    """What is no member: a dynamic property, or a child of that name."""
    if not name.startswith("__"):
        value = self.property(name)
        if value is not None:
            return value
        for child in self.children():
            if child.objectName == name:
                return child
    raise AttributeError(f"{type(self).__name__} has no attribute named '{name}'")


def _setAttribute(self: QtCore.QObject, name: str, value: Any) -> None:
    cls = type(self)
    member = getattr(cls, name, None)
    if isinstance(member, QtCore.Property) or (not hasattr(type(member), "__set__") and _isDynamic(self, name)):
        if not _writeNative(self, name, value) and isinstance(member, QtCore.Property):
            raise AttributeError(f"property '{name}' of {cls.__name__} does not accept {value!r}")
        return
    isNative = cls.__module__.startswith("PySide6") or (cls.__module__ in STAND_INS and not name.startswith("_"))
    if isNative and not isinstance(value, QtCore.SignalInstance):  # PySide6 itself stores its signals when first used
        if isinstance(value, QtCore.QObject) and value.objectName == name:
            return  # PySide6's QUiLoader offers a form's widgets as attributes of the form
        if not hasattr(type(member), "__set__"):
            raise AttributeError(f"'{name}' does not exist on {cls.__name__}, and attributes cannot be added")
        if isinstance(member, property) and member.fset is None:
            raise AttributeError(f"property '{name}' of {cls.__name__} is not writable")
    _setGeneric(self, name, value)


def _isDynamic(self: QtCore.QObject, name: str) -> bool:
    return any(bytes(known.data()).decode() == name for known in self.dynamicPropertyNames())


STAND_INS: set[str] = set()
"""Modules whose widgets stand in for C++ classes: no attributes can be added to them from outside."""


def _findChildren(self: QtCore.QObject, kind: Any, name: str = "") -> tuple:
    """PythonQt takes a class or its name; its lists are tuples."""
    children = _findNative(self, QtCore.QObject if isinstance(kind, str) else kind)
    ofKind = [child for child in children if not isinstance(kind, str) or child.inherits(kind)]
    return tuple(child for child in ofKind if not name or child.objectName == name)


def _findChild(self: QtCore.QObject, kind: Any, name: str = "") -> Any:
    return next(iter(_findChildren(self, kind, name)), None)


def _singleShot(milliseconds: int, receiver: Any, member: str | None = None) -> None:
    timer = QtCore.QTimer(QtCore.QCoreApplication.instance())
    timer.setSingleShot(True)
    timer.connect("timeout()", receiver, *([member] if member else []))
    timer.connect("timeout()", timer, "deleteLater()")
    timer.start(milliseconds)


def _inherits(self: QtCore.QObject, name: str) -> bool:
    return any(cls.__name__ == name for cls in type(self).__mro__)


def _isNew(cls: type, name: str) -> bool:
    return any(name in _QT6.get(base.__name__, "").split() for base in cls.__mro__)


def _adopt() -> None:
    """Change the classes of PySide6, see the module's text."""
    classes = list(_classes())
    for cls in classes:
        if issubclass(cls, QtCore.QObject):
            _makeAttributes(cls)
    for cls in classes:
        if issubclass(cls, QtCore.QObject):
            cls.__setattr__ = _setAttribute
        _flattenEnumerations(cls)
    changed: dict[str, Any] = {
        "__getattribute__": _getAttribute,
        "__getattr__": _missingAttribute,
        "findChildren": _findChildren,
        "findChild": _findChild,
        "children": lambda self: tuple(_childrenNative(self)),
        "inherits": _inherits,
        "className": lambda self: type(self).__name__,
        "delete": lambda self: self.deleteLater(),
        "name": QtCore.QObject.objectName,
    }
    for name, value in changed.items():
        setattr(QtCore.QObject, name, value)
    QtCore.QTimer.singleShot = staticmethod(_singleShot)


class QtModule(ModuleType):
    """Slicer's module qt: all classes of Qt in one flat name space."""

    def __getattr__(self, name: str) -> Any:
        if re.fullmatch(r"Qt|Q[A-Z]\w+", name):
            for module in _MODULES:
                with contextlib.suppress(AttributeError):
                    return getattr(module, name)
        raise AttributeError(f"module 'qt' has no attribute '{name}'")


_keepConstants()
_adopt()
qt = QtModule("qt")
Qt = qt.Qt
