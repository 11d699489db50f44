"""What is known of cases, and the form in which a folder tells it.

The folder has the form of the Medical Segmentation Decathlon, so the command line and other programs read it, too:
dataset.json, splits.json, imagesTr, labelsTr, and imagesTs for images that nobody labeled. cases.json tells what these
forms have no room for. Files are named by generated ids; of nodes and of DICOM, neither names nor attributes are kept,
but for the names of segments and their terminology, which say what there is to learn.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llmboost.errors import LLMBoostError
from llmboost.files import printable, write_whole
from llmboost.io.image import Image

from ..translation import tr as _
from .filechanges import makeFolder, makePrivate
from .runfolders import isId

INDEX = "cases.json"
FORMAT = 1
IMAGES, LABELS, UNLABELED_IMAGES = "imagesTr", "labelsTr", "imagesTs"
EXTENSION = ".nii.gz"
TRAIN, VAL, TEST = "train", "val", "test"
UNLABELED = "unlabelled"  # as it is spelled in cases.json
ROLES = (TRAIN, VAL, TEST, UNLABELED)


@dataclass(frozen=True)
class Kind:
    """A kind of segment, as those who drew it called it; ``terminology`` as Slicer serializes it, or empty."""

    name: str
    terminology: str = ""


@dataclass(frozen=True)
class Snapshot:
    """What is known of a snapshot.

    Attributes:
        id: generated; the name of its files.
        role: what it is used for, one of ROLES.
        voxels: how many of them each segment has, by the segment's value in the folder.
        overlap: voxels that several segments claimed; the last one has got them.
        partly: whether voxels without a segment are "not labeled" rather than background; None: they are background
            but for the labels that the case lacks, which nobody drew there.
        extent: mm along its axes that are nearest to the patient's right, anterior, superior.
        spacing: mm along the voxels' axes.
        modality: DICOM's term, or empty.
        digest: of the image's voxels, to find doubles.
        subject: who is shown, generated; cases of one subject share a role.
    """

    id: str
    role: str
    voxels: dict[int, int] = field(default_factory=dict)
    overlap: int = 0
    partly: bool | None = None
    extent: tuple[float, float, float] = (0.0, 0.0, 0.0)
    spacing: tuple[float, float, float] = (0.0, 0.0, 0.0)
    modality: str = ""
    digest: str = ""
    subject: str = ""

    @property
    def labeled(self) -> bool:
        return any(self.voxels.values())


def digestOf(image: Image) -> str:
    """By which two snapshots of one image are recognized: of its voxels."""
    return hashlib.sha256(np.ascontiguousarray(image.array).data).hexdigest()[:16]


def triple(lengths: Iterable[float]) -> tuple[float, float, float]:
    """Three numbers, as JSON can hold them."""
    first, second, third = (float(mm) for mm in lengths)
    return first, second, third


def readIndex(path: Path) -> tuple[dict[int, Kind], dict[str, dict[int, str]], dict[str, Snapshot]]:
    """The kinds of segments by value, the labels chosen for them by what is learned, and the cases by id.

    Raises:
        LLMBoostError: the file cannot be read, or is not ours.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if not (isinstance(raw, dict) and {"format", "kinds", "mapping", "cases"} <= set(raw)):
            text = _(
                "{folder}: not a folder of LLMBoost Train's; choose an empty one ({file} there is another program's)"
            )
            raise LLMBoostError(text.format(folder=path.parent, file=INDEX))
        if raw["format"] > FORMAT:
            text = _("{path}: written by a newer LLMBoost; update the extension")
            raise LLMBoostError(text.format(path=path))
        kinds = {int(value): Kind(**kind) for value, kind in raw["kinds"].items()}
        mapping = {
            purpose: {int(value): str(name) for value, name in chosen.items()}
            for purpose, chosen in raw["mapping"].items()
        }
        cases = {case.id: case for case in map(_case, raw["cases"])}
        if not all(set(case.voxels) <= set(kinds) for case in cases.values()):
            raise ValueError(_("a case has segments of no kind"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = printable(str(error))
        text = _("{path}: cannot be read ({reason}); mend it, or choose another folder")
        raise LLMBoostError(text.format(path=path, reason=reason)) from error
    return kinds, mapping, cases


def indexFile(kinds: Mapping[int, Kind], mapping: Mapping[str, Mapping[int, str]], cases: Iterable[Snapshot]) -> bytes:
    """The inverse: what the file holds."""
    return _json(
        {
            "format": FORMAT,
            "kinds": {value: asdict(kind) for value, kind in kinds.items()},
            "mapping": mapping,
            "cases": [asdict(case) for case in cases],
        }
    )


def datasetFiles(
    labels: Mapping[str, str],
    modality: str,
    cases: Iterable[Snapshot],
    name: str = "local cases",
    undrawn: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, bytes]:
    """What dataset.json and splits.json of a folder in the Decathlon's form hold.

    Args:
        undrawn: the labels that were not drawn, by the id of each case that is not complete; None: nothing is told.
    """
    cases = list(cases)
    splits: dict[str, Any] = {role: [case.id for case in cases if case.role == role] for role in ROLES[:3]}
    splits["subjects"] = {case.id: case.subject for case in cases if case.subject != case.id}
    entries = [
        {"image": f"./{IMAGES}/{case.id}{EXTENSION}", "label": f"./{LABELS}/{case.id}{EXTENSION}"}
        for case in cases
        if case.role != UNLABELED
    ]
    dataset = {
        "name": name,
        "description": "Snapshots of LLMBoost Train",
        "tensorImageSize": "3D",
        "modality": {"0": modality},
        "labels": dict(labels),
        **({} if undrawn is None else {"partly_labeled": dict(undrawn)}),
        "numTraining": len(entries),
        "training": entries,
        "test": [f"./{UNLABELED_IMAGES}/{case.id}{EXTENSION}" for case in cases if case.role == UNLABELED],
    }
    return {"dataset.json": _json(dataset), "splits.json": _json(splits)}


def writeDataset(
    folder: Path,
    labels: Mapping[str, str],
    modality: str,
    cases: Iterable[Snapshot],
    name: str = "local cases",
    undrawn: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write what :func:`datasetFiles` gives, and let only the user read what is in the folder; raises LLMBoostError."""
    for file, data in datasetFiles(labels, modality, cases, name, undrawn).items():
        write_whole(folder / file, data)
    makePrivate(folder)


def link(source: Path, target: Path) -> None:
    """The same file at another place, which stays what it is: snapshots are replaced, never changed in place.

    Raises:
        LLMBoostError: it cannot be made.
    """
    try:
        makeFolder(target.parent)
        try:
            os.link(source, target)
        except OSError:  # a disk without links
            shutil.copyfile(source, target)
    except OSError as error:
        reason = error.strerror or str(error)
        text = _("{path}: cannot be written ({reason}); check its folder and the free space")
        raise LLMBoostError(text.format(path=target, reason=reason)) from error


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False).encode()


def _case(raw: Mapping[str, Any]) -> Snapshot:
    """A case of the index. Raises KeyError, TypeError or ValueError: it is none."""
    voxels = {int(value): int(count) for value, count in raw["voxels"].items()}
    triples = {name: triple(raw[name]) for name in ("extent", "spacing")}
    case = Snapshot(**{**raw, **triples, "voxels": voxels})
    # its id becomes the name of files, which will be deleted with it
    if not (isId(case.id) and case.role in ROLES):
        raise ValueError(f"case {case.id}")
    return case
