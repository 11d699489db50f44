"""What is checked of an image file before ITK reads it.

ITK believes headers. It fills a truncated NIfTI with zeros, and a MetaImage whose compressed voxels are damaged with
memory that nobody wrote; it crashes on a pattern of file names (a format string), on a long line or many axes of an
NRRD, never comes back from a negative number of axes, asks for terabytes, and opens whatever file a detached header
names. So a file is read to its end here first, in pieces, and refused unless its header is sane and all its voxels are
there.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, prod
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from ..errors import LLMBoostError
from ..files import check_regular, printable
from . import nifti, spaces

NOT_FINITE = "holds NaN or infinite voxels; replace them by numbers"
AGAIN = "copy or export it again"
SAVE_AS = "open it in 3D Slicer and save it as .nrrd"

MAX_AXES = 5  # ITK's own limit
_MAX_HEADER = 2**24
_MAX_FIELD = 500  # characters, of an NRRD
_PIECE = 2**22
_PADDING = 512  # what a file may hold beyond its voxels, such as a filled-up last block

# bytes a voxel
_NRRD_TYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(
        ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t", "float"), 4
    ),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "uint64", "uint64_t", "double"), 8),
}
_META_TYPES = {
    **dict.fromkeys(("MET_CHAR", "MET_UCHAR"), 1),
    **dict.fromkeys(("MET_SHORT", "MET_USHORT"), 2),
    **dict.fromkeys(("MET_INT", "MET_UINT", "MET_LONG", "MET_ULONG", "MET_FLOAT"), 4),
    **dict.fromkeys(("MET_LONG_LONG", "MET_ULONG_LONG", "MET_DOUBLE"), 8),
}
_META_PLACE = ("Offset", "Position", "Origin", "TransformMatrix", "Rotation", "Orientation")


_NRRD = (".nrrd", ".nhdr")
_SPACE = {"domain", "space", "time"}  # kinds of axes that hold no components


@dataclass(frozen=True)
class _Voxels:
    """Where a header says that the voxels are.

    Attributes:
        file: the header's own file or another one.
        start: position of the first byte in the file, compressed or not; before the file's begin if it is too short.
        size: bytes of all voxels, decompressed.
        compression: of the bytes from ``start`` on.
        skip: decompressed bytes before the first voxel.
        stored: the number of compressed bytes, of "zlib".
        floating: the voxels' type, where NaN must be found here because ITK replaces it.
    """

    file: Path
    start: int
    size: int
    compression: Literal["none", "gzip", "zlib"] = "none"
    skip: int = 0
    stored: int = 0
    floating: np.dtype | None = None


def check_image_file(path: Path) -> None:
    """Refuse a NIfTI-1, NRRD or MetaImage file that ITK would misread, or could not read without harm.

    Raises:
        LLMBoostError: the file is missing or no regular file, not of the format that its name says, damaged, of
            another size than its header says, or its voxels lie in a file that is not beside it.
    """
    _read_through(path, lambda piece: None)


def read_checked(path: Path) -> bytearray:
    """The voxels' bytes, decompressed, of a file that is checked while it is read; raises as :func:`check_image_file`,
    and MemoryError."""
    data = bytearray()  # that grows as bytes come: a header may promise terabytes
    _read_through(path, data.extend)
    return data


def _read_through(path: Path, keep: Callable[[bytes], object]) -> None:
    check_regular(path)
    name = path.name.lower()
    format, read_header = next(entry for ends, entry in _FORMATS.items() if name.endswith(ends))
    try:
        voxels = read_header(path)
        _check_voxels(path, voxels, keep)
    except (OSError, EOFError, zlib.error, struct.error, ValueError, LookupError, OverflowError) as error:
        raise LLMBoostError(f"{path}: not a {format} file, or a damaged one; {AGAIN}") from error


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that hold an image: the one that is named and, beside a detached header, that of its voxels.

    Raises:
        LLMBoostError: one of them is missing or no regular file, or the header leads to none.
    """
    check_regular(path)
    name = path.name.lower()
    for ends, (_, read_header) in _FORMATS.items():
        if name.endswith(ends):
            try:
                return tuple(dict.fromkeys((path, read_header(path).file)))
            except (OSError, EOFError, zlib.error, struct.error, ValueError, LookupError, OverflowError):
                pass  # reading it will tell
    return (path,)


def bad_spacing(spacing: Sequence[float] | np.ndarray) -> str:
    values = ", ".join(f"{s:g}" for s in spacing)
    return f"its header gives the voxel spacing as ({values}) mm; correct it (in Slicer: module Volumes)"


