"""NIfTI-1 and NIfTI-2: headers, voxels, and where the voxels lie in space.

A header holds up to two forms of the way from voxels to the patient, each with a code that says whether it counts: the
qform (a rotation, voxel sizes and an offset) and the sform (any matrix). They may differ, and programs differ in which
they take. The rule here is ITK's, hence 3D Slicer's: the sform, if its axes are perpendicular and it is the scanner's
(code 1), the only one, or agrees with the qform; else the qform. ITK itself is asked where it reads the file: where the
two forms mirror each other its choice is one of rounding, and results have to lie where 3D Slicer shows the scan. What
is written for a scan carries both forms as the scan has them, so that it lies on the scan in every program.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from math import sqrt
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import SimpleITK as sitk

from ..errors import LLMBoostError
from .spaces import UNKNOWN_SIDES

# voxel types by their codes; of colors, the bytes of one
TYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    32: "c8",
    64: "f8",
    128: "u1",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
    1792: "c16",
    2304: "u1",
}
COLORS = {128: 3, 2304: 4}
_VECTORS = (1005, 1006, 1007)  # intents whose fifth axis holds the components of a voxel
_PLACES = {1: "scanner", 2: "aligned", 3: "Talairach", 4: "MNI", 5: "template"}
_MM = {1: 1000.0, 3: 0.001}  # units of space: meters and micrometers; all else counts as mm
_TOLERANCE = 0.1  # voxels that two forms may lie apart without a word
ZIPPED = b"\x1f\x8b"  # how a gzip file begins
_PIECE = 2**22
_LARGEST_SQUARE = 1.01  # of a rotation's quaternion, with what rounding does
LARGEST_SIZE = 2**15 - 1
_HEADER = 352  # bytes before the voxels of a NIfTI-1 file: the header, and four that say that no more follows


@dataclass(frozen=True)
class Forms:
    """A header's forms, as stored: in its own units, along R, A, S, and in the precision of NIfTI-1.

    Attributes:
        rank: axes in space, 1 to 3.
        units: xyzt_units, of space and time.
        pixdim: the qform's sense of the third axis, and the voxel sizes.
        codes: of qform and sform; what is not above 0 does not count.
        quaternion: b, c, d of the qform's rotation, and its offset x, y, z.
        rows: the sform's three rows.
    """

    rank: int
    units: int
    pixdim: tuple[float, ...]
    codes: tuple[int, int]
    quaternion: tuple[float, ...]
    rows: tuple[float, ...]

    @property
    def sides_known(self) -> bool:
        """Whether the header says at all how the image lies in the patient."""
        return max(self.codes) > 0


@dataclass(frozen=True)
class Header:
    """What is needed of a file's header.

    Attributes:
        version: 1 or 2.
        zipped: whether the file is compressed, whatever its name says.
        order: of bytes, "<" or ">".
        type: the code of the voxels' type.
        scaling: slope and intercept of the voxel values; None where there is no scaling.
    """

    version: int
    zipped: bool
    order: str
    sizes: tuple[int, ...]
    type: int
    intent: int
    start: int
    scaling: tuple[float, float] | None
    forms: Forms


def read_header(path: Path) -> Header:
    """The header of a NIfTI-1 or NIfTI-2 file.

    Raises:
        LLMBoostError: it is one of a pair of files.
        ValueError, OSError, EOFError, struct.error, zlib.error: no NIfTI file, or a damaged one.
    """
    with path.open("rb") as file:
        zipped = file.read(2) == ZIPPED
        file.seek(0)
        raw = b""
        for piece in gunzip(file, 2**10) if zipped else iter([file.read(540)]):
            raw += piece[:540]
            if len(raw) >= 540:
                break
    order = next((order for order in "<>" if struct.unpack_from(f"{order}i", raw)[0] in (348, 540)), None)
    if order is None:
        raise ValueError("not NIfTI")

    def field(form: str, place: int) -> tuple[Any, ...]:
        return struct.unpack_from(f"{order}{form}", raw, place)

    first = field("i", 0)[0] == 348
    magic = raw[344:348] if first else raw[4:8]
    if magic in (b"ni1\0", b"ni2\0"):  # ITK would look for the other file
        raise LLMBoostError(
            f"{path}: not a NIfTI-1 file, but one of a pair, header (.hdr) and voxels (.img); save both as one .nii"
        )
    if magic != (b"n+1\0" if first else b"n+2\0"):
        raise ValueError("not NIfTI")
    real = "f" if first else "d"
    rank, *sizes = field("8h", 40) if first else field("8q", 16)
    if not 0 < rank <= 7:
        raise ValueError(f"{rank} axes")
    pixdim = field(f"8{real}", 76 if first else 104)
    (offset,) = field("f", 108) if first else field("q", 168)
    slope, intercept = field(f"2{real}", 112 if first else 176)
    codes = field("2h", 252) if first else field("2i", 344)
    return Header(
        version=1 if first else 2,
        zipped=zipped,
        order=order,
        sizes=tuple(sizes[:rank]),
        type=field("h", 70 if first else 12)[0],
        intent=field("h", 68)[0] if first else field("i", 504)[0],
        start=max(int(offset), 348 if first else 540),
        # "if scl_slope is nonzero, then ...": an intercept alone counts for nothing
        scaling=(slope, intercept if np.isfinite(intercept) else 0.0) if slope and np.isfinite(slope) else None,
        forms=Forms(
            rank=min(rank, 3),
            units=field("B", 123)[0] if first else field("i", 500)[0] & 255,
            pixdim=_rounded(pixdim[:4]),
            codes=(codes[0], codes[1]),
            quaternion=_rounded(field(f"6{real}", 256 if first else 352)),
            rows=_rounded(field(f"12{real}", 280 if first else 400)),
        ),
    )


def _rounded(numbers: tuple[float, ...]) -> tuple[float, ...]:
    """The numbers of a NIfTI-2 file as NIfTI-1 can hold them."""
    with np.errstate(over="ignore"):
        return tuple(float(number) for number in np.array(numbers).astype(np.float32))


def voxels_of(data: bytearray, header: Header) -> np.ndarray:
    """The voxels [c, i, j, ...] of a file's bytes, scaled as its header says: c are the components of colors and
    vectors. They may share memory with ``data``."""
    dtype = np.dtype(header.order + TYPES[header.type])
    colors = COLORS.get(header.type, 1)
    stored = np.frombuffer(data, dtype)
    if not dtype.isnative:
        stored = stored.byteswap(inplace=True).view(dtype.newbyteorder())
    values = stored.reshape((colors, *header.sizes), order="F")
    if header.intent in _VECTORS and colors == 1 and values.ndim == 6:
        values = np.moveaxis(values[0], 4, 0)
    if header.scaling is None or header.scaling == (1.0, 0.0) or colors > 1 or values.dtype.kind == "c":
        return values
    return scaled(values, *header.scaling)


def scaled(values: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    """Values times slope plus intercept: float32, or the values' own type of real numbers."""
    result = np.empty_like(values, dtype=values.dtype if values.dtype.kind == "f" else np.float32)
    for n in range(values.shape[-1]):  # piece by piece: memory stays bounded
        result[..., n] = values[..., n].astype(np.float64) * slope + intercept
    return result


