"""Stand-ins for the effects of Slicer's Segment Editor, on Slicer's own logic of the editor (slicer-core).

Paint and Erase do in slice views what a mouse does with them in Slicer; effects in Python are loaded as there.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtk.util.numpy_support import vtk_to_numpy

from .pythonqt import STAND_INS

STAND_INS.add(__name__)

BRUSH = 0.03  # of the view's height: the brush's diameter, as in Slicer until the user changes it


def _complain(text: str) -> None:
    """As qCritical does; a test fails on it."""
    vtk.vtkOutputWindow.GetInstance().DisplayErrorText(text)


class qSlicerSegmentEditorAbstractEffect(QtCore.QObject):
    """What all effects have: parameters in the editor node, a frame of options, and ways to change segments."""

    ModificationModeSet, ModificationModeAdd, ModificationModeRemove, ModificationModeRemoveAll = range(4)

    def __init__(self, parent: QtCore.QObject | None = None):
        super().__init__(parent)
        self._name = self._title = ""
        self._perSegment = self._requireSegments = True
        self._active = False
        self._node: Any = None
        self._logic: Any = None
        self._select: Callable[[str], None] = lambda name: None
        self._frame = QtWidgets.QFrame()
        self._layout = QtWidgets.QFormLayout(self._frame)
        self._layout.setContentsMargins(4, 4, 4, 4)
        self._layout.setSpacing(4)

    def _join(self, logic: Any, select: Callable[[str], None]) -> None:
        """An editor has taken this effect in."""
        self._logic, self._select = logic, select

    # -- what effects may have of their own

    def icon(self) -> QtGui.QIcon:
        return QtGui.QIcon()

    def helpText(self) -> str:
        return ""

    def clone(self) -> Any:
        raise NotImplementedError

    def activate(self) -> None:
        self._frame.visible = self._active = True
        self.updateGUIFromMRML()

    def deactivate(self) -> None:
        self._frame.visible = self._active = False

    def active(self) -> bool:
        return self._active

    def setupOptionsFrame(self) -> None:
        pass

    def setMRMLDefaults(self) -> None:
        pass

    def updateGUIFromMRML(self) -> None:
        pass

    def updateMRMLFromGUI(self) -> None:
        pass

    def referenceGeometryChanged(self) -> None:
        pass

    def sourceVolumeNodeChanged(self) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def _interact(self, kind: str, x: float, y: float, sliceWidget: Any) -> None:
        """The mouse in a slice view: "press", "move" with the button down, "release"."""

    # -- the editor's node

    def parameterSetNode(self) -> Any:
        return self._node

    def setParameterSetNode(self, node: Any) -> None:
        self._node = node

    def scene(self) -> Any:
        return self._node.GetScene() if self._node else None

    def _own(self, name: str) -> str:
        return f"{self._name}.{name}"

    def parameter(self, name: str) -> str:
        if not self._node:
            return ""
        value = self._node.GetAttribute(self._own(name))
        value = self._node.GetAttribute(name) if value is None else value
        if value is None:
            _complain(f"parameter {name} cannot be found for effect {self._name}")
        return value or ""

    def integerParameter(self, name: str) -> int:
        return int(self.parameter(name)) if self._node else 0

    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name)) if self._node else 0.0

    def nodeReference(self, name: str) -> Any:
        if not self._node:
            return None
        return self._node.GetNodeReference(self._own(name)) or self._node.GetNodeReference(name)

    def setParameter(self, name: str, value: str | int | float) -> None:
        self.setCommonParameter(self._own(name), value)

    def setCommonParameter(self, name: str, value: str | int | float) -> None:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError(f"an effect's parameter is a text or a number, not {value!r}")
        if not self._node:
            _complain(f"invalid segment editor parameter set node of effect {self._name}")
        elif (self._node.GetAttribute(name) or "") != str(value):
            disabled = self._node.GetDisableModifiedEvent()
            self._node.SetDisableModifiedEvent(1)
            self._node.SetAttribute(name, str(value))
            self._node.SetDisableModifiedEvent(disabled)
            self._node.InvokeCustomModifiedEvent(slicer.vtkMRMLSegmentEditorNode.EffectParameterModified)

    def setParameterDefault(self, name: str, value: str | int | float) -> None:
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    def setCommonParameterDefault(self, name: str, value: str | int | float) -> None:
        if not self.commonParameterDefined(name):
            self.setCommonParameter(name, value)

    def setNodeReference(self, name: str, node: Any) -> None:
        self.setCommonNodeReference(self._own(name), node)

    def setCommonNodeReference(self, name: str, node: Any) -> None:
        if not self._node:
            _complain(f"invalid segment editor parameter set node of effect {self._name}")
        elif node is not self._node.GetNodeReference(name):
            self._node.SetNodeReferenceID(name, node.GetID() if node else None)
            self._node.InvokeCustomModifiedEvent(slicer.vtkMRMLSegmentEditorNode.EffectParameterModified)

    def parameterDefined(self, name: str) -> bool:
        return self.commonParameterDefined(self._own(name))

    def commonParameterDefined(self, name: str) -> bool:
        return bool(self._node and self._node.GetAttribute(name))

    # -- options

    def optionsFrame(self) -> QtWidgets.QFrame:
        return self._frame

    def optionsLayout(self) -> QtWidgets.QFormLayout:
        return self._layout

    def addOptionsWidget(self, widget: QtWidgets.QWidget | QtWidgets.QLayout) -> None:
        self._adopt(widget)
        self._layout.addRow(widget)

    def addLabeledOptionsWidget(self, label: str, widget: QtWidgets.QWidget | QtWidgets.QLayout) -> QtWidgets.QLabel:
        self._adopt(widget)
        text = QtWidgets.QLabel(label)
        self._layout.addRow(text, widget)
        return text

    def _adopt(self, widget: QtWidgets.QWidget | QtWidgets.QLayout) -> None:
        if isinstance(widget, QtWidgets.QWidget):
            widget.setParent(self._frame)
            widget.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.MinimumExpanding)

    # -- segments and images

    def modifySegmentByLabelmap(
        self, segmentationNode: Any, segmentID: str, labelmap: Any, mode: int, bypassMasking: bool = False
    ) -> None:
        names = "Set", "Add", "Remove", "RemoveAll"
        kind = getattr(slicer.vtkSlicerSegmentEditorLogic, f"ModificationMode{names[mode]}")
        self._logic.ModifySegmentByLabelmap(
            segmentationNode, segmentID, labelmap, kind, self._perSegment, bypassMasking
        )

    def modifySelectedSegmentByLabelmap(self, labelmap: Any, mode: int, bypassMasking: bool = False) -> None:
        node = self._node
        segmentID = node.GetSelectedSegmentID() or ""
        self.modifySegmentByLabelmap(node.GetSegmentationNode(), segmentID, labelmap, mode, bypassMasking)

    def sourceVolumeImageData(self) -> Any:
        return self._logic.GetAlignedSourceVolume() if self._logic.UpdateAlignedSourceVolume() else None

    def defaultModifierLabelmap(self) -> Any:
        return self._logic.GetModifierLabelmap() if self._logic.ResetModifierLabelmapToDefault() else None

    def modifierLabelmap(self) -> Any:
        return self._logic.GetModifierLabelmap()

    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    def selectEffect(self, name: str) -> None:
        self._select(name)

    def confirmCurrentSegmentVisible(self) -> int:
        return 1

    def _rename(self, name: str) -> None:
        _complain("cannot set effect name by method, only in constructor")

    def _setPerSegment(self, perSegment: bool) -> None:
        _complain("cannot set per-segment flag by method, only in constructor")

    def _set(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    name = QtCore.Property(str, lambda self: self._name, lambda self, value: self._rename(value))
    title = QtCore.Property(str, lambda self: self._title or self._name, lambda self, text: self._set("_title", text))
    perSegment = QtCore.Property(bool, lambda self: self._perSegment, lambda self, value: self._setPerSegment(value))
    requireSegments = QtCore.Property(
        bool, lambda self: self._requireSegments, lambda self, value: self._set("_requireSegments", value)
    )


class qSlicerSegmentEditorScriptedEffect(qSlicerSegmentEditorAbstractEffect):
    """An effect in Python: what its class does not define, the class above does."""

    _WITH_BASE = ("activate", "deactivate", "setupOptionsFrame", "referenceGeometryChanged", "sourceVolumeNodeChanged")
    _ALONE = ("icon", "helpText", "setMRMLDefaults", "updateGUIFromMRML", "updateMRMLFromGUI", "clone", "cleanup")

    def __init__(self, parent: QtCore.QObject | None = None):
        super().__init__(parent)
        self._self: Any = None
        self._source, self._name = "", "UnnamedScriptedEffect"

    def setPythonSource(self, path: str) -> bool:
        """Load a file under the name of its folder, and make its class, which is named as the file is."""
        file = Path(path)
        if file.suffix != ".py":
            return False
        name, kind = file.parent.name, file.stem if file.stem.endswith("Effect") else f"{file.stem}Effect"
        if not hasattr(sys.modules.get(name), kind):
            spec = importlib.util.spec_from_file_location(name, file)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            LOADED.add(name)
            spec.loader.exec_module(module)
        self._self = getattr(sys.modules[name], kind)(self)
        setattr(slicer, name, self._self)
        self._source = path
        return True

    def pythonSource(self) -> str:
        return self._source

    def self(self) -> Any:
        return self._self

    def _rename(self, name: str) -> None:
        self._name = name

    def _setPerSegment(self, perSegment: bool) -> None:
        self._perSegment = perSegment

    def _call(self, name: str, *arguments: Any) -> Any:
        """What the Python class answers; as in Slicer, what it raises is shown and forgotten."""
        method = getattr(self._self, name, None)
        if method is None:
            return getattr(qSlicerSegmentEditorAbstractEffect, name)(self, *arguments)
        try:
            return method(*arguments)
        except Exception:
            sys.excepthook(*sys.exc_info())
            return None


def _delegate(name: str, withBase: bool) -> Callable:
    def call(self: Any, *arguments: Any) -> Any:
        if withBase and hasattr(self._self, name):
            getattr(qSlicerSegmentEditorAbstractEffect, name)(self, *arguments)
        return self._call(name, *arguments)

    return call


for _name in qSlicerSegmentEditorScriptedEffect._WITH_BASE + qSlicerSegmentEditorScriptedEffect._ALONE:
    _isWithBase = _name in qSlicerSegmentEditorScriptedEffect._WITH_BASE
    setattr(qSlicerSegmentEditorScriptedEffect, _name, _delegate(_name, _isWithBase))

LOADED: set[str] = set()
"""Names of modules that hold effects in Python; a new start of the application has none."""


class BuiltIn(qSlicerSegmentEditorAbstractEffect):
    """An effect in C++ of which nothing but its name is here."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def clone(self) -> Any:
        return type(self)(self._name)


