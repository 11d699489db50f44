"""slicer.parameterNodeWrapper: typed attributes on a vtkMRMLScriptedModuleNode, bound to widgets by their
dynamic property SlicerParameterName.

Types: bool, int, float, str, pathlib.Path, Enum and nodes (also ``node class | None``), with validators and defaults.
Stricter than Slicer in one point: an attribute that is no parameter cannot be set.
"""

from __future__ import annotations

import enum
import sys
import types
import typing
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import slicer
import vtk

from . import annotations, connectors
from .annotations import Default

PROPERTY = "SlicerParameterName"


class Parameter:
    """One attribute of a wrapped class.

    Raises:
        TypeError: there is no stand-in for parameters of that type.
    """

    def __init__(self, name: str, hint: Any, owner: type):
        self.name = name
        self.notes = getattr(hint, "__metadata__", ())
        self.type = _bare(typing.get_args(hint)[0] if self.notes else hint)
        if not isinstance(self.type, type) or not issubclass(
            self.type, bool | int | float | str | Path | enum.Enum | slicer.vtkMRMLNode
        ):
            raise TypeError(f"there is no stand-in for parameters such as {name}: {hint}")
        self.isNode = issubclass(self.type, slicer.vtkMRMLNode)
        self.validators = [note for note in self.notes if hasattr(note, "validate")]
        noted = self.note(Default)
        self.default = getattr(owner, name) if hasattr(owner, name) else noted.value if noted else self._empty()

    def note(self, kind: type) -> Any:
        return next((note for note in self.notes if isinstance(note, kind)), None)

    def _empty(self) -> Any:
        if self.isNode:
            return None
        return next(iter(self.type)) if issubclass(self.type, enum.Enum) else self.type()

    def read(self, node: Any) -> Any:
        """The value; a node that has lost it, as when the scene is closed, gets the default."""
        if not node.HasParameter(self.name):
            self.write(node, self.default)
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.type is bool:
            return text == "True"
        return self.type[text] if issubclass(self.type, enum.Enum) else self.type(text)

    def write(self, node: Any, value: Any) -> None:
        if value is None and not self.isNode:
            raise ValueError(f"{self.name} must not be None")
        accepted = (int, float) if self.type is float else self.type
        if value is not None and not isinstance(value, accepted):
            raise TypeError(f"{self.name} takes {self.type.__name__}, not {value!r}")
        for validator in self.validators:
            validator.validate(value)
        if self.isNode:
            node.SetParameter(self.name, "")  # tells that it was set, for None is a value
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))


def _bare(hint: Any) -> Any:
    """The node class in ``node class | None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        kinds = [argument for argument in typing.get_args(hint) if argument is not type(None)]
        if len(kinds) == 1 and issubclass(kinds[0], slicer.vtkMRMLNode):
            return kinds[0]
    return hint


class _Wrapper:
    """What every wrapped class can do."""

    allParameters: typing.ClassVar[dict[str, Parameter]]
    parameterNode: Any

    def __init__(self, parameterNode: Any):
        hold = self.__dict__
        hold.update(parameterNode=parameterNode, _values={}, _guis={}, _tags={}, _count=0, _writing=False)
        self._readAll()
        # As in Slicer, values are kept, and read again when the node tells that it changed, until nobody needs this.
        weak = weakref.ref(self)
        hold["_observer"] = parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: weak()._readAll())

    def __del__(self) -> None:
        if "_observer" in self.__dict__:
            self.parameterNode.RemoveObserver(self.__dict__["_observer"])

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.allParameters:
            raise AttributeError(f"{type(self).__name__} has no parameter '{name}'")
        self.setValue(name, value)

    def _readAll(self) -> None:
        for name, parameter in self.allParameters.items():
            self.__dict__["_values"][name] = parameter.read(self.parameterNode)

    def _known(self, name: str) -> Parameter:
        if name not in self.allParameters:
            raise ValueError(f"there is no parameter {name} among {list(self.allParameters)}")
        return self.allParameters[name]

    def getValue(self, name: str) -> Any:
        self._known(name)
        return self.__dict__["_values"][name]

    def setValue(self, name: str, value: Any) -> None:
        parameter = self._known(name)
        with slicer.util.NodeModify(self.parameterNode):
            parameter.write(self.parameterNode, value)
            self.__dict__["_values"][name] = parameter.read(self.parameterNode)

    def default(self, name: str) -> Default:
        return Default(self._known(name).default)

    def connectGui(self, gui: Any) -> int:
        """Bind all widgets of ``gui`` (a widget, or an object whose attributes are widgets); the tag to unbind them."""
        if getattr(gui, "isWidgetType", lambda: False)():
            import qt

            widgets = gui.findChildren(qt.QWidget)
        else:
            widgets = gui.__dict__.values()
        named = {widget.property(PROPERTY): widget for widget in widgets if widget.property(PROPERTY)}
        return self.connectParametersToGui(named)

    def connectParametersToGui(self, mapping: dict[str, Any]) -> int:
        for name in mapping:
            self._known(name)
        bound = {name: connectors.connector(widget, self.allParameters[name]) for name, widget in mapping.items()}
        hold = self.__dict__
        tag = hold["_count"]
        hold["_count"] += 1
        hold["_guis"][tag] = bound
        for name, connector in bound.items():
            connector.write(self.getValue(name))
            connector.onChanged(lambda name=name, connector=connector: self._readWidget(name, connector))
        hold["_tags"][tag] = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._writeWidgets())
        return tag

    def disconnectGui(self, tag: int) -> None:
        for connector in self.__dict__["_guis"].pop(tag, {}).values():
            connector.onChanged(None)
        if tag in self.__dict__["_tags"]:
            self.RemoveObserver(self.__dict__["_tags"].pop(tag))

    def _readWidget(self, name: str, connector: Any) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            if not self.__dict__["_writing"]:
                self.setValue(name, connector.read())

    def _writeWidgets(self) -> None:
        if self.__dict__["_writing"]:
            return
        self.__dict__["_writing"] = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for bound in self.__dict__["_guis"].values():
                    for name, connector in bound.items():
                        connector.write(self.getValue(name))
        finally:
            self.__dict__["_writing"] = False

    def AddObserver(self, event: Any, callback: Callable, priority: float = 0.0) -> int:
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def StartModify(self) -> int:
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified: int) -> int:
        return self.parameterNode.EndModify(wasModified)

    def Modified(self) -> None:
        self.parameterNode.Modified()


def parameterNodeWrapper(cls: type) -> type:
    """A class whose attributes live in the parameter node that its constructor is given.

    Raises:
        ValueError: a parameter has a name that the wrapper uses itself.
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    taken = sorted(set(hints) & {name for name in dir(_Wrapper) if not name.startswith("_")})
    if taken:
        raise ValueError(f"reserved names: {', '.join(taken)}")
    parameters = {name: Parameter(name, hint, cls) for name, hint in hints.items()}
    members = {name: property(lambda self, name=name: self.getValue(name)) for name in parameters}
    own = {name: value for name, value in vars(cls).items() if name not in parameters and not name.startswith("__")}
    return type(cls.__name__, (_Wrapper,), {**own, **members, "allParameters": parameters, "__doc__": cls.__doc__})


def parameterNodeModule() -> None:
    """Make slicer.parameterNodeWrapper importable."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    names = {"parameterNodeWrapper": parameterNodeWrapper, "SlicerParameterNamePropertyName": PROPERTY}
    names |= {name: getattr(annotations, name) for name in annotations.__all__}
    module.__dict__.update(names, __all__=list(names))
    sys.modules[module.__name__] = module
    slicer.parameterNodeWrapper = module