def place(path: Path, header: Header) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Spacing in mm, origin and direction (rank, rank) in LPS.

    Raises:
        RuntimeError: ITK refuses the file.
        ValueError: no form that counts is of perpendicular axes.
    """
    forms = header.forms
    known_to_itk = header.version == 1 and (not header.zipped or path.name.lower().endswith(".gz"))
    if not known_to_itk or (forms.codes[1] > 0 and not np.isfinite(forms.rows).all()):  # of which ITK complains aloud
        return _place(forms)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    n = reader.GetDimension()
    direction = np.reshape(reader.GetDirection(), (n, n))
    return np.array(reader.GetSpacing()), np.array(reader.GetOrigin()), direction


def _place(forms: Forms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As :func:`place`, of files that ITK does not read, by the same rule."""
    n = forms.rank
    spacing = np.array(forms.pixdim[1 : n + 1]) * _MM.get(forms.units & 7, 1.0)
    if not forms.sides_known:
        return spacing, np.zeros(n), np.eye(n)
    qform, sform = _qform(forms), _sform(forms)
    sizes = np.linalg.norm(sform[:3, :3], axis=0)
    axes = sform[:3, :3] / np.where(sizes > 0, sizes, 1.0)
    perpendicular = np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)
    if forms.codes[0] <= 0 and not perpendicular:
        raise ValueError("a sheared or damaged sform")
    agrees = np.allclose(sform, qform, atol=1e-4)
    take_sform = forms.codes[1] > 0 and perpendicular and (forms.codes[0] <= 0 or forms.codes[1] == 1 or agrees)
    matrix = np.diag([-1.0, -1.0, 1.0, 1.0]) @ (sform if take_sform else qform)
    return spacing, matrix[:n, 3], matrix[:n, :n] / np.linalg.norm(matrix[:n, :n], axis=0)


