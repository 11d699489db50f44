"""DICOM files as data sets: opened with what is asked for, in bounded memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ..errors import LLMBoostError

# bytes; what stands before the pixels is never longer
_LONGEST_HEADER = 2**26
_PIXELS = 0x7FE0  # the group of elements that they are in

# Values that are too long or hold odd characters are common and harmless; what matters is checked where it is used.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def open_dataset(path: Path, keywords: Sequence[str] | None, *, pixels: int = 0) -> FileDataset:
    """The named elements of a file (all, if None) and, where asked for, its pixels.

    Args:
        pixels: how many bytes they take at most; 0 for none of them.

    Raises:
        LLMBoostError: a deflated file that would take more memory than its image and the longest header.
        Exception: of any kind, from pydicom, at damaged bytes.
    """
    with path.open("rb") as file:
        read_preamble(file, force=True)
        meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            stream = _Inflated(file, _LONGEST_HEADER + pixels, path)
            tags: list[BaseTag | int] | None = None if keywords is None else [Tag(keyword) for keyword in keywords]
            stop = None if pixels else lambda tag, vr, length: tag.group == _PIXELS
            elements = read_dataset(stream, False, True, stop_when=stop, specific_tags=tags)
            dataset = FileDataset(stream, elements, None, FileMetaDataset(meta), False, True)
            dataset.set_original_encoding(False, True, elements._character_set)
            return dataset
    wanted = None if keywords is None else list(keywords)
    return pydicom.dcmread(path, force=True, specific_tags=wanted, stop_before_pixels=not pixels)


class _Inflated(io.BytesIO):
    """What a deflated file holds, inflated as far as it is read: 3 MB of it can make 3 GB."""

    def __init__(self, file: BinaryIO, most: int, path: Path) -> None:
        super().__init__()
        self._file, self._most, self._path = file, most, path
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    def read(self, size: int | None = -1) -> bytes:
        start = self.tell()
        self.seek(0, io.SEEK_END)
        while not self._stream.eof and (size is None or size < 0 or self.tell() < start + size):
            deflated = self._stream.unconsumed_tail or self._file.read(2**16)
            if not deflated:
                break
            self.write(self._stream.decompress(deflated, 2**20))
            if self.tell() > self._most:
                raise LLMBoostError(
                    f"{self._path}: inflates to more than the {self._most >> 20} MB that its image can take; "
                    "a damaged DICOM file, copy or export it again"
                )
        self.seek(start)
        return super().read(size)
