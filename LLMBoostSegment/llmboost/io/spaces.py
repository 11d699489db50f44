"""What ITK does not heed when it reads NRRD and MetaImage: units of space, spaces of further names, intensities' scale.

What such a header says is converted where it is clear, and refused where it is not; and where it does not say how the
image lies in the patient, or how large its voxels are, a user is told so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..errors import LLMBoostError
from ..files import printable

UNKNOWN_SIDES = (
    "orientation unknown ({}): no left and right are told, and if 3D Slicer does not show the image upright,"
    " nothing here can be relied on: set its orientation first"
)
_MM = {
    **dict.fromkeys(("", "mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("dm", "decimeter", "decimetre"), 100.0),
    **dict.fromkeys(("m", "meter", "metre"), 1000.0),
    # the two signs of micro, in Latin-1 and as UTF-8 looks in it
    **dict.fromkeys(("um", "\u00b5m", "\u03bcm", "\u00c2\u00b5m", "\u00ce\u00bcm", "micron", "mc"), 1e-3),
    **dict.fromkeys(("micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("in", "inch", "inche"), 25.4),
}
# the spaces of the patient, by long and short name: those that ITK turns into LPS, those that it does not, with what is
# left to do, and those that are not the patient's
_ITK_TURNS = ("right-anterior-superior", "ras", "left-anterior-superior", "las", "left-posterior-superior", "lps")
_WITH_TIME = {
    **dict.fromkeys(("right-anterior-superior-time", "rast"), (-1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-anterior-superior-time", "last"), (1.0, -1.0, 1.0)),
    **dict.fromkeys(("left-posterior-superior-time", "lpst"), (1.0, 1.0, 1.0)),
}
_NOBODYS = [f"{name}{time}" for name in ("scanner-xyz", "3d-right-handed", "3d-left-handed") for time in ("", "-time")]
_IN_SPACE = ("domain", "space", "???", "none")  # kinds of axes that may have a direction
_META_COUNTS = {  # numbers that a field holds, by the number of axes
    **dict.fromkeys(("ElementSpacing", "ElementSize", "Offset", "Position", "Origin", "CenterOfRotation"), 1),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), 2),
}
_META_PLACES, _META_TURNS = ("Offset", "Position", "Origin"), ("TransformMatrix", "Rotation", "Orientation")


@dataclass(frozen=True)
class Place:
    """Where a header puts the voxels of three axes: LPS, mm; ``scaling``, slope and intercept, is of intensities."""

    spacing: np.ndarray
    origin: np.ndarray
    direction: np.ndarray
    sides_known: bool = True
    notes: tuple[str, ...] = ()
    scaling: tuple[float, float] | None = None

    def times(self, factors: np.ndarray) -> Place:
        """The axes of space scaled, each by its own factor."""
        steps = self.direction * self.spacing * factors[:, None]
        spacing = np.linalg.norm(steps, axis=0)
        spacing = np.where(spacing > 0, spacing, 1.0)
        return replace(self, spacing=spacing, origin=self.origin * factors, direction=steps / spacing + 0.0)

    def told(self, *notes: str) -> Place:
        return replace(self, notes=(*self.notes, *notes))


def check_nrrd(path: Path, fields: Mapping[str, str], axes: int) -> None:
    """Refuse what ITK would take for something else.

    Raises:
        LLMBoostError: units without a meaning here, voxel sizes that are told by the image's ends, or not at all.
    """
    _nrrd_factors(path, fields)
    if "spacings" not in fields and "spacedirections" not in fields and "axismaxs" in fields:
        raise LLMBoostError(f"{path}: its header tells voxel sizes by axis mins and maxs; write them as spacings")
    space = fields.get("space", "").lower()
    if space and space not in (*_ITK_TURNS, *_WITH_TIME, *_NOBODYS):
        raise LLMBoostError(f"{path}: its space is {printable(space)}, which is not known; write it as {_ITK_TURNS[0]}")
    for name, other in (("spacings", "space directions"), ("units", "space units")):
        if name in fields and (space or "spacedimension" in fields):
            raise LLMBoostError(f"{path}: its header gives {name} beside a space; write them as {other}")
    kinds = fields.get("kinds", "domain " * axes).lower().split()
    directions = re.findall(r"none|\([^)]*\)", fields.get("spacedirections", "").lower())
    if any(words == ("none", kind) for words in zip(directions, kinds, strict=False) for kind in _IN_SPACE):
        raise LLMBoostError(f"{path}: its header does not tell where an axis in space lies (direction none)")


def nrrd_place(path: Path, fields: Mapping[str, str], place: Place, flat: bool) -> Place:
    """The place of an NRRD, from that which ITK reads; ``flat`` images need no sides."""
    factors, units = _nrrd_factors(path, fields)
    if units:
        place = place.times(factors).told(f"its header gives distances in {printable(units)}: converted to mm")
    space = fields.get("space", "").lower()
    if space in _WITH_TIME:
        place = place.times(np.array(_WITH_TIME[space]))
    elif space not in _ITK_TURNS and not flat:
        said = f"its space is {printable(space)}" if space else "its header names no space"
        place = replace(place.told(UNKNOWN_SIDES.format(said)), sides_known=False)
    return _sized(place, flat, "spacings" in fields or "spacedirections" in fields)


def check_meta(path: Path, fields: Mapping[str, str], axes: int) -> None:
    """Refuse what MetaIO would take for something else.

    Raises:
        LLMBoostError: a field is misspelled, incomplete or contradicts another one, or units have no meaning here.
    """
    _factor(path, _meta_units(fields))
    known = {name.lower(): name for name in _META_COUNTS}
    for key, text in fields.items():
        name = known.get(key.lower(), key)
        if name != key:
            raise LLMBoostError(f"{path}: its header says {printable(key)} where {name} is meant; correct it")
        if key in _META_COUNTS and len(text.split()) != axes ** _META_COUNTS[key]:
            raise LLMBoostError(f"{path}: its header's {key} does not fit {axes} axes; correct it")
    for names in (_META_PLACES, _META_TURNS):
        given = [name for name in names if name in fields]
        if len({tuple(map(float, fields[name].split())) for name in given}) > 1:
            raise LLMBoostError(f"{path}: its header's {' and '.join(given)} differ; remove the wrong one")


def meta_place(path: Path, fields: Mapping[str, str], place: Place, flat: bool) -> Place:
    """The place of a MetaImage, from that which ITK reads; ``flat`` images need no sides."""
    units = _meta_units(fields)
    factor = _factor(path, units)
    if factor != 1 or (np.abs(np.linalg.norm(place.direction, axis=0) - 1) > 1e-3).any():
        place = place.times(np.full(3, factor))
    if factor != 1:
        place = place.told(f"its header gives distances in {printable(units)}: converted to mm")
    letters = fields.get("AnatomicalOrientation", "").upper()
    turned = any(name in fields for name in _META_TURNS)
    if not turned and letters != "RAI" and not flat:  # which is LPS: MetaIO's letters tell where an axis comes from
        place = replace(place.told(UNKNOWN_SIDES.format("its header has no TransformMatrix")), sides_known=False)
    across = max(letters.find("R"), letters.find("L"))
    if turned and len(letters) == 3 and across >= 0 and not flat:
        right_to_left = 1 if letters[across] == "R" else -1
        if place.direction[0, across] * right_to_left < -0.5:
            place = place.told(
                f"its AnatomicalOrientation ({printable(letters)}) and TransformMatrix disagree about left and right:"
                " the matrix was used, as in 3D Slicer; check the sides"
            )
    if any(float(word) for word in fields.get("CenterOfRotation", "").split()) and not np.allclose(
        place.direction, np.eye(3)
    ):
        place = place.told("its CenterOfRotation is not heeded, as in 3D Slicer")
    slope, offset = (
        float(fields.get(f"ElementToIntensityFunction{name}", default))
        for name, default in (("Slope", "1"), ("Offset", "0"))
    )
    if (slope, offset) != (1.0, 0.0):
        if not (np.isfinite(slope) and np.isfinite(offset) and slope):
            raise LLMBoostError(f"{path}: its header's ElementToIntensityFunction is no scale; correct it")
        place = replace(
            place.told(f"its intensities are scaled by {slope:g}, offset {offset:g}"), scaling=(slope, offset)
        )
    return _sized(place, flat, "ElementSpacing" in fields or "ElementSize" in fields)


def _sized(place: Place, flat: bool, sized: bool) -> Place:
    return place if sized or flat else place.told("its header tells no voxel sizes: 1 mm is assumed")


def _nrrd_factors(path: Path, fields: Mapping[str, str]) -> tuple[np.ndarray, str]:
    """Factors of the axes of space, and the units in words; none where all are mm."""
    # of the image's axes and of those of space; ITK reads these two in files without and with a space
    texts = [fields[name] for name in ("spaceunits", "units") if name in fields]
    words = [word for text in texts[:1] for word in re.findall(r'"((?:[^"\\]|\\.)*)"', text)][:3]
    factors = np.ones(3)
    factors[: len(words)] = [_factor(path, word) for word in words]
    return factors, "" if (factors == 1).all() else ", ".join(dict.fromkeys(words))


def _meta_units(fields: Mapping[str, str]) -> str:
    units = fields.get("DistanceUnits", "")
    return "" if units == "?" else units


def _factor(path: Path, unit: str) -> float:
    """mm of one unit; raises LLMBoostError where it is not known."""
    name = unit.strip()
    name = name if name in _MM else name.lower()
    name = name if name in _MM else name.removesuffix("s")
    if name not in _MM:
        raise LLMBoostError(
            f"{path}: its header gives distances in '{printable(unit)}', which is not known; convert them to mm"
        )
    return _MM[name]
