"""Compressed pixels of DICOM: fragments, and the streams of one frame each that they make up."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

OFFSETS = ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"  # what fragments begin and end with
_JPEG, _JPEG_2000 = b"\xff\xd8\xff", b"\xff\x4f\xff\x51"
# JPEG's markers that tell an image's size
_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}


def are_fragments(data: bytes) -> bool:
    """Whether these are items one after the other, which only compressed pixels are; some writers tell their length."""
    place = 0
    while data[place : place + 4] == _ITEM:
        place += 8 + int.from_bytes(data[place + 4 : place + 8], "little")
    return place > 0 and data[place : place + 4] in (b"", b"\0\0", _END)


def is_stream(data: bytes) -> bool:
    """Whether this begins as JPEG, JPEG-LS or JPEG 2000 does."""
    return data.startswith((_JPEG, _JPEG_2000))


def streams_of(dataset: Dataset, frames: int, rows: int, columns: int) -> list[bytes]:
    """The streams of the frames in PixelData: there may be several fragments a frame.

    Raises:
        ValueError: there are not as many, or one says that it is larger, which would take the memory that it says.
    """
    offsets = tuple(dataset[keyword].value for keyword in OFFSETS if keyword in dataset)
    table = (offsets[0], offsets[1]) if len(offsets) == 2 else None
    streams = list(generate_frames(dataset.PixelData, number_of_frames=frames, extended_offsets=table))
    if len(streams) != frames:
        raise ValueError(f"{len(streams)} frames, not {frames}")
    for stream in streams:
        high, wide = _size(stream)
        if high > rows or wide > columns:
            raise ValueError(f"a stream of {high} x {wide} pixels, not {rows} x {columns}")
    return streams


def _size(stream: bytes) -> tuple[int, int]:
    """Rows and columns, as a stream tells them; zeros if it does not."""

    def number(place: int, size: int) -> int:
        return int.from_bytes(stream[place : place + size], "big")

    start = stream.find(_JPEG_2000, 0, 256)  # some have a file's header before
    if start >= 0:
        return number(start + 12, 4) - number(start + 20, 4), number(start + 8, 4) - number(start + 16, 4)
    place = 2
    while stream.startswith(_JPEG) and place + 4 <= len(stream):
        if stream[place] != 0xFF or stream[place + 1] == 0xFF:  # fill bytes
            place += 1
        elif stream[place + 1] in _SIZES:
            return number(place + 5, 2), number(place + 7, 2)
        else:
            place += 2 + number(place + 2, 2)
    return 0, 0
