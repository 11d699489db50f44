"""DICOM files as data sets: opened with what is asked for, in bounded memory."""

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag

from ...errors import LLMBoostError

# bytes; what stands before the pixels is never longer
_LONGEST_HEADER = 2**26
_LARGE = 2**20
_PIXELS = 0x7FE0  # the group of elements that they are in

# Values that are too long or hold odd characters are common and harmless; what matters is checked where it is used.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

# of a deflated file, whose syntax is always this one
_read = partial(read_dataset, is_implicit_VR=False, is_little_endian=True)


def open_dataset(
    path: Path, keywords: Sequence[str] | None, pixels: Callable[[Dataset], int] | None = None
) -> FileDataset:
    """The named elements of a file (all, if None) and, where asked for, its pixels.

    Args:
        pixels: gives the bytes that they take at most, from the other elements; None leaves them out.

    Raises:
        LLMBoostError: a deflated file that would take more memory than its image and the longest header.
        Exception: of any kind, from pydicom, at damaged bytes.
    """
    wanted = None if keywords is None else list(_tags(tuple(keywords)))
    with _File(io.FileIO(path)) as file, suppress(_Deflated):
        return pydicom.dcmread(file, force=True, specific_tags=wanted, stop_before_pixels=pixels is None)
    with path.open("rb") as deflated:
        read_preamble(deflated, force=True)
        meta = _read(deflated, stop_when=lambda tag, _vr, _length: tag.group != 2)
        stream = _Inflated(deflated, path)
        elements = _read(stream, stop_when=_at_pixels, specific_tags=wanted)
        if pixels is not None:
            stream.most += pixels(elements)
            stream.seek(0)
            elements = _read(stream, specific_tags=wanted)
    dataset = FileDataset(stream, elements, None, FileMetaDataset(meta), is_implicit_VR=False, is_little_endian=True)
    dataset.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=elements._character_set
    )
    return dataset


@lru_cache
def _tags(keywords: tuple[str, ...]) -> tuple[BaseTag | int, ...]:
    return tuple(Tag(keyword) for keyword in keywords)


def _at_pixels(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag.group == _PIXELS


class _Deflated(Exception):
    """The rest of a file is deflated."""


class _File(io.BufferedReader):
    """A file that pydicom cannot inflate as a whole, the one case in which it reads all that is left; nor does it take
    4 GB for an element that merely says that it is as long."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or size < 0:
            raise _Deflated
        if size > _LARGE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


class _Inflated(io.BytesIO):
    """What a deflated file holds, inflated as far as it is read: 3 MB of it can make 3 GB.

    Attributes:
        most: how many bytes are inflated at most.
    """

    def __init__(self, file: BinaryIO, path: Path) -> None:
        super().__init__()
        self.most = _LONGEST_HEADER
        self._file, self._path = file, path
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        self.seek(0, io.SEEK_END)
        while not self._stream.eof and (size is None or size < 0 or self.tell() < start + size):
            deflated = self._stream.unconsumed_tail or self._file.read(2**16)
            if not deflated:
                break
            self.write(self._stream.decompress(deflated, 2**20))
            if self.tell() > self.most:
                raise LLMBoostError(
                    f"{self._path}: inflates to more than the {self.most >> 20} MB that its image can take; "
                    "a damaged DICOM file, copy or export it again"
                )
        self.seek(start)
        return super().read(size)
