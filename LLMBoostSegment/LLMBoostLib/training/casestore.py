"""Cases to train with: snapshots in a local folder that the user can look into, and delete.

The folder has the form of the Medical Segmentation Decathlon, so the command line and other programs read it, too:
dataset.json, splits.json, imagesTr, labelsTr, and imagesTs for images that nobody labelled. cases.json tells what these
forms have no room for. Files are named by generated ids; of nodes and of DICOM, neither names nor attributes are kept,
but for the names of segments and their terminology, which say what there is to learn.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from llmboost.errors import LLMBoostError
from llmboost.files import write_whole
from llmboost.image import Image, read_image, write_image

FOLDER_VARIABLE = "LLMBOOST_TRAINING"
FOLDER_SETTING = "LLMBoost/TrainingFolder"  # of the application: a path is nothing for a scene
INDEX = "cases.json"
FORMAT = 1
IMAGES, LABELS, UNLABELLED_IMAGES = "imagesTr", "labelsTr", "imagesTs"
EXTENSION = ".nii.gz"
TRAIN, VAL, TEST, UNLABELLED = "train", "val", "test", "unlabelled"
ROLES = (TRAIN, VAL, TEST, UNLABELLED)
ID_LENGTH = 8
MAX_KINDS = 2**16 - 1


def defaultFolder() -> Path:
    """Where cases lie: the application setting, ``LLMBOOST_TRAINING``, or .llmboost/training in the home folder."""
    try:
        from qt import QSettings
    except ImportError:  # not in Slicer
        chosen = ""
    else:
        chosen = str(QSettings().value(FOLDER_SETTING) or "")
    return Path(chosen or os.environ.get(FOLDER_VARIABLE) or Path.home() / ".llmboost" / "training")


@dataclass(frozen=True)
class Kind:
    """A kind of segment, as those who drew it called it; ``terminology`` as Slicer serializes it, or empty."""

    name: str
    terminology: str = ""


@dataclass(frozen=True)
class Case:
    """What is known of a snapshot.

    Attributes:
        id: generated; the name of its files.
        role: what it is used for, one of ROLES.
        voxels: how many of them each segment has, by the segment's value in the folder.
        overlap: voxels that several segments claimed; the last one has got them.
        partly: whether voxels without a segment are "not labelled" rather than background; None: as it follows from
            the labels that are missing.
        extent: mm along the patient's right, anterior, superior.
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
    def labelled(self) -> bool:
        return any(self.voxels.values())


