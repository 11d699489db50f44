"""What is asked and answered about DICOM objects of a case."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..card import Flag, Volumetry
from .codec import Answer
from .images import DrawnLabel, Volume
from .words import RequestKind
from .worker import ModelRequest


@dataclass(frozen=True, eq=False)
class DicomAnswer(Answer):
    """A segmentation (SEG) and a report of what it measures (SR): the bytes (uint8) of their files, and their
    SOPInstanceUIDs."""

    segmentation: np.ndarray
    measurements: np.ndarray
    uids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, eq=False)
class DicomRequest(ModelRequest[DicomAnswer], sent_as=RequestKind.DICOM):
    """Make DICOM objects of the segments of a case, of the patient and study of the series that they were drawn on.

    Attributes:
        files: of the series, on the worker's machine.
        labelmap: the segments, on the grid of the series.
        volumes_ml: of each label, by name.
        edited: a person has changed the segments since.
    """

    files: tuple[str, ...]
    labelmap: Volume
    labels: tuple[DrawnLabel, ...]
    volumes_ml: dict[str, float]
    volumetry: Volumetry = field(default_factory=Volumetry)
    quality: Flag | None = None
    edited: bool = False
