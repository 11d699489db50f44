"""The request to make DICOM objects of the segments of a case."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..card import Code, Label, read_card
from ..errors import LLMBoostError
from ..messages.dicom import DicomAnswer, DicomRequest
from ..messages.images import DrawnLabel
from ..messages.words import ErrorKind
from ..service import Job, RequestError
from .volumes import images_of

if TYPE_CHECKING:
    from . import Engine

WAY = 'Slicer 5.12 brings it along; elsewhere, install it for the worker: pip install "highdicom>=0.27" "pydicom>=3"'


def dicom(engine: Engine, job: Job[DicomRequest]) -> DicomAnswer:
    """Make a segmentation and a structured report."""
    request, card = job.request, read_card(engine.path(job.request.model))
    (labelmap,) = images_of([request.labelmap], "")
    known = {0, *(label.value for label in request.labels)}
    if not known.issuperset(np.unique(labelmap.array).tolist()):
        raise LLMBoostError("the request's segments cannot be used (a value is no label's)")
    if not find_spec("highdicom"):
        raise RequestError(ErrorKind.NOT_AVAILABLE, "DICOM objects need highdicom, which is not installed", WAY)
    with job.loading("writing DICOM objects"):
        from pydicom import dcmread

        from ..io.dicom import Series, lies_on, write_dicom_seg, write_dicom_sr
    series = Series("", None, "", "", tuple(map(Path, request.files)))
    if not lies_on(labelmap, series):
        raise LLMBoostError(
            "the image does not lie where its DICOM files say (it was moved, or resampled when it was loaded), so its"
            " segments cannot refer to them; save them as .seg.nrrd"
        )
    drawer = replace(card, labels=tuple(map(_label, request.labels)))
    with tempfile.TemporaryDirectory() as folder:
        segmentation, measurements = Path(folder, "segmentation.dcm"), Path(folder, "measurements.dcm")
        write_dicom_seg(labelmap, drawer, series, segmentation, guided=request.edited)
        quality = None if request.edited else request.quality
        write_dicom_sr(measurements, segmentation, drawer, request.volumes_ml, request.volumetry, quality)
        paths = segmentation, measurements
        uids = tuple(str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID) for path in paths)
        seg, sr = (np.frombuffer(path.read_bytes(), np.uint8) for path in paths)
        return DicomAnswer(seg, sr, uids)


def _label(drawn: DrawnLabel) -> Label:
    """A segment with the codes of its terminology, as Slicer writes it: context, category, type, its modifier, context,
    region, its modifier."""
    parts = [*map(_code, drawn.terminology.split("~")), *[None] * 7]
    _context, category, kind, modifier, _anatomy, region, region_modifier = parts[:7]
    label = Label(drawn.value, drawn.name, drawn.color, guessed=drawn.guessed)
    if category is None or kind is None:
        return label
    return replace(
        label, category=category, type=kind, modifier=modifier, region=region, region_modifier=region_modifier
    )


def _code(text: str) -> Code | None:
    parts = text.split("^")
    return Code(*parts) if len(parts) == 3 and parts[0] and parts[1] else None