def _check_voxels(path: Path, voxels: _Voxels, keep: Callable[[bytes], object]) -> None:
    if voxels.start < 0:
        raise LLMBoostError(
            f"{path}: truncated ({voxels.size + voxels.start} of {voxels.size} bytes of voxels); {AGAIN}"
        )
    found, finite, rest = -voxels.skip, True, b""
    with voxels.file.open("rb") as file:
        for piece in _pieces(file, voxels):  # to the end: a compressed stream ends with a checksum
            inside = piece[max(-found, 0) : max(voxels.size - found, 0)]
            keep(inside)
            if voxels.floating is not None:
                wanted = rest + inside
                whole = len(wanted) - len(wanted) % voxels.floating.itemsize
                finite = finite and bool(np.isfinite(np.frombuffer(wanted[:whole], voxels.floating)).all())
                rest = wanted[whole:]
            found += len(piece)
            if found >= voxels.size + _PADDING:
                raise LLMBoostError(f"{path}: holds more voxels than its header says; {AGAIN}")
    if found < voxels.size:
        raise LLMBoostError(f"{path}: truncated ({max(found, 0)} of {voxels.size} bytes of voxels); {AGAIN}")
    if not finite:
        raise LLMBoostError(f"{path}: {NOT_FINITE}")


def _pieces(file: BinaryIO, voxels: _Voxels) -> Iterator[bytes]:
    """The bytes from ``voxels.start`` on, decompressed."""
    file.seek(voxels.start)
    if voxels.compression == "zlib":
        # 47: zlib's or gzip's input_region, as MetaImage takes both
        stream, left = zlib.decompressobj(47), voxels.stored
        while not stream.eof:
            compressed = stream.unconsumed_tail or file.read(min(left, _PIECE))
            left -= 0 if stream.unconsumed_tail else len(compressed)
            if not compressed:
                raise EOFError("the compressed voxels end early")
            yield stream.decompress(compressed, _PIECE)
        return
    if voxels.compression == "gzip":
        yield from nifti.gunzip(file)
        return
    while piece := file.read(_PIECE):
        yield piece


def _rest(file: BinaryIO) -> int:
    """The number of bytes after the file's position."""
    here = file.tell()
    end = file.seek(0, 2)
    file.seek(here)
    return end - here


def _nifti(path: Path) -> _Voxels:
    header = nifti.read_header(path)
    sizes, rank = header.sizes, header.forms.rank
    dtype = np.dtype(header.order + nifti.TYPES[header.type])
    size = _bytes(path, len(sizes), sizes, dtype.itemsize * nifti.COLORS.get(header.type, 1))
    spacing = header.forms.pixdim[1 : 1 + rank]
    if not all(0 < s < inf for s in spacing):  # which ITK reads as 1 mm
        raise LLMBoostError(f"{path}: {bad_spacing(spacing)}")
    floating = dtype if dtype.kind == "f" else None
    if header.zipped:
        return _Voxels(path, 0, size, "gzip", skip=header.start, floating=floating)
    return _Voxels(path, header.start, size, floating=floating)


def read_fields(path: Path) -> dict[str, str]:
    """The fields of the header of an NRRD (their names in small letters, without spaces) or a MetaImage."""
    with path.open("rb") as file:
        return _nrrd_fields(file) if path.name.lower().endswith(_NRRD) else _meta_fields(file)


def is_big_endian(fields: Mapping[str, str]) -> bool:
    """Whether the voxels of an NRRD or a MetaImage are."""
    if "encoding" in fields:
        return fields.get("endian", "").lower() == "big"
    return _is_true(fields, "BinaryDataByteOrderMSB") or _is_true(fields, "ElementByteOrderMSB")


def is_in_order(fields: Mapping[str, str]) -> bool:
    """Whether the components of a voxel lie together in an NRRD or a MetaImage, so that ITK moves none."""
    first, *others = fields.get("kinds", "domain").split() or [""]
    return first in (*_SPACE, "list", "vector", "RGB-color", "RGBA-color") and set(others) <= _SPACE


def _is_true(fields: Mapping[str, str], name: str) -> bool:
    return fields.get(name, "False")[:1] in ("T", "t", "1")


def _nrrd_fields(file: BinaryIO) -> dict[str, str]:
    fields: dict[str, str] = {}
    if not file.readline(16).startswith(b"NRRD000"):
        raise ValueError("not NRRD")
    for line in _lines(file):
        if not line:
            break
        key, free_text, _ = line.partition(":=")
        if free_text or key.startswith("#"):
            continue
        if len(key) > _MAX_FIELD:
            raise ValueError("a field that is too long for ITK's NRRD reader, which crashes")
        key, _, value = key.partition(":")
        fields.setdefault(key.lower().replace(" ", ""), value.strip())
    return fields


def _meta_fields(file: BinaryIO) -> dict[str, str]:
    fields: dict[str, str] = {}
    for line in _lines(file):
        key, *values = re.split(r"\s*[=:]\s*", line, maxsplit=1)
        fields.setdefault(key, "".join(values))
        if key == "ElementDataFile":
            break
    return fields


