"""Results of volumes that came from Slicer's DICOM database, stored back to it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.messages.dicom import DicomAnswer, DicomRequest
from llmboost.messages.images import Volume

from .report import canBeReported, drawerOf, drawnNow
from .result import Result

_LPS = np.array([-1.0, -1.0, 1.0])  # times RAS


def sourceFiles(volumeNode: Any) -> tuple[str, ...]:
    """The files that a volume was loaded from, where the database still knows all of them; else none."""
    database, uids = _database(), _uids(volumeNode)
    files = [database.fileForInstance(uid) for uid in uids] if database else []
    return tuple(files) if all(files) else ()


def canBeStored(result: object) -> bool:
    """Whether a result is of one image, which came from the database; of its many files, one is looked for."""
    if not (isinstance(result, Result) and canBeReported(result)):
        return False
    database, uids = _database(), _uids(result.volumeNode)
    return bool(database and uids and database.fileForInstance(uids[0]))


def _database() -> Any:
    """Slicer's, where it is open; else None."""
    database = getattr(slicer, "dicomDatabase", None)
    return database if database is not None and database.isOpen else None


def _uids(volumeNode: Any) -> list[str]:
    return (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()


def dicomRequest(result: Result, model: str, *, edited: bool) -> DicomRequest:
    """The request to make DICOM objects of segments as they are now, with the sizes that their table tells.

    Args:
        model: that was asked.
        edited: a person has changed the segments since.

    Raises:
        LLMBoostError: the database no longer knows the image, or there is nothing to store.
    """
    files, drawn = sourceFiles(result.volumeNode), drawnNow(result)
    name = result.volumeNode.GetName()
    if not files:
        text = _("{name}: Slicer's DICOM database does not know this image (any more); import its files there")
        raise LLMBoostError(text.format(name=name))
    if not drawn.labelmap.any():
        raise LLMBoostError(_("{name}: nothing was found, so there is nothing to store").format(name=name))
    return DicomRequest(
        model=drawerOf(result, model),
        files=files,
        labelmap=_asStored(drawn.labelmap, result.volumeNode),
        labels=drawn.labels,
        volumes_ml=drawn.volumesMl,
        volumetry=result.volumetry,
        quality=result.quality,
        edited=edited,
    )


def _asStored(labelmap: np.ndarray, volumeNode: Any) -> Volume:
    """In the frame of the DICOM files: a transform that moves the volume in the scene is not theirs."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    ras = slicer.util.arrayFromVTKMatrix(matrix)
    spacing = np.linalg.norm(ras[:3, :3], axis=0)
    i, j, k = spacing.tolist()
    right, front, up = (_LPS * ras[:3, 3]).tolist()
    return Volume(labelmap, (i, j, k), (right, front, up), _LPS[:, None] * ras[:3, :3] / spacing)


def store(answer: DicomAnswer) -> None:
    """Copy the objects of an answer into the database, by Slicer's own import; nothing that is there is changed, for
    they are new.

    Raises:
        LLMBoostError: the database was closed meanwhile, or did not take them.
    """
    import DICOMLib.DICOMUtils  # only where Slicer was built with DICOM

    with tempfile.TemporaryDirectory() as folder:
        for name, data in (("segmentation.dcm", answer.segmentation), ("measurements.dcm", answer.measurements)):
            Path(folder, name).write_bytes(data.tobytes())
        database = _database()
        taken = database and DICOMLib.DICOMUtils.importDicom(folder, copyFiles=True)
        if not (taken and all(database.fileForInstance(uid) for uid in answer.uids)):
            raise LLMBoostError(
                _("Slicer's DICOM database did not take the segments; see the error log, and whether it can be written")
            )
