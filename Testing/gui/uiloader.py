"""qt.QUiLoader for Slicer's .ui files: with the stand-ins, and with connections to MRML, which Qt cannot make here."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from typing import Any

import slicer
from PySide6 import QtCore, QtUiTools, QtWidgets

from .ctkwidgets import ctk

_STAND_INS = ("ctk", "qMRML", "qSlicer")


class QUiLoader(QtUiTools.QUiLoader):
    def createWidget(self, className: str, parent: QtWidgets.QWidget | None = None, name: str = "") -> Any:
        if className.startswith(_STAND_INS):
            standIn = getattr(ctk if className.startswith("ctk") else slicer, className, None)
            if standIn is None:  # an exception would not pass through Qt
                self._missing.append(className)
            widget = (standIn or QtWidgets.QWidget)(parent)
            widget.objectName = name
        else:
            widget = super().createWidget(className, parent, name)
        self._created[name] = widget
        return widget

    def load(self, device: QtCore.QFile, parent: QtWidgets.QWidget | None = None) -> QtWidgets.QWidget:
        """The widget of a .ui file.

        Raises:
            AttributeError: a class, property, signal or slot that the file names does not exist.
        """
        self._created: dict[str, Any] = {}
        self._missing: list[str] = []
        root = ElementTree.fromstring(bytes(device.readAll().data()))
        connections = [connection for element in root.iter("connections") for connection in self._takeAll(element)]
        flags = [taken for element in root.iter("widget") for taken in self._takeFlags(element)]
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        widget = super().load(buffer, parent)
        if self._missing:
            raise AttributeError(f"there is no stand-in for {', '.join(self._missing)} of the .ui file")
        for element in root.iter("widget"):
            self._check(element)
        for name, item in flags:
            self._setFlags(self._created[name], item.get("name", ""), item[0].text or "")
        for sender, signal, receiver, slot in connections:
            self._created[sender].connect(signal, self._created[receiver], slot)
        widget.__dict__["_created"] = self._created  # Python's side of the widgets lives as long as the form
        return widget

    @staticmethod
    def _takeAll(element: ElementTree.Element) -> list[tuple[str, ...]]:
        """The connections, which are made by hand: Qt does not know VTK's types."""
        tags = ("sender", "signal", "receiver", "slot")
        texts = [tuple(connection.findtext(tag, "") for tag in tags) for connection in element]
        element.clear()
        return texts

    @staticmethod
    def _takeFlags(element: ElementTree.Element) -> list[tuple[str, ElementTree.Element]]:
        """Properties whose values are a stand-in's own enumerators, unknown to Qt."""
        found = [item for item in element.findall("property") if item[0].tag in ("set", "enum")]
        own = [item for item in found if (item[0].text or "").startswith(_STAND_INS)]
        for item in own:
            element.remove(item)
        return [(element.get("name", ""), item) for item in own]

    @staticmethod
    def _setFlags(widget: Any, name: str, text: str) -> None:
        setattr(widget, name, sum(getattr(type(widget), flag.rpartition("::")[2]) for flag in text.split("|")))

    def _check(self, element: ElementTree.Element) -> None:
        """A property that a class does not have would become a dynamic one, without a word."""
        widget = self._created.get(element.get("name", ""))
        for item in element.findall("property") if widget is not None else ():
            isBuddy = item.get("name") == "buddy"  # Designer's own, for QLabel.setBuddy
            if (
                item.get("stdset") != "0"
                and not isBuddy
                and widget.metaObject().indexOfProperty(item.get("name", "")) < 0
            ):
                raise AttributeError(f"{widget.className()} {widget.name} has no property {item.get('name')}")
