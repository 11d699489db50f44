"""What Slicer and the worker say to each other, as bytes; standard library and NumPy alone, for both sides import it.

A frame is one line of JSON, at most 1 MiB::

    {"id": 7, "kind": "segment", "fields": {...}, "arrays": [["volumes.0.array", "int16", [200, 512, 512]]]}

and then the arrays' raw bytes, in C order and little endian, one after the other. Slicer sends requests, whose kind is
what it wants. The worker sends one ``hello`` with id 0 when it starts, and for each request ``progress`` and, in the
end, an ``answer`` or an ``error`` with the request's id. What the fields are is told in :mod:`llmboost.messages`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, BinaryIO

import numpy as np

PROTOCOL = 4
MAX_LINE = 2**20
MAX_AXES = 8
MAX_BYTES = 2**32  # of all arrays of a frame
IDS = range(2**63)
# no bool: most bytes are none
DTYPES = frozenset(
    [*(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]
)

HELLO, PROGRESS, ANSWER, ERROR = "hello", "progress", "answer", "error"


class ProtocolError(Exception):
    """The other side sent something that is no frame, or something that no frame can hold was to be sent."""


class StreamEnded(ProtocolError):
    """The other side is gone, in the middle of a frame."""


@dataclass(frozen=True, eq=False)
class Message:
    """A message: the request that it belongs to, what it is, its fields (JSON values) and its arrays by name."""

    id: int
    kind: str
    fields: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]


def write_message(stream: BinaryIO, message: Message) -> None:
    """Send it to an unbuffered stream; raises ProtocolError as :func:`message_parts`, OSError if nobody listens."""
    for part in message_parts(message):
        while part:
            part = part[stream.write(part) :]


def message_parts(message: Message) -> list[memoryview]:
    """A frame's bytes: the line, then one part an array, without a copy if the array is contiguous.

    Raises:
        ProtocolError: an array's type is not one of DTYPES, a field is no JSON value, or all is too large.
    """
    size = sum(array.nbytes for array in message.arrays.values())
    if size > MAX_BYTES:
        raise ProtocolError(f"{size} bytes of arrays, at most {MAX_BYTES} can be sent")
    arrays = {name: _plain(name, array) for name, array in message.arrays.items()}
    table = [[name, array.dtype.name, array.shape] for name, array in arrays.items()]
    header = {"id": message.id, "kind": message.kind, "fields": message.fields, "arrays": table}
    try:
        line = json.dumps(header, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise ProtocolError(f"the fields cannot be sent ({error})") from error
    if len(line) > MAX_LINE:
        raise ProtocolError(f"{len(line)} bytes of fields, at most {MAX_LINE} can be sent")
    return [memoryview(line), *map(_bytes, arrays.values())]


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.name not in DTYPES:
        raise ProtocolError(f"array '{name}': type {array.dtype} cannot be sent")
    return array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)


def read_message(stream: BinaryIO) -> Message | None:
    """The next frame of a buffered stream; None at its end.

    Raises:
        ProtocolError: no frame, or one with another type or size than allowed; the stream is of no use any more. Sizes
            are checked before memory is taken.
        StreamEnded: a truncated frame.
    """
    line = stream.readline(MAX_LINE)
    if not line:
        return None
    id, kind, fields, table = _parse(line)
    arrays = {}
    for name, dtype, shape in table:
        try:
            arrays[name] = np.empty(shape, np.dtype(dtype).newbyteorder("<"))
        except (MemoryError, ValueError, OverflowError) as error:  # but for the first: no bytes, but axes too long
            raise ProtocolError(f"no memory for array {name[:80]!r} of {prod(shape)} {dtype}") from error
        _fill(stream, _bytes(arrays[name]))
    return Message(id, kind, fields, arrays)


def read_hello(stream: BinaryIO) -> Message | None:
    """The worker's hello, whatever was printed before it (such as a login's banner); None if the stream ends first."""
    while line := stream.readline(MAX_LINE):
        try:
            id, kind, fields, table = _parse(line)
        except ProtocolError:
            continue
        if kind == HELLO and not table:
            return Message(id, kind, fields, {})
    return None


def _parse(line: bytes) -> tuple[int, str, dict[str, Any], list[tuple[str, str, list[int]]]]:
    """Identifier, kind, fields and table of arrays, checked."""
    if not line.endswith(b"\n"):
        if len(line) < MAX_LINE:
            raise StreamEnded("the stream ended within a frame's line")
        raise ProtocolError("a frame's line is too long")
    try:
        header = json.loads(line)
        id, kind, fields, table = (header[key] for key in ("id", "kind", "fields", "arrays"))
        table = [(name, dtype, shape) for name, dtype, shape in table]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ProtocolError(f"not a frame: {line[:80]!r}") from error
    names = [name for name, _, _ in table]
    shapes = [shape for _, _, shape in table]
    if not (
        type(id) is int
        and id in IDS
        and isinstance(kind, str)
        and isinstance(fields, dict)
        and all(isinstance(name, str) for name in names)
        and len(set(names)) == len(names)
        and all(isinstance(shape, list) and len(shape) <= MAX_AXES for shape in shapes)
        and all(type(size) is int and size >= 0 for shape in shapes for size in shape)
    ):
        raise ProtocolError(f"not a frame: {line[:80]!r}")
    for name, dtype, _ in table:
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise ProtocolError(f"array {name[:80]!r}: type {repr(dtype)[:80]} is not allowed")
    size = sum(prod(shape) * np.dtype(dtype).itemsize for _, dtype, shape in table)
    if size > MAX_BYTES:
        # the number itself may have more digits than Python writes
        raise ProtocolError(f"more bytes of arrays announced than the {MAX_BYTES} that are allowed")
    return id, kind, fields, table


def _bytes(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]


def _fill(stream: BinaryIO, view: memoryview) -> None:
    while view:
        count = stream.readinto(view)  # type: ignore[attr-defined]
        if not count:
            raise StreamEnded("the stream ended within a frame")
        view = view[count:]