def _nrrd(path: Path) -> _Voxels:
    with path.open("rb") as file:
        fields = _nrrd_fields(file)
        start = file.tell()
    sizes = [int(word) for word in fields["sizes"].split()]
    size = _bytes(path, int(fields["dimension"]), sizes, _NRRD_TYPES[fields["type"].lower()])
    compression: Literal["none", "gzip"]
    match fields["encoding"].lower():
        case "raw":
            compression = "none"
        case "gzip" | "gz":
            compression = "gzip"
        case other:
            raise LLMBoostError(
                f"{path}: its voxels are stored in a way that is not read ({printable(other)}); {SAVE_AS}"
            )
    _check_nrrd_spacing(path, fields, len(sizes))
    spaces.check_nrrd(path, fields, len(sizes))
    file_name = fields.get("datafile")
    data = path if file_name is None else _beside(path, file_name)
    if file_name is not None:
        start = 0
    skip = int(fields.get("byteskip", "0"))
    if int(fields.get("lineskip", "0")) or skip < -1 or (skip and compression != "none"):
        raise LLMBoostError(f"{path}: its voxels lie behind other data; {SAVE_AS}")
    start = data.stat().st_size - size if skip == -1 else start + skip
    return _Voxels(data, start, size, compression)


def _check_nrrd_spacing(path: Path, fields: dict[str, str], axes: int) -> None:
    """NaN stands for what is unknown: of an axis of colors that is right, of one in space ITK makes 1 mm."""
    spacing = [float(word) for word in fields.get("spacings", "").split()]
    kinds = fields.get("kinds", "domain " * axes).split()
    in_space = [s for s, kind in zip(spacing, kinds, strict=False) if kind in ("domain", "space", "???", "none")]
    if any(s != s for s in in_space):
        raise LLMBoostError(f"{path}: {bad_spacing(in_space)}")


def _metaimage(path: Path) -> _Voxels:
    with path.open("rb") as file:
        fields = _meta_fields(file)
        start, left = file.tell(), _rest(file)
    sizes = [int(word) for word in fields["DimSize"].split()]
    voxel = _META_TYPES[fields["ElementType"]]
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    if channels < 1:
        raise ValueError("no channels")
    place = " ".join(fields.get(name, "") for name in _META_PLACE)
    if not all(isfinite(float(word)) for word in place.split()):  # which MetaIO reads as 0
        raise ValueError("the image lies nowhere")
    size = _bytes(path, int(fields["NDims"]), sizes, voxel * channels)
    spaces.check_meta(path, fields, len(sizes))
    if fields.get("BinaryData", "True")[:1] not in ("T", "t", "1"):
        raise LLMBoostError(f"{path}: its voxels are stored in a way that is not read (text); {SAVE_AS}")
    data = path
    if fields["ElementDataFile"].upper() != "LOCAL":
        data = _beside(path, fields["ElementDataFile"])
        start, left = 0, data.stat().st_size
    compressed = _is_true(fields, "CompressedData")
    stored = int(fields.get("CompressedDataSize", "0"))
    skip = int(fields.get("HeaderSize", "0"))
    if skip < -1 or (skip and compressed):
        raise LLMBoostError(f"{path}: its voxels lie behind other data; {SAVE_AS}")
    if compressed:
        if not 0 <= stored <= left:
            raise LLMBoostError(f"{path}: truncated ({left} of {stored} bytes of compressed voxels); {AGAIN}")
        return _Voxels(data, start, size, "zlib", stored=stored or left)
    if skip:
        start = data.stat().st_size - size if skip == -1 else skip
    return _Voxels(data, start, size)


_FORMATS: dict[tuple[str, ...], tuple[str, Callable[[Path], _Voxels]]] = {
    (".nii", ".nii.gz"): ("NIfTI-1", _nifti),
    _NRRD: ("NRRD", _nrrd),
    (".mha", ".mhd"): ("MetaImage", _metaimage),
}


def _lines(file: BinaryIO) -> Iterator[str]:
    """The lines of a header, one at a time: the file's position stays behind the last one taken."""
    while (line := file.readline(_MAX_HEADER)) and file.tell() < _MAX_HEADER:
        yield line.decode("latin-1").strip()


def _bytes(path: Path, axes: int, sizes: Sequence[int], voxel: int) -> int:
    if not 0 < axes <= MAX_AXES or len(sizes) != axes:
        raise ValueError(f"{axes} axes, {len(sizes)} sizes")
    if min(sizes) < 1:
        raise LLMBoostError(f"{path}: holds no voxels (its header gives the size as {' x '.join(map(str, sizes))})")
    return prod(sizes) * voxel


def _beside(path: Path, name: str) -> Path:
    """The file of voxels that a detached header names.

    One in another folder is refused: a file from elsewhere must not decide what is opened on this machine.
    """
    name = name.removeprefix("./")
    if not re.fullmatch(r"(?!LIST\b|-$)[^/\\%:\x00-\x1f]*[^/\\%:\x00-\x1f.]", name):
        raise LLMBoostError(f"{path}: its voxels lie in '{printable(name)}', not in one file beside it; {SAVE_AS}")
    file = path.with_name(name)
    try:
        check_regular(file)
    except LLMBoostError as error:
        raise LLMBoostError(f"{path}: its voxels are in another file: {error}; keep both together") from error
    return file
