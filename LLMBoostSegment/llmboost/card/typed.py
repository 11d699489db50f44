"""Records made of JSON, as their annotations say."""

from __future__ import annotations

import functools
import math
import typing
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def prepare(hint: Any) -> None:
    """Evaluate the annotations of a dataclass and of all that it holds: nothing is evaluated while a file is read."""
    for one in _hints(typing.cast(type, hint)).values() if is_dataclass(hint) else typing.get_args(hint):
        prepare(one)


def build(hint: Any, value: Any, place: str = "") -> Any:
    """``value``, as JSON has it, as ``hint`` has it: dataclasses of objects, tuples of lists, all the way down.

    Numbers are finite, and neither true nor false is one. Of a dataclass's fields, those with a default may be left
    out, but for tuples and records, which no file was ever written without.

    Raises:
        ValueError: naming the field that is missing, or that is no ``hint``.
        TypeError: a field that the dataclass does not know, or lacks.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if is_dataclass(hint) and isinstance(value, dict):
        return _record(typing.cast(type, hint), value, place)
    if origin is UnionType:  # of one kind and None
        (kind,) = (one for one in arguments if one is not NoneType)
        return None if value is None else build(kind, value, place)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        if len(value) == len(kinds):
            return tuple(build(k, v, place) for k, v in zip(kinds, value, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {key: build(arguments[1], one, place) for key, one in value.items()}
    elif hint is Any or (hint is float and type(value) in (int, float)):
        if _finite(value):
            return value
    elif type(value) is hint:
        return value
    raise ValueError(f"{place}: {str(value)[:40]}")


def _record(kind: type, value: dict[str, Any], place: str) -> Any:
    hints, where = _hints(kind), f"{place}." if place else ""
    for name, hint in hints.items():
        if name not in value and (typing.get_origin(hint) is tuple or is_dataclass(hint)):
            raise ValueError(f"{where}{name} is missing")
    return kind(**{name: build(hints.get(name, Any), one, where + name) for name, one in value.items()})


def _finite(value: Any) -> bool:
    """Whether all numbers in tables and lists are finite."""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list):
        return all(map(_finite, value))
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return not isinstance(value, float) or math.isfinite(value)
