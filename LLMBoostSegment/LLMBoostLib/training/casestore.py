"""Cases to train with: snapshots in a local folder that the user can look into, and delete."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np

from llmboost.errors import LLMBoostError
from llmboost.files import LOCK, TEMPORARY, locked, printable
from llmboost.io.image import Image, read_image, to_canonical, write_image
from llmboost.io.labels import BACKGROUND, IGNORE

from ..translation import tr as _
from .cases import (
    EXTENSION,
    IMAGES,
    INDEX,
    LABELS,
    ROLES,
    TRAIN,
    UNLABELED,
    UNLABELED_IMAGES,
    Kind,
    Snapshot,
    datasetFiles,
    digestOf,
    indexFile,
    readIndex,
    triple,
)
from .filechanges import FOLDER_MODE, FileChanges, makeFolder, makePrivate
from .runfolders import PENDING, RUNS, newId, removeRuns

FOLDER_VARIABLE = "LLMBOOST_TRAINING"
FOLDER_SETTING = "LLMBoost/TrainingFolder"  # of the application: a path is nothing for a scene
LITTER = (".DS_Store", ".directory", "Thumbs.db", "desktop.ini")  # of file managers
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


class CaseStore:
    """The snapshots of a folder, which is made with the first of them, for the user alone.

    Several Slicers may use one folder: each looks again at what is there before it changes something, while the others
    wait. A change is made as a whole, or not at all.

    Raises:
        LLMBoostError: the folder holds other files and is not ours, or an index that cannot be read.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = Path(folder or defaultFolder())
        self.kinds: dict[int, Kind] = {}
        self.mapping: dict[str, dict[int, str]] = {}  # by what is learned: the labels chosen for kinds
        self.cases: dict[str, Snapshot] = {}
        self._seen: tuple[int, int] | None = None  # the index, as it was when it was read or written last
        self.refresh()
        if self._state() is not None:  # else the folder is not ours yet
            self._tighten()

    def refresh(self) -> None:
        """Look into the folder again, where others may have added cases; raises LLMBoostError."""
        state = self._state()
        if state is None or state != self._seen:
            self._read()

    def image(self, case: Snapshot) -> Path:
        """The file of a case's image."""
        return self.folder / (UNLABELED_IMAGES if case.role == UNLABELED else IMAGES) / (case.id + EXTENSION)

    def labels(self, case: Snapshot) -> Path:
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
    ) -> Snapshot:
        """Keep a case under a new id.

        Args:
            image: the voxels, as they lie in space.
            masks: bool [i, j, k] on the image's grid for each segment. A case without any becomes an unlabeled one.

        Raises:
            LLMBoostError: the image cannot be kept, or the files cannot be written; nothing is left behind then.
        """
        with self._changing() as changes:
            id = newId()
            grid = to_canonical(image)
            extent = np.array(grid.shape) * grid.spacing
            case = Snapshot(
                id,
                _known(role),
                partly=partly,
                extent=triple(extent),
                spacing=triple(image.spacing),
                modality=modality,
                digest=digestOf(image),
                subject=subject or id,
            )
            case, labelmap = self._labelmap(case, image, masks)
            if not case.labeled:
                case = replace(case, role=UNLABELED)
            changes.write(self.image(case), partial(write_image, image))
            if labelmap is not None:
                changes.write(self.labels(case), partial(write_image, image.with_array(labelmap)))
            self.cases[id] = case
        return case

    def update(self, id: str, image: Image, masks: Sequence[tuple[Kind, np.ndarray]]) -> Snapshot:
        """Put other segments in the place of a case's; the image stays.

        Raises:
            LLMBoostError: the image is another one by now, or the files cannot be written: all stays as it was.
        """
        with self._changing() as changes:
            case = self._case(id)
            if digestOf(image) != case.digest:
                text = _("case {id}: its image was changed since; remove the case, and add the image again")
                raise LLMBoostError(text.format(id=id))
            changed, labelmap = self._labelmap(case, image, masks)
            if labelmap is None:
                changes.delete(self.labels(case))
            else:
                changes.write(self.labels(case), partial(write_image, image.with_array(labelmap)))
            if case.role == UNLABELED and changed.labeled:
                changed = replace(changed, role=TRAIN)
            elif not changed.labeled:
                changed = replace(changed, role=UNLABELED)
            self._change(changed, changes)
        return changed

    def setRole(self, id: str, role: str) -> None:
        """Use a case otherwise; raises LLMBoostError for one without segments that is to be learned from."""
        with self._changing() as changes:
            case = self._case(id)
            if role != UNLABELED and not case.labeled:
                text = _("case {id}: has no segments; draw them with Edit, then it can be used to {role}")
                raise LLMBoostError(text.format(id=id, role=role))
            self._change(replace(case, role=_known(role)), changes)

    def setPartly(self, id: str, partly: bool | None) -> None:
        """Say what voxels without a segment are, see :class:`.cases.Snapshot`."""
        with self._changing() as changes:
            self._change(replace(self._case(id), partly=partly), changes)

    def setMapping(self, purpose: str, mapping: Mapping[int, str]) -> None:
        """Keep which label each kind of segment is, for what is learned."""
        with self._changing():
            self.mapping[purpose] = dict(mapping)

    def remove(self, ids: Iterable[str]) -> None:
        """Delete cases: all of these, or none if that fails."""
        with self._changing() as changes:
            for id in list(ids):
                case = self._case(id)
                del self.cases[id]
                changes.delete(self.image(case))
                changes.delete(self.labels(case))
            used = {value for case in self.cases.values() for value in case.voxels}
            self.kinds = {value: kind for value, kind in self.kinds.items() if value in used}

    def removeAll(self) -> None:
        """Delete the cases and what earlier runs left, and no file of anybody else; an empty folder goes, too."""
        if not self.folder.exists():
            return
        with locked(self.folder):
            self._read()
            with FileChanges() as changes:
                for case in self.cases.values():
                    changes.delete(self.image(case))
                    changes.delete(self.labels(case))
                for name in self._descriptions():
                    if not self._isEdited(name):
                        changes.delete(self.folder / name)
                changes.delete(self.folder / INDEX)
            removeRuns(self.folder)
            folders = [self.folder / name for name in (IMAGES, LABELS, UNLABELED_IMAGES)]
            for path in [path for folder in folders for path in folder.glob(".*") if TEMPORARY.match(path.name)]:
                path.unlink(missing_ok=True)  # what a Slicer that was killed was writing
            for folder in folders:
                with suppress(OSError):  # it holds other files
                    folder.rmdir()
        with suppress(OSError):
            self.folder.rmdir()
        self.kinds, self.mapping, self.cases, self._seen = {}, {}, {}, None

    def read(self, case: Snapshot) -> Image:
        """The image of a case; raises LLMBoostError."""
        return read_image(self.image(case))

    def masks(self, case: Snapshot) -> list[tuple[Kind, np.ndarray]]:
        """Its segments, bool [i, j, k]; raises LLMBoostError."""
        if not case.voxels:
            return []
        array = read_image(self.labels(case)).array
        return [(self.kinds[value], array == value) for value in case.voxels]

    def _labelmap(
        self, case: Snapshot, image: Image, masks: Sequence[tuple[Kind, np.ndarray]]
    ) -> tuple[Snapshot, np.ndarray | None]:
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
            text = _("{folder}: too many kinds of segments; use another folder")
            raise LLMBoostError(text.format(folder=self.folder))
        self.kinds[value] = kind
        return value

    def _case(self, id: str) -> Snapshot:
        if id not in self.cases:
            raise LLMBoostError(_("case {id}: is not in {folder} any more").format(id=id, folder=self.folder))
        return self.cases[id]

    def _state(self) -> tuple[int, int] | None:
        try:
            status = (self.folder / INDEX).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size

    @contextmanager
    def _changing(self) -> Iterator[FileChanges]:
        """Everything as it is in the folder now, to be changed in the block; its end writes all, the index last.

        On failure all stays as it was, here and in the folder.
        """
        made = [] if self.folder.is_dir() else makeFolder(self.folder)
        before = None
        try:
            with locked(self.folder):
                self._read()
                before = dict(self.kinds), dict(self.mapping), dict(self.cases)
                isNew = self._seen is None
                edited = [name for name in self._descriptions() if self._isEdited(name)]
                with FileChanges() as changes:
                    yield changes
                    for name in edited:
                        changes.move(self.folder / name, _freeName(self.folder / name))
                    for name, data in self._descriptions().items():
                        changes.write(self.folder / name, partial(_write, data))
                    index = indexFile(self.kinds, self.mapping, self.cases.values())
                    changes.write(self.folder / INDEX, partial(_write, index))
                if isNew:
                    self._tighten()
                self._seen = self._state()
        except BaseException:
            if before is not None:
                self.kinds, self.mapping, self.cases = before
            for folder in made:
                with suppress(OSError):
                    folder.rmdir()
            raise

    def _tighten(self) -> None:
        """Let only the user read what is ours, whoever could before."""
        with suppress(OSError):  # another user's
            os.chmod(self.folder, FOLDER_MODE)
        for name in (INDEX, *self._descriptions(), IMAGES, LABELS, UNLABELED_IMAGES, RUNS, PENDING):
            makePrivate(self.folder / name)

    def _change(self, case: Snapshot, changes: FileChanges) -> None:
        source, target = self.image(self.cases[case.id]), self.image(case)
        if source != target:
            changes.move(source, target)
        self.cases[case.id] = case

    def _read(self) -> None:
        """Read the index; raises LLMBoostError if that fails, or if the folder is not ours to write into."""
        self.kinds, self.mapping, self.cases, self._seen = {}, {}, {}, None
        state = self._state()
        if state is None:
            _checkFree(self.folder)
            return
        self.kinds, self.mapping, self.cases = readIndex(self.folder / INDEX)
        self._seen = state

    def _descriptions(self, told: bool = True) -> dict[str, bytes]:
        """The two files that other programs read, by name; ``told``: also what was not drawn."""
        labels = {"0": "background", **{str(value): kind.name for value, kind in self.kinds.items()}}
        modality = next((case.modality for case in self.cases.values() if case.modality), "image")
        undrawn = {case.id: names for case in self.cases.values() if (names := self._undrawn(case))}
        return datasetFiles(labels, modality, self.cases.values(), undrawn=undrawn if told else None)

    def _undrawn(self, case: Snapshot) -> list[str]:
        """What was not drawn in a case, by name."""
        if case.role == UNLABELED:
            return []
        if case.partly is not None:
            return [BACKGROUND] if case.partly else []
        lacking = [kind.name for value, kind in self.kinds.items() if not case.voxels.get(value)]
        return [name for name in lacking if name.lower() not in (BACKGROUND, IGNORE)]

    def _isEdited(self, name: str) -> bool:
        """Whether one of those two is there, but not as it was written here."""
        try:
            data = (self.folder / name).read_bytes()
        except OSError:
            return False
        return data not in (self._descriptions()[name], self._descriptions(told=False)[name])  # as written before


