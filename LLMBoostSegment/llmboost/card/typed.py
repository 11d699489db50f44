"""Whether records that were read from a file hold what their annotations say."""

from __future__ import annotations

import functools
import math
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def check_types(record: Any, name: str = "") -> None:
    """Check each field of a dataclass, all the way down: numbers are finite, and neither true nor false is one.

    Raises:
        ValueError: naming the field.
    """
    hints = _hints(type(record))  # type: ignore[arg-type]  # types can be hashed
    for field in fields(record):
        place = f"{name}.{field.name}" if name else field.name
        value = getattr(record, field.name)
        if not _fits(value, hints[field.name], place):
            raise ValueError(f"{place}: {str(value)[:40]}")


def _fits(value: Any, hint: Any, place: str) -> bool:
    if hint is Any:
        return _finite(value)
    if is_dataclass(hint):
        if not isinstance(value, typing.cast(type, hint)):
            return False
        check_types(value, place)
        return True
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        return any(_fits(value, one, place) for one in arguments)
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        kinds = arguments[:1] * len(value) if arguments[1:] == (...,) else arguments
        return len(value) == len(kinds) and all(_fits(v, k, place) for v, k in zip(value, kinds, strict=True))
    if origin is dict:
        return isinstance(value, dict) and all(_fits(one, arguments[1], place) for one in value.values())
    if hint is float:
        return type(value) in (int, float) and _finite(value)
    return type(value) is hint


def _finite(value: Any) -> bool:
    """Whether all numbers in tables and lists are finite."""
    if isinstance(value, dict):
        return all(map(_finite, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_finite, value))
    if isinstance(value, int):
        return -(2**63) <= value < 2**64
    return not isinstance(value, float) or math.isfinite(value)