class Brush(BuiltIn):
    """Paint or Erase in slice views: a disc of the slice's thickness along the mouse's way, done at its end."""

    def __init__(self, name: str):
        super().__init__(name)
        self._points: list[tuple[float, float]] = []

    def _interact(self, kind: str, x: float, y: float, sliceWidget: Any) -> None:
        if kind == "press":
            self._points = []
        self._points.append((x, y))
        if kind == "release":
            self.saveStateForUndo()
            labelmap = self.defaultModifierLabelmap()
            self._draw(labelmap, sliceWidget.mrmlSliceNode())
            mode = self.ModificationModeAdd if self._name == "Paint" else self.ModificationModeRemove
            self.modifySelectedSegmentByLabelmap(labelmap, mode)

    def _draw(self, labelmap: Any, sliceNode: Any) -> None:
        """Set the voxels whose centers the brush has touched."""
        matrix = vtk.vtkMatrix4x4()
        self._logic.ImageToWorldMatrix(labelmap, self._node.GetSegmentationNode(), matrix)
        toWorld = slicer.util.arrayFromVTKMatrix(matrix)
        fromXY = slicer.util.arrayFromVTKMatrix(sliceNode.GetXYToRAS())
        radius = BRUSH / 2 * sliceNode.GetFieldOfView()[1]
        normal = slicer.util.arrayFromVTKMatrix(sliceNode.GetSliceToRAS())[:3, 2]
        scalars = vtk_to_numpy(labelmap.GetPointData().GetScalars())
        extent, voxels = labelmap.GetExtent(), scalars.reshape(*reversed(labelmap.GetDimensions()))
        k, j, i = np.indices(voxels.shape)
        indices = np.stack([i + extent[0], j + extent[2], k + extent[4]], axis=-1)
        world = indices @ toWorld[:3, :3].T + toWorld[:3, 3]
        thickness = np.linalg.norm(toWorld[:3, :3].T @ normal) or 1.0
        for x, y in self._between():
            away = world - (fromXY @ [x, y, 0, 1])[:3]
            depth = away @ normal
            across = np.linalg.norm(away - depth[..., None] * normal, axis=-1)
            voxels[(across <= radius) & (np.abs(depth) <= thickness / 2)] = 1
        labelmap.GetPointData().GetScalars().Modified()
        labelmap.Modified()

    def _between(self) -> list[tuple[float, float]]:
        """The points, and some on the way from each to the next."""
        found = self._points[:1]
        for first, second in zip(self._points, self._points[1:], strict=False):
            count = int(np.hypot(second[0] - first[0], second[1] - first[1]) // 2) + 1
            found += [tuple(np.add(first, np.subtract(second, first) * n / count)) for n in range(1, count + 1)]
        return found


class qSlicerSegmentEditorEffectFactory(QtCore.QObject):
    """The effects that editors take copies of; one for each start of the application."""

    effectRegistered = QtCore.Signal(str)
    _current: Any = None
    _OTHERS = ("Draw", "Level tracing", "Grow from seeds", "Threshold", "Margin", "Smoothing", "Scissors", "Islands",
               "Logical operators", "Mask volume", "Hollow", "Fill between slices")  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._effects: list[Any] = [Brush("Paint"), Brush("Erase"), *map(BuiltIn, self._OTHERS)]

    @classmethod
    def instance(cls) -> Any:
        if cls._current is None:
            cls._current = cls()
        return cls._current

    @classmethod
    def _forget(cls) -> None:
        """The application ends."""
        cls._current = None
        for name in LOADED:
            sys.modules.pop(name, None)
            vars(slicer).pop(name, None)
        LOADED.clear()

    def registerEffect(self, effect: Any) -> bool:
        if effect.name in [each.name for each in self._effects]:
            return False
        self._effects.append(effect)
        self.effectRegistered.emit(effect.name)
        return True

    def registeredEffects(self) -> tuple:
        return tuple(self._effects)

    def _copies(self, known: set[str]) -> list[Any]:
        return [effect.clone() for effect in self._effects if effect.name not in known]


def modules(baseClasses: ModuleType) -> dict[str, ModuleType]:
    """What effects in Python import; ``baseClasses``: the package SegmentEditorEffects, Slicer's own or a stand-in."""
    wrapped = ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    wrapped.__dict__.update({cls.__name__: cls for cls in CLASSES})
    core = ModuleType("vtkSegmentationCorePython")
    core.__dict__.update({name: value for name, value in vars(slicer).items() if name.startswith(("vtkSeg", "vtkOri"))})
    sys.modules[core.__name__] = core  # for good: effects import it at their very end
    return {module.__name__: module for module in (wrapped, baseClasses)}


CLASSES = (
    qSlicerSegmentEditorAbstractEffect,
    qSlicerSegmentEditorScriptedEffect,
    qSlicerSegmentEditorEffectFactory,
)
