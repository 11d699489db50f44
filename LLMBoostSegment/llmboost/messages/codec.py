"""From dataclasses to what a frame holds, and back, by the type hints alone.

A request's class tells the class of its answer. A message that fits its class on one side fits it on the other; what
does not fit is refused in one line.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import numpy as np

from ..card import Card
from ..errors import LLMBoostError
from ..files import printable
from ..wire import ANSWER, Message

Name = Annotated[str, "not empty"]
_EXPECTED = {str: "text", bool: "true or false", int: "a number without a fraction", float: "a number"}


class Sent:
    """A message; ``sent_as`` is its kind on the wire."""

    sent_as: ClassVar[str] = ""


class Answer(Sent):
    """What a request gives."""

    sent_as = ANSWER


A = TypeVar("A", bound=Answer)
T = TypeVar("T")


class Request(Sent, Generic[A]):
    """What is asked for, to be answered by an ``A``."""

    def __init_subclass__(cls, sent_as: str = "", **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.sent_as = sent_as

    @classmethod
    def answer(cls) -> type[A]:
        """The class of its answer."""
        bases: tuple[Any, ...] = cls.__orig_bases__  # type: ignore[attr-defined]
        answers: list[type[A]] = [arguments[0] for base in bases if (arguments := typing.get_args(base))]
        return answers[0]


def to_message(id: int, record: Sent, kind: str = "") -> Message:
    """The frame of a dataclass; ``kind`` where it is another one than the class's own."""
    fields, arrays = to_parts(record)
    return Message(id, kind or record.sent_as, fields, arrays)


def to_parts(record: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """JSON values and arrays of a dataclass. An array is named by its place, and its name stands there."""
    arrays: dict[str, np.ndarray] = {}

    def plain(value: Any, place: str) -> Any:
        if isinstance(value, np.ndarray):
            arrays[place] = value
            return place
        if isinstance(value, Card):
            return json.loads(value.to_json())
        if isinstance(value, list | tuple):
            return [plain(one, f"{place}.{number}") for number, one in enumerate(value)]
        if isinstance(value, dict):
            return {key: plain(one, f"{place}.{key}") for key, one in value.items()}
        if dataclasses.is_dataclass(value):
            names = [field.name for field in dataclasses.fields(value)]
            return {name: plain(getattr(value, name), f"{place}.{name}" if place else name) for name in names}
        return value

    return plain(record, ""), arrays


def from_message(kind: type[T], message: Message) -> T:
    """The dataclass that a frame holds.

    Raises:
        LLMBoostError: it holds something else.
    """
    return from_parts(kind, message.fields, message.arrays)


def from_parts(kind: type[T], fields: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> T:
    """The inverse of :func:`to_parts`; raises LLMBoostError as :func:`from_message`."""
    what = "request" if issubclass(kind, Request) else "answer"
    return typing.cast(T, _Reader(what, arrays or {}).record(kind, fields, ""))


def sensible(kind: type[T], message: Message) -> T:
    """What makes sense of a stranger's words: a field that is malformed takes its default, a text is "?"."""
    hints, reader = _hints(typing.cast(Any, kind)), _Reader("message", message.arrays)
    values = {}
    for name in message.fields.keys() & hints.keys():
        try:
            values[name] = reader.value(hints[name], message.fields[name], name)
        except LLMBoostError:
            if hints[name] is str:
                values[name] = "?"
    return kind(**values)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


class _Reader:
    """Checks values against type hints; ``what`` and a place name them in what is raised."""

    def __init__(self, what: str, arrays: Mapping[str, np.ndarray]) -> None:
        self._what, self._arrays = what, arrays

    def record(self, kind: type, raw: Any, place: str) -> Any:
        if not isinstance(raw, Mapping):
            raise self._refusal(raw, place, "a table")
        hints, start = _hints(kind), f"{place}." if place else ""
        for name in raw:
            if name not in hints:
                raise LLMBoostError(f"the {self._what} has '{start}{printable(str(name))}', which nobody knows")
        for field in dataclasses.fields(kind):
            required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
            if required and field.name not in raw:
                raise LLMBoostError(f"the {self._what} lacks '{start}{field.name}'")
        return kind(**{name: self.value(hints[name], one, start + name) for name, one in raw.items()})

    def value(self, hint: Any, raw: Any, place: str) -> Any:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return raw
        if hint is Card:
            return Card.from_json(json.dumps(raw), f"the {self._what}'s {place}")
        if dataclasses.is_dataclass(hint):
            return self.record(typing.cast(type, hint), raw, place)
        if origin is Annotated:
            if not raw:
                raise LLMBoostError(f"the {self._what} lacks '{place}'")
            return self.value(arguments[0], raw, place)
        if origin is types.UnionType:
            return self._one_of(arguments, raw, place)
        if origin is tuple:
            return self._tuple(arguments, raw, place)
        if origin is dict:
            if not isinstance(raw, dict):
                raise self._refusal(raw, place, "a table")
            return {key: self.value(arguments[1], one, f"{place}.{key}") for key, one in raw.items()}
        if hint is np.ndarray:
            if not isinstance(raw, str) or raw not in self._arrays:
                raise LLMBoostError(f"the {self._what}'s '{place}' cannot be used (its array is missing)")
            return self._arrays[raw]
        return self._scalar(hint, raw, place)

    def _one_of(self, hints: tuple[Any, ...], raw: Any, place: str) -> Any:
        """Of an optional value, or of classes that differ in their fields."""
        rest = [hint for hint in hints if hint is not types.NoneType]
        if raw is None and len(rest) < len(hints):
            return None
        for hint in rest[:-1]:
            with suppress(LLMBoostError):
                return self.value(hint, raw, place)
        return self.value(rest[-1], raw, place)

    def _tuple(self, hints: tuple[Any, ...], raw: Any, place: str) -> tuple[Any, ...]:
        endless = hints[1:] == (...,)
        if not isinstance(raw, list) or (not endless and len(raw) != len(hints)):
            raise self._refusal(raw, place, "a list" if endless else f"a list of {len(hints)}")
        kinds = hints[:1] * len(raw) if endless else hints
        return tuple(self.value(kinds[number], one, f"{place}.{number}") for number, one in enumerate(raw))

    def _scalar(self, hint: type, raw: Any, place: str) -> Any:
        if issubclass(hint, StrEnum):
            if isinstance(raw, str) and raw in list(hint):
                return hint(raw)
            raise self._refusal(raw, place, f"one of {', '.join(hint)}")
        if hint is float and type(raw) is int:
            with suppress(OverflowError):
                return float(raw)
        if type(raw) is hint:
            return raw
        raise self._refusal(raw, place, _EXPECTED[hint])

    def _refusal(self, raw: Any, place: str, expected: str) -> LLMBoostError:
        given = printable(repr(raw))
        return LLMBoostError(f"{place} is {given}, but the {self._what}'s '{place}' must be {expected}")
