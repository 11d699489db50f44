"""JSON that others wrote: read whole, or refused with one line."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

from .errors import LLMBoostError
from .files import check_regular, printable

MAX_BYTES = 64 * 2**20  # of a file: descriptions and lists of cases take far less


def parse_json(text: str | bytes) -> Any:
    """The value; of bytes, a byte order mark tells the encoding (UTF-8, UTF-16 or UTF-32).

    Raises:
        ValueError: no JSON, or what programs write who do not keep to it: NaN and infinity, half a surrogate pair, a
            name that an object has twice (all readers but this one drop one of the two), brackets without end.
    """
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_number, object_pairs_hook=_object)
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path) -> dict[str, Any]:
    """The object in the file at ``path``.

    Raises:
        LLMBoostError: no such file, too large a one, or no JSON object in it.
    """
    check_regular(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise LLMBoostError(f"{path}: larger than {MAX_BYTES >> 20} MB, which no description is; choose another")
        value = parse_json(path.read_bytes())
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LLMBoostError(f"{path}: no valid JSON ({printable(str(error))})") from error
    if not isinstance(value, dict):
        raise LLMBoostError(f"{path}: a JSON object is expected")
    return value


def append_json(path: Path, entry: dict[str, Any]) -> None:
    """Add a line to a log.

    Raises:
        LLMBoostError: it cannot be written, or is no file of its own: a link would change another, a pipe waits.
    """
    try:
        if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
            raise LLMBoostError(f"{path}: a link, a folder or a device, not a file of its own; remove it")
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be written ({error.strerror}); check the free space") from error


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number")


def _number(text: str) -> float:
    value = float(text)
    return value if abs(value) < float("inf") else _refuse(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"'{next(name for name in names if names.count(name) > 1)}' stands there twice")
    return result
