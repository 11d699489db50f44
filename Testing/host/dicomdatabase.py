"""Slicer's DICOM database, and what imports files into it, as far as they are used: an index of real files by their
SOPInstanceUID."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import slicer


class DicomDatabase:
    """Stands in for ctkDICOMDatabase.

    Attributes:
        folder: where files are copied to.
        full: takes nothing any more, as a database that cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.isOpen = True
        self.folder, self.full = folder, False
        self._files: dict[str, str] = {}

    def insert(self, path: Path) -> None:
        """Index a file."""
        self._files[pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID] = str(path)

    def fileForInstance(self, uid: str) -> str:
        return self._files.get(uid, "")

    def instanceValue(self, uid: str, tag: str) -> str:
        path = self.fileForInstance(uid)
        group, element = (int(part, 16) for part in tag.split(","))
        found = pydicom.dcmread(path, stop_before_pixels=True).get((group, element)) if path else None
        value = found.value if found else ""
        return "\\".join(map(str, value)) if isinstance(value, pydicom.multival.MultiValue) else str(value)

    @property
    def files(self) -> list[str]:
        """All that it knows."""
        return sorted(self._files.values())


def importDicom(dicomDataDir: str, dicomDatabase: Any = None, copyFiles: bool = False) -> bool:
    """As DICOMLib.DICOMUtils': True, too, where the database has taken nothing."""
    database = dicomDatabase or slicer.dicomDatabase
    for path in sorted(Path(dicomDataDir).iterdir()) if not database.full else ():
        if copyFiles:
            uid = pydicom.dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID
            copy = database.folder / f"{uid}.dcm"
            copy.write_bytes(path.read_bytes())
            path = copy
        database.insert(path)
    return True


def dicomLib() -> dict[str, ModuleType]:
    """DICOMLib's modules by name."""
    package, utils = ModuleType("DICOMLib"), ModuleType("DICOMLib.DICOMUtils")
    utils.importDicom = importDicom  # type: ignore[attr-defined]
    package.DICOMUtils = utils  # type: ignore[attr-defined]
    package.__path__ = []
    return {"DICOMLib": package, "DICOMLib.DICOMUtils": utils}
