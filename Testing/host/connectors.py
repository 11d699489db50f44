"""Which widget can show a parameter of which type, and how: after the documentation of Slicer's connectors."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import slicer

from .annotations import Choice, Decimals, Maximum, Minimum, SingleStep, WithinRange

if TYPE_CHECKING:
    from .parameters import Parameter


class Connector:
    """Reads and writes a widget's value; tells when a user changes it."""

    attribute = signal = ""

    def __init__(self, widget: Any, parameter: Parameter):
        self.widget, self.parameter = widget, parameter
        self._callback: Callable[[], None] | None = None
        self.prepare()

    def prepare(self) -> None:
        """Set the widget up for the parameter's type."""

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        self._callback = callback
        if self.signal:
            signal = getattr(self.widget, self.signal)
            (signal.connect if callback else signal.disconnect)(self._changed)

    def _changed(self) -> None:
        if self._callback:
            self._callback()

    def read(self) -> Any:
        return self.parameter.type(getattr(self.widget, self.attribute))

    def write(self, value: Any) -> None:
        setattr(self.widget, self.attribute, value)


class CheckBox(Connector):
    attribute, signal = "checked", "stateChanged"


class PushButton(Connector):
    attribute, signal = "checked", "toggled"

    def prepare(self) -> None:
        self.widget.checkable = True


class Number(Connector):
    """Sliders need a range."""

    attribute, signal = "value", "valueChanged"

    def prepare(self) -> None:
        note, widget = self.parameter.note, self.widget
        isFloat = widget.className() not in ("QSlider", "QSpinBox")
        decimals = note(Decimals)
        if isFloat and self.parameter.type is int:
            widget.decimals = 0
        elif isFloat and decimals:
            widget.decimals = decimals.value
        step = note(SingleStep)
        if step:
            widget.singleStep = step.value
        both = note(WithinRange)
        low, high = both or note(Minimum), both or note(Maximum)
        if "Slider" in widget.className() and not (low and high):
            raise RuntimeError(f"a {widget.className()} needs a range: annotate {self.parameter.name}")
        widget.minimum = low.minimum if low else -math.inf if isFloat else -(2**31)
        widget.maximum = high.maximum if high else math.inf if isFloat else 2**31 - 1


class Chooser(Connector):
    """The parameter's choices replace the items of a combo box."""

    signal = "currentIndexChanged"

    def prepare(self) -> None:
        if issubclass(self.parameter.type, enum.Enum):
            label = getattr(self.parameter.type, "label", lambda member: member.name)
            self.choices = [(label(member), member) for member in self.parameter.type]
        else:
            choice = self.parameter.note(Choice)
            if choice is None:
                raise RuntimeError(f"a {self.widget.className()} needs choices: annotate {self.parameter.name}")
            self.choices = [(str(value), value) for value in choice.choices]
        self.widget.clear()
        for text, _ in self.choices:
            self.widget.addItem(text)

    def read(self) -> Any:
        return self.choices[self.widget.currentIndex][1]

    def write(self, value: Any) -> None:
        values = [choice for _, choice in self.choices]
        if value not in values:
            raise ValueError(f"{value!r} is none of {values}")
        self.widget.currentIndex = values.index(value)


class LineEdit(Connector):
    attribute, signal = "text", "textChanged"

    def write(self, value: str) -> None:
        if value != self.widget.text:  # writing moves the cursor
            self.widget.text = value


class Label(Connector):
    attribute = "text"


class TextEdit(Connector):
    attribute, signal = "plainText", "textChanged"


class PathEdit(Connector):
    attribute, signal = "currentPath", "currentPathChanged"

    def write(self, value: Path) -> None:
        self.widget.currentPath = str(value)


class Directory(Connector):
    attribute, signal = "directory", "directoryChanged"

    def write(self, value: Path) -> None:
        self.widget.directory = str(value)


class NodeChooser(Connector):
    signal = "currentNodeChanged"

    def prepare(self) -> None:
        self.widget.nodeTypes = [self.parameter.type.__name__]

    def read(self) -> Any:
        return self.widget.currentNode()

    def write(self, value: Any) -> None:
        self.widget.setCurrentNode(value)


# (connector, the widgets' exact classes, the parameters' types)
_TABLE: list[tuple[type[Connector], tuple[str, ...], Callable[[type], bool]]] = [
    (CheckBox, ("QCheckBox", "ctkCheckBox"), lambda kind: kind is bool),
    (PushButton, ("QPushButton",), lambda kind: kind is bool),
    (Number, ("QSlider", "QSpinBox"), lambda kind: kind is int),
    (Number, ("QDoubleSpinBox", "ctkSliderWidget", "qMRMLSliderWidget"), lambda kind: kind in (int, float)),
    (
        Chooser,
        ("QComboBox", "ctkComboBox"),
        lambda kind: kind in (int, float, str, bool) or issubclass(kind, enum.Enum),
    ),
    (LineEdit, ("QLineEdit",), lambda kind: kind is str),
    (Label, ("QLabel",), lambda kind: kind is str),
    (TextEdit, ("QTextEdit",), lambda kind: kind is str),
    (PathEdit, ("ctkPathLineEdit",), lambda kind: issubclass(kind, Path)),
    (Directory, ("ctkDirectoryButton",), lambda kind: issubclass(kind, Path)),
    (NodeChooser, ("qMRMLNodeComboBox",), lambda kind: issubclass(kind, slicer.vtkMRMLNode)),
]


def connector(widget: Any, parameter: Parameter) -> Connector:
    """The connector of a widget to a parameter.

    Raises:
        RuntimeError: Slicer has none for this pair.
    """
    name = type(widget).__name__
    for kind, widgets, accepts in _TABLE:
        if name in widgets and accepts(parameter.type):
            return kind(widget, parameter)
    raise RuntimeError(f"no connector between {name} and {parameter.type.__name__} ({parameter.name})")
