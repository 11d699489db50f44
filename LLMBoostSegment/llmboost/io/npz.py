"""Arrays of .npz files, read only as far as they are what they claim to be."""

from __future__ import annotations

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ..errors import LLMBoostError
from ..files import check_regular, printable
from ..machine import GB, total_memory

SHARE = 0.5  # of this machine's memory
# images do not shrink so much; what unpacks to more than a gigabyte and so many times its size was made to do so
BOMB = 500

# all that reading a damaged file may raise
_DAMAGE = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


def read_arrays(path: Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Those of the arrays ``names`` that the file has.

    Raises:
        LLMBoostError: no .npz file, a damaged one, arrays of Python's objects (reading them runs what they say), or
            more than this machine's memory takes.
    """
    if path.exists() and not path.is_file():  # a pipe waits
        check_regular(path)
    try:
        with zipfile.ZipFile(path) as file:
            entries = {name: file.getinfo(f"{name}.npy") for name in names if f"{name}.npy" in file.NameToInfo}
            size = sum(_claimed(file, entry) for entry in entries.values())
            limit = SHARE * (total_memory() or np.inf)
            if size > limit or size > max(GB, BOMB * path.stat().st_size):
                raise LLMBoostError(
                    f"{path}: unpacks to {size / GB:.1f} GB, more than its size or this machine's memory allow;"
                    " give fewer images"
                )
            arrays = {}
            for name, entry in entries.items():
                with file.open(entry) as stream:
                    arrays[name] = npy.read_array(stream, allow_pickle=False)
            return arrays
    except MemoryError as error:
        raise LLMBoostError(f"{path}: does not fit into the memory that is left; give fewer images") from error
    except _DAMAGE as error:
        raise LLMBoostError(
            f"{path}: cannot be read ({printable(str(error))}); a MedMNIST .npz file is expected"
        ) from error


def _claimed(file: zipfile.ZipFile, entry: zipfile.ZipInfo) -> int:
    """The bytes that an array takes by its own header; raises ValueError if the file has fewer."""
    with file.open(entry) as stream:
        version = npy.read_magic(stream)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError(f"{entry.filename} holds Python's objects, not numbers")
    if any(type(length) is not int or length < 0 for length in shape):
        raise ValueError(f"{entry.filename} has no shape")
    size = prod(shape) * dtype.itemsize
    if size > entry.file_size:
        raise ValueError(f"{entry.filename} claims {size} bytes and has {entry.file_size}")
    return size
