"""Images whose names say which subject and session they are of, as in a BIDS tree: sub-*/ses-*/anat/*.nii.gz.

BIDS: Gorgolewski et al. 2016, Scientific Data 3:160044; bids-specification.readthedocs.io.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import LLMBoostError
from ..jsonfile import read_json
from ..studies import SeriesFacts, along_ras
from .nifti import place, read_header

_NAME = re.compile(
    r"(?P<session>sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)(?:_[A-Za-z]+-[A-Za-z0-9+]+)*_(?P<suffix>[A-Za-z0-9]+)\.nii(?:\.gz)?"
)
# folders that hold other things than what scanners gave
_ASIDE = {"derivatives", "sourcedata", "code", "stimuli"}
_NO_IMAGES = {"mask": "a mask", "dseg": "a segmentation", "probseg": "a segmentation", "defacemask": "a mask"}
# a channel's name in a model's card, in small letters and digits: the suffix, and whether with contrast agent (ce-...)
_CHANNELS = {
    **dict.fromkeys(("t1", "t1w", "t1weighted"), ("T1w", False)),
    **dict.fromkeys(("t1c", "t1ce", "t1gd", "t1gad", "t1post", "t1contrast"), ("T1w", True)),
    **dict.fromkeys(("t2", "t2w", "t2weighted"), ("T2w", False)),
    **dict.fromkeys(("flair", "t2flair"), ("FLAIR", False)),
    **dict.fromkeys(("pd", "pdw"), ("PDw", False)),
    **dict.fromkeys(("t2star", "t2starw"), ("T2starw", False)),
}
_MODALITIES = {"pet": "PT", "ct": "CT"}
_SUFFIXES = {"pet": "PT", "ct": "CT", "ctw": "CT"}


def session_of(path: Path) -> str:
    """The subject and session that a name says, such as "sub-01_ses-02"; empty for other names."""
    found = _NAME.fullmatch(path.name)
    return found["session"] if found else ""


def channels_of(modality: str) -> tuple[tuple[str, bool], ...]:
    """What BIDS calls each channel that a card's ``modality`` names between commas, as :func:`channel_of` tells it of a
    file; nothing where a name is unknown, or two are of one kind."""
    found = [_CHANNELS.get(re.sub(r"[^a-z0-9]", "", word.lower())) for word in modality.split(",")]
    known = tuple(one for one in found if one)
    return known if len(set(known)) == len(found) else ()


def channel_of(path: Path) -> tuple[str, bool]:
    """The suffix that a name says, and whether the image was made with contrast agent."""
    found = _NAME.fullmatch(path.name)
    return (found["suffix"] if found else "", "_ce-" in path.name)


def bids_files(folder: Path) -> Iterator[Path]:
    """The images in the folders below one that are named as BIDS says, without derivatives and the like."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _ASIDE)
        if where != str(folder):
            yield from (path for name in sorted(names) if session_of(path := Path(where, name)))


def facts_of(path: Path) -> SeriesFacts:
    """What a name, the JSON file beside it and the NIfTI header say."""
    found = _NAME.fullmatch(path.name)
    suffix = found["suffix"] if found else ""
    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    said: dict[str, Any] = {}
    with suppress(LLMBoostError):  # an image without a sidecar is one, too
        said = read_json(path.with_name(f"{stem}.json"))
    try:
        header = read_header(path)
        spacing, _origin, axes = place(path, header)
    except (LLMBoostError, OSError, ValueError, RuntimeError, EOFError, struct.error, zlib.error) as error:
        reason = [*str(error).strip().splitlines(), ""][0]
        return SeriesFacts(description=stem, problem=f"{path}: cannot be read ({reason}); copy it again")
    told = " ".join(dict.fromkeys(_texts(said, "SeriesDescription", "ProtocolName")))
    kinds = said.get("ImageType")
    facts = SeriesFacts(
        description=f"{stem}: {told}" if told else stem,
        modality=next(iter(_texts(said, "Modality")), "") or _modality(path, suffix),
        kinds=tuple(str(kind).upper() for kind in kinds) if isinstance(kinds, list) else (),
        body=" ".join(_texts(said, "BodyPartExamined")),
        no_image=_NO_IMAGES.get(suffix, ""),
        thickness=_thickness(said.get("SliceThickness")),
    )
    return _placed(facts, header.sizes, spacing[:3], axes[:3, :3])


def _placed(facts: SeriesFacts, sizes: tuple[int, ...], spacing: np.ndarray, axes: np.ndarray) -> SeriesFacts:
    volumes = int(np.prod(sizes[3:])) if len(sizes) > 3 else 1
    if len(sizes) < 3 or axes.shape != (3, 3):
        return replace(facts, slices=1, volumes=volumes)
    thickest = int(np.argmax(spacing)) if np.ptp(spacing) > 0.1 * spacing.min() else 2
    across = int(np.abs(axes[:, thickest]).argmax())
    facts = replace(facts, slices=sizes[thickest], volumes=volumes, across=across)
    return along_ras(facts, axes, spacing.tolist(), sizes[:3])


def _modality(path: Path, suffix: str) -> str:
    """BIDS tells it by the folder; all but a few are MR."""
    return _SUFFIXES.get(suffix.lower()) or _MODALITIES.get(path.parent.name) or "MR"


def _texts(said: dict[str, Any], *keys: str) -> list[str]:
    return [value.strip() for key in keys if isinstance(value := said.get(key), str) and value.strip()]


def _thickness(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value > 0 else None
