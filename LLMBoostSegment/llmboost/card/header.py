"""A model file's header, which holds the card: read, checked and replaced without torch."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import LLMBoostError
from ..files import check_regular, printable, write_whole
from .card import Card

METADATA_KEY = "llmboost_card"
MAX_HEADER_BYTES = 16 * 2**20


def read_card(path: str | Path) -> Card:
    """The card of the model file at ``path``; the weights are not read.

    Raises:
        LLMBoostError: the file is missing, truncated, no safetensors file, or not a LLMBoost model.
    """
    path = Path(path)
    metadata = read_header(path).get("__metadata__")
    text = metadata.get(METADATA_KEY) if isinstance(metadata, dict) else None
    if not isinstance(text, str):
        raise LLMBoostError(f"{path}: a safetensors file, but not a LLMBoost model (it carries no card)")
    return Card.from_json(text, str(path))


def write_card(path: Path, card: Card) -> None:
    """Give the model file at ``path`` another card; its tensors, and hence its digest, stay.

    Raises:
        LLMBoostError: no model file, or one with other tensors than the card's digest says.
    """
    header = read_header(path)
    if tensor_digest(path) != card.digest:
        raise LLMBoostError(f"{path}: the card belongs to other weights")
    header["__metadata__"] = {METADATA_KEY: card.to_json()}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors are aligned
    with path.open("rb") as file:
        start = _header(file, path)[1]
        file.seek(start)
        tensors = file.read()
    write_whole(path, struct.pack("<Q", len(text)) + text + tensors)


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, checked against the file's size."""
    check_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header, start = _header(file, path)
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror or error})") from error
    try:
        ends = [_place(entry)[1] for key, entry in header.items() if key != "__metadata__"]
    except (TypeError, KeyError, ValueError) as error:
        raise LLMBoostError(f"{path}: damaged model file (its table of tensors cannot be read)") from error
    expected = start + max(ends, default=0)
    if size != expected:
        raise LLMBoostError(f"{path}: damaged model file ({size} bytes, {expected} expected); copy it again")
    return header


def _place(entry: dict[str, Any]) -> tuple[int, int]:
    """Where a tensor's first byte lies, and the one after its last, from the end of the header on."""
    low, high = entry["data_offsets"]
    if not (type(low) is type(high) is int and 0 <= low <= high and isinstance(entry["dtype"], str)):
        raise ValueError(f"a tensor from {low} to {high}")
    return low, high


def _header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    prefix = file.read(8)
    length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise LLMBoostError(f"{path}: not a model file (.safetensors expected)")
    body = file.read(length)
    try:
        header = json.loads(body.decode())  # of bytes, json would take UTF-16, too
    except (ValueError, RecursionError) as error:
        raise LLMBoostError(f"{path}: not a model file, or a truncated one (.safetensors expected)") from error
    if len(body) != length or not isinstance(header, dict):
        raise LLMBoostError(f"{path}: not a model file, or a truncated one (.safetensors expected)")
    return header, 8 + length


def check_weights(path: Path, card: Card) -> None:
    """Raises LLMBoostError unless the file's tensors are those that its card was written with, and finite numbers."""
    if tensor_digest(path) != card.digest:
        raise LLMBoostError(f"{path}: damaged model file (its digest does not match its weights); copy it again")
    if broken := _not_finite(path):
        raise LLMBoostError(
            f"{path}: holds weights that are no numbers (NaN or infinite, in {printable(broken)}): a training that"
            " failed; train it again"
        )


def tensor_digest(path: Path) -> str:
    """SHA-256 (hex) of the tensor section of the safetensors file at ``path``."""
    with path.open("rb") as file:
        _header(file, path)
        digest = hashlib.sha256()
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def _not_finite(path: Path) -> str:
    """The name of a tensor with a value that is NaN or infinite: all bits of its exponent are set."""
    import numpy as np  # not above: a card alone is read without

    exponents = {"F16": (np.uint16, 0x7C00), "BF16": (np.uint16, 0x7F80), "F32": (np.uint32, 0x7F800000)}
    with path.open("rb") as file:
        header, start = _header(file, path)
        for name, entry in header.items():
            if name == "__metadata__" or entry["dtype"] not in exponents:
                continue
            kind, exponent = exponents[entry["dtype"]]
            low, high = _place(entry)
            file.seek(start + low)
            width = np.dtype(kind).itemsize
            values = np.frombuffer(file.read((high - low) // width * width), kind)
            if ((values & exponent) == exponent).any():
                return str(name)
    return ""
