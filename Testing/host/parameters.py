"""slicer.parameterNodeWrapper: typed attributes on a vtkMRMLScriptedModuleNode, without the GUI's side.

Types: bool, int, float, str, Enum, and nodes (kept as node references). Validators and defaults as documented.
"""

from __future__ import annotations

import enum
import sys
import types
import typing
from collections.abc import Callable
from typing import Any

import slicer


class WithinRange:
    def __init__(self, minimum: float, maximum: float):
        self.minimum, self.maximum = minimum, maximum

    def validate(self, value: float) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} lies outside {self.minimum}..{self.maximum}")


class Choice:
    def __init__(self, choices: list):
        self.choices = choices

    def validate(self, value: Any) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is none of {self.choices}")


class Default:
    def __init__(self, value: Any):
        self.value = value


class _Parameter:
    """One attribute of a wrapped class."""

    def __init__(self, name: str, hint: Any, default: Any):
        self.name = name
        notes = getattr(hint, "__metadata__", ())
        self.type = _bare(typing.get_args(hint)[0] if notes else hint)
        self.isNode = isinstance(self.type, type) and issubclass(self.type, slicer.vtkMRMLNode)
        self.validators = [note for note in notes if hasattr(note, "validate")]
        defaults = [note.value for note in notes if isinstance(note, Default)]
        self.default = default if default is not None else next(iter(defaults), None)
        if self.default is None and not self.isNode:
            self.default = next(iter(self.type)) if issubclass(self.type, enum.Enum) else self.type()

    def read(self, node: Any) -> Any:
        if self.isNode:
            return node.GetNodeReference(self.name)
        text = node.GetParameter(self.name)
        if self.type is bool:
            return text == "True"
        return self.type[text] if issubclass(self.type, enum.Enum) else self.type(text)

    def write(self, node: Any, value: Any) -> None:
        for validator in self.validators:
            validator.validate(value)
        if self.isNode:
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if isinstance(value, enum.Enum) else str(value))


def _bare(hint: Any) -> Any:
    """The type in ``X | None``."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return next(argument for argument in typing.get_args(hint) if argument is not type(None))
    return hint


def parameterNodeWrapper(cls: type) -> type:
    """A class whose attributes live in the parameter node that its constructor is given."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}

    def init(self: Any, parameterNode: Any) -> None:
        object.__setattr__(self, "parameterNode", parameterNode)
        for name, parameter in parameters.items():
            if not parameter.isNode and not parameterNode.HasParameter(name):
                parameter.write(parameterNode, parameter.default)

    def setAttribute(self: Any, name: str, value: Any) -> None:
        if name not in parameters:
            raise AttributeError(f"{cls.__name__} has no parameter '{name}'")
        object.__setattr__(self, name, value)

    def accessor(parameter: _Parameter) -> property:
        return property(
            lambda self: parameter.read(self.parameterNode),
            lambda self, value: parameter.write(self.parameterNode, value),
        )

    forwarded: dict[str, Callable] = {
        name: lambda self, *arguments, name=name: getattr(self.parameterNode, name)(*arguments)
        for name in ("AddObserver", "RemoveObserver", "Modified", "StartModify", "EndModify")
    }
    members = {name: accessor(parameter) for name, parameter in parameters.items()}
    return type(cls.__name__, (), {**members, **forwarded, "__init__": init, "__setattr__": setAttribute})


def parameterNodeModule() -> None:
    """Make slicer.parameterNodeWrapper importable."""
    module = types.ModuleType("slicer.parameterNodeWrapper")
    names = (parameterNodeWrapper, WithinRange, Choice, Default)
    module.__dict__.update({name.__name__: name for name in names}, __all__=[name.__name__ for name in names])
    sys.modules[module.__name__] = module
    slicer.parameterNodeWrapper = module