def _write(data: bytes, path: Path) -> None:
    path.write_bytes(data)


def _known(role: str) -> str:
    if role not in ROLES:
        text = _("'{role}' is no use of a case; take one of {roles}")
        raise LLMBoostError(text.format(role=role, roles=", ".join(ROLES)))
    return role


def _checkFree(folder: Path) -> None:
    """Refuse a folder that others keep files in: a data set there would be written over. Raises LLMBoostError."""
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except FileNotFoundError:
        return
    except NotADirectoryError as error:
        raise LLMBoostError(_("{folder}: a file; choose a folder").format(folder=folder)) from error
    except OSError as error:
        text = _("{folder}: cannot be read ({reason}); choose another folder")
        raise LLMBoostError(text.format(folder=folder, reason=error.strerror)) from error
    others = [name for name in names if name not in (RUNS, PENDING, LOCK, *LITTER) and not TEMPORARY.match(name)]
    if others:
        text = _("{folder}: not a folder of LLMBoost Train's; choose an empty one (it holds {name})")
        raise LLMBoostError(text.format(folder=folder, name=printable(others[0])))


def _freeName(path: Path) -> Path:
    """Where what the user made of a file of ours is kept."""
    names = (path.with_name(f"{path.stem}-edited-{number}{path.suffix}") for number in count(1))
    return next(name for name in names if not os.path.lexists(name))