def notes(forms: Forms, affine: np.ndarray, shape: tuple[int, int, int]) -> list[str]:
    """What a user should know of an image that was placed by ``affine`` (4, 4; LPS in mm): that its header does not
    say how it lies in the patient, or that a form which counts puts it elsewhere.

    Raises:
        ValueError: the form that was used holds no rotation.
    """
    if not forms.sides_known:
        return [UNKNOWN_SIDES.format("the codes of its sform and qform are 0")]
    corners = np.array([(*corner, 1) for corner in product(*((0, n - 1) for n in shape))]).T
    used = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    found, apart = {}, {}
    for name, code, matrix in (("sform", forms.codes[1], _sform(forms)), ("qform", forms.codes[0], _qform(forms))):
        if code > 0:
            found[name] = matrix
            between = (matrix - used) @ corners
            mm, voxels = np.linalg.norm(between[:3], axis=0).max(), np.abs(np.linalg.solve(used, between)[:3]).max()
            apart[name] = (mm, voxels) if np.isfinite(mm) else (np.inf, np.inf)
    taken = min(apart, key=lambda name: apart[name])
    if "qform" in found and np.isnan(found["qform"]).any() and (taken == "qform" or apart[taken][1] > _TOLERANCE):
        raise ValueError("a damaged qform")

    def title(form: str) -> str:
        code = forms.codes[form == "sform"]
        return f"{form} (code {code}, {_PLACES.get(code, 'unknown')})"

    told = []
    if apart[taken][1] > _TOLERANCE:
        told.append(
            f"its {title(taken)} has other voxel sizes than pixdim, which were used: voxels differ by up to"
            f" {apart[taken][0]:.1f} mm"
        )
    for other in apart:
        if other == taken or apart[other][1] <= _TOLERANCE:
            continue
        told.append(
            f"its sform and qform differ by up to {apart[other][0]:.1f} mm: the {title(taken)} was used, as in"
            f" 3D Slicer, not the {title(other)}"
        )
        if _mirrored(found[taken], found[other]):
            told.append("its sform and qform disagree about left and right: check the sides")
    return told


def _sform(forms: Forms) -> np.ndarray:
    """(4, 4): voxels to R, A, S in mm."""
    return np.vstack([np.reshape(forms.rows, (3, 4)) * _MM.get(forms.units & 7, 1.0), [0, 0, 0, 1]])


def _qform(forms: Forms) -> np.ndarray:
    """(4, 4): voxels to R, A, S in mm; NaN, if it holds no rotation."""
    b, c, d, *offset = forms.quaternion
    square = b * b + c * c + d * d
    if not square < _LARGEST_SQUARE:
        return np.full((4, 4), np.nan)
    a = sqrt(max(1 - square, 0.0))
    turn = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - c * c - b * b],
        ]
    )
    steps = [size if size > 0 else 1.0 for size in forms.pixdim[1:]]
    steps[2] *= -1 if forms.pixdim[0] < 0 else 1
    matrix = np.eye(4)
    matrix[:3] = np.c_[turn * steps, offset] * _MM.get(forms.units & 7, 1.0)
    return matrix


def _mirrored(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the way to the right by one form is to the left by the other, or one mirrors the other."""
    if not (np.isfinite(other).all() and abs(np.linalg.det(other)) > 1e-9):
        return False
    between = one @ np.linalg.inv(other)
    return bool(between[0, 0] < 0 or np.linalg.det(between) < 0)


def pack(forms: Forms, shape: tuple[int, ...], code: int) -> bytes:
    """The first bytes, up to the voxels, of a NIfTI-1 file of an image with such forms."""
    raw = bytearray(_HEADER)
    struct.pack_into("<i", raw, 0, 348)
    struct.pack_into("<8h", raw, 40, forms.rank, *shape[: forms.rank], *(1,) * (7 - forms.rank))
    struct.pack_into("<2h", raw, 70, code, np.dtype(TYPES[code]).itemsize * 8)
    struct.pack_into("<8f", raw, 76, *forms.pixdim, *(1,) * 4)
    struct.pack_into("<3f", raw, 108, _HEADER, 1, 0)
    raw[123] = forms.units
    struct.pack_into("<2h", raw, 252, *forms.codes)
    struct.pack_into("<18f", raw, 256, *forms.quaternion, *forms.rows)
    raw[344:348] = b"n+1\0"
    return bytes(raw)


def write(array: np.ndarray, forms: Forms, path: Path, zipped: bool) -> None:
    """Write voxels [i, j, k], at most ``LARGEST_SIZE`` along an axis, of a type that NIfTI knows, with these forms."""
    kind = f"{array.dtype.kind}{array.dtype.itemsize}"
    code = next(code for code, name in TYPES.items() if name == kind)
    with path.open("wb") as plain, gzip.GzipFile("", "wb", 6, plain, 0) if zipped else plain as file:
        stream = cast(BinaryIO, file)
        stream.write(pack(forms, array.shape, code))
        for plane in np.moveaxis(array, 2, 0):  # one at a time: memory stays bounded
            stream.write(plane.astype(array.dtype.newbyteorder("<"), copy=False).tobytes(order="F"))


def gunzip(file: BinaryIO, size: int = _PIECE) -> Iterator[bytes]:
    """What a gzip file holds, in pieces of at most ``size`` bytes; bytes that follow the compressed ones are no matter.

    Raises:
        EOFError: it ends early.
        zlib.error: it is damaged.
    """
    ahead = b""
    while True:
        stream = zlib.decompressobj(31)
        while not stream.eof:
            compressed = stream.unconsumed_tail or ahead or file.read(size)
            ahead = b""
            piece = stream.decompress(compressed, size)
            if not (compressed or piece or stream.eof):
                raise EOFError("the compressed bytes end early")
            yield piece
        ahead = stream.unused_data + file.read(2)
        if ahead[:2] != ZIPPED:  # no further part
            return