class CaseStore:
    """The snapshots of a folder, which is made with the first of them.

    Raises:
        LLMBoostError: the folder holds an index that cannot be read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(folder or defaultFolder())
        self.kinds: dict[int, Kind] = {}
        self.mapping: dict[str, dict[int, str]] = {}  # by what is learnt: the labels chosen for kinds
        self.cases: dict[str, Case] = {}
        self._seen: tuple[int, int] | None = None  # the index, as it was when it was read or written last
        self.refresh()

    def refresh(self) -> None:
        """Look into the folder again, where others may have added cases; raises LLMBoostError."""
        state = self._state()
        if state != self._seen:
            self.kinds, self.mapping, self.cases = {}, {}, {}
            self._seen = None  # until it could be read
            self._read()
            self._seen = state

    def image(self, case: Case) -> Path:
        """The file of a case's image."""
        return self.folder / (UNLABELLED_IMAGES if case.role == UNLABELLED else IMAGES) / (case.id + EXTENSION)

    def labels(self, case: Case) -> Path:
        """The file of a case's label map, which a case without segments lacks."""
        return self.folder / LABELS / (case.id + EXTENSION)

    def add(
        self,
        image: Image,
        masks: Sequence[tuple[Kind, np.ndarray]] = (),
        role: str = TRAIN,
        *,
        modality: str = "",
        subject: str = "",
        partly: bool | None = None,
    ) -> Case:
        """Keep a case under a new id.

        Args:
            image: the voxels, as they lie in space.
            masks: bool [i, j, k] on the image's grid for each segment. A case without any becomes an unlabelled one.

        Raises:
            LLMBoostError: the image cannot be kept, or the files cannot be written; nothing is left behind then.
        """
        id = newId()
        self.refresh()
        extent = np.abs(image.direction * image.spacing) @ image.shape
        case = Case(
            id,
            role,
            partly=partly,
            extent=tuple(float(mm) for mm in extent),
            spacing=tuple(float(mm) for mm in image.spacing),
            modality=modality,
            digest=digestOf(image),
            subject=subject or id,
        )
        kinds = dict(self.kinds)
        case, labelmap = self._labelmap(case, image, masks)
        if not case.labelled:
            case = replace(case, role=UNLABELLED)
        try:
            write_image(image, self.image(case))
            if labelmap is not None:
                write_image(image.with_array(labelmap), self.labels(case))
            self.cases[id] = case
            self._save()
        except LLMBoostError:
            self.cases.pop(id, None)
            self.kinds = kinds
            for path in (self.image(case), self.labels(case)):
                with suppress(OSError):
                    path.unlink()
            raise
        return case

    def update(self, id: str, image: Image, masks: Sequence[tuple[Kind, np.ndarray]]) -> Case:
        """Put other segments in the place of a case's; the image stays.

        Raises:
            LLMBoostError: the image is another one by now, or the files cannot be written: all stays as it was.
        """
        self.refresh()
        case, kinds = self._case(id), dict(self.kinds)
        if digestOf(image) != case.digest:
            raise LLMBoostError(f"case {id}: its image was changed since; remove the case, and add the image again")
        changed, labelmap = self._labelmap(case, image, masks)
        try:
            if labelmap is not None:
                write_image(image.with_array(labelmap), self.labels(case))
            if case.role == UNLABELLED and changed.labelled:
                changed = replace(changed, role=TRAIN)
            elif not changed.labelled:
                changed = replace(changed, role=UNLABELLED)
            self._change(changed)
            if labelmap is None:
                self.labels(case).unlink(missing_ok=True)
        except LLMBoostError:
            self.kinds = kinds
            raise
        return self.cases[id]

    def setRole(self, id: str, role: str) -> None:
        """Use a case otherwise; raises LLMBoostError for one without segments that is to be learnt from."""
        self.refresh()
        case = self._case(id)
        if role != UNLABELLED and not case.labelled:
            raise LLMBoostError(f"case {id}: has no segments; draw them with Edit, then it can be used to {role}")
        self._change(replace(case, role=role))

    def setPartly(self, id: str, partly: bool | None) -> None:
        """Say whether voxels without a segment are not labelled (True) or background (False)."""
        self.refresh()
        self._change(replace(self._case(id), partly=partly))

    def setMapping(self, purpose: str, mapping: Mapping[int, str]) -> None:
        """Keep which label each kind of segment is, for what is learnt."""
        self.refresh()
        self.mapping[purpose] = dict(mapping)
        self._save()

    def remove(self, ids: Iterable[str]) -> None:
        """Delete cases."""
        self.refresh()
        for id in list(ids):
            case = self._case(id)
            del self.cases[id]
            for path in (self.image(case), self.labels(case)):
                path.unlink(missing_ok=True)
        used = {value for case in self.cases.values() for value in case.voxels}
        self.kinds = {value: kind for value, kind in self.kinds.items() if value in used}
        self._save()

    def removeAll(self) -> None:
        """Delete the cases and what earlier runs left; a folder that holds nothing else goes, too."""
        for name in (IMAGES, LABELS, UNLABELLED_IMAGES, "runs", "pending"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        for name in (INDEX, "dataset.json", "splits.json"):
            (self.folder / name).unlink(missing_ok=True)
        self.refresh()
        with suppress(OSError):
            self.folder.rmdir()

    def read(self, case: Case) -> Image:
        """The image of a case; raises LLMBoostError."""
        return read_image(self.image(case))

    def masks(self, case: Case) -> list[tuple[Kind, np.ndarray]]:
        """Its segments, bool [i, j, k]; raises LLMBoostError."""
        if not case.voxels:
            return []
        array = read_image(self.labels(case)).array
        return [(self.kinds[value], array == value) for value in case.voxels]

    def _labelmap(
        self, case: Case, image: Image, masks: Sequence[tuple[Kind, np.ndarray]]
    ) -> tuple[Case, np.ndarray | None]:
        """One map of all segments, None where there is none; new kinds get values."""
        if not masks:
            return replace(case, voxels={}, overlap=0), None
        labelmap = np.zeros(image.shape, np.uint16)
        overlap = 0
        for kind, mask in masks:
            overlap += int(np.count_nonzero(labelmap[mask]))
            labelmap[mask] = self._value(kind)
        values = [self._value(kind) for kind, _ in masks]
        voxels = {value: int(np.count_nonzero(labelmap == value)) for value in dict.fromkeys(values)}
        return replace(case, voxels=voxels, overlap=overlap), labelmap if max(values) > 255 else labelmap.astype(
            np.uint8
        )

    def _value(self, kind: Kind) -> int:
        for value, known in self.kinds.items():
            if known == kind:
                return value
        value = max(self.kinds, default=0) + 1
        if value > MAX_KINDS:
            raise LLMBoostError(f"{self.folder}: too many kinds of segments; use another folder")
        self.kinds[value] = kind
        return value

    def _case(self, id: str) -> Case:
        if id not in self.cases:
            raise LLMBoostError(f"case {id}: is not in {self.folder} any more")
        return self.cases[id]

    def _state(self) -> tuple[int, int] | None:
        try:
            status = (self.folder / INDEX).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    def _change(self, case: Case) -> None:
        """Write what changed of a case; on failure, all stays as it was."""
        before = self.cases[case.id]
        source, target = self.image(before), self.image(case)
        try:
            if source != target:
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(source, target)
            self.cases[case.id] = case
            self._save()
        except (OSError, LLMBoostError) as error:
            self.cases[case.id] = before
            with suppress(OSError):
                if source != target:
                    os.replace(target, source)
            raise LLMBoostError(f"{target}: cannot be written ({error}); check its folder") from error

    def _read(self) -> None:
        path = self.folder / INDEX
        if not path.exists():
            return
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            if raw["format"] > FORMAT:
                raise LLMBoostError(f"{path}: written by a newer LLMBoost; update the extension")
            self.kinds = {int(value): Kind(**kind) for value, kind in raw["kinds"].items()}
            self.mapping = {
                purpose: {int(value): str(name) for value, name in mapping.items()}
                for purpose, mapping in raw["mapping"].items()
            }
            for one in raw["cases"]:
                voxels = {int(value): int(count) for value, count in one["voxels"].items()}
                triples = {name: tuple(one[name]) for name in ("extent", "spacing")}
                case = Case(**{**one, **triples, "voxels": voxels})
                if case.role not in ROLES or not case.id.isalnum() or not set(voxels) <= set(self.kinds):
                    raise ValueError(f"case {case.id}")
                self.cases[case.id] = case
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise LLMBoostError(f"{path}: cannot be read ({error}); mend it, or choose another folder") from error

    def _save(self) -> None:
        """Write the index, and the two files that other programs read."""
        index = {
            "format": FORMAT,
            "kinds": {value: asdict(kind) for value, kind in self.kinds.items()},
            "mapping": self.mapping,
            "cases": [asdict(case) for case in self.cases.values()],
        }
        labels = {"0": "background", **{str(value): kind.name for value, kind in self.kinds.items()}}
        modality = next((case.modality for case in self.cases.values() if case.modality), "image")
        writeDataset(self.folder, labels, modality, self.cases.values())
        _writeJson(self.folder / INDEX, index)  # the last one: it makes the others valid
        self._seen = self._state()


def newId() -> str:
    """A name that tells nothing."""
    return uuid.uuid4().hex[:ID_LENGTH]


def digestOf(image: Image) -> str:
    """By which two snapshots of one image are recognized: of its voxels."""
    return hashlib.sha256(np.ascontiguousarray(image.array)).hexdigest()[:16]


def writeDataset(
    folder: Path, labels: Mapping[str, str], modality: str, cases: Iterable[Case], name: str = "local cases"
) -> None:
    """Write dataset.json and splits.json of a folder in the Decathlon's form."""
    cases = list(cases)
    splits: dict[str, Any] = {role: [case.id for case in cases if case.role == role] for role in ROLES[:3]}
    splits["subjects"] = {case.id: case.subject for case in cases if case.subject != case.id}
    entries = [
        {"image": f"./{IMAGES}/{case.id}{EXTENSION}", "label": f"./{LABELS}/{case.id}{EXTENSION}"}
        for case in cases
        if case.role != UNLABELLED
    ]
    description = {
        "name": name,
        "description": "Snapshots of LLMBoost Train",
        "tensorImageSize": "3D",
        "modality": {"0": modality},
        "labels": dict(labels),
        "numTraining": len(entries),
        "training": entries,
        "test": [f"./{UNLABELLED_IMAGES}/{case.id}{EXTENSION}" for case in cases if case.role == UNLABELLED],
    }
    _writeJson(folder / "dataset.json", description)
    _writeJson(folder / "splits.json", splits)


def link(source: Path, target: Path) -> None:
    """The same file at another place, which stays what it is: snapshots are replaced, never changed in place.

    Raises:
        LLMBoostError: it cannot be made.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # a disk without links
            shutil.copyfile(source, target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise LLMBoostError(f"{target}: cannot be written ({reason}); check its folder and the free space") from error


def _writeJson(path: Path, value: Any) -> None:
    write_whole(path, json.dumps(value, indent=1, ensure_ascii=False).encode())
