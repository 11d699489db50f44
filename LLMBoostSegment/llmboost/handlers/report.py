"""The request to write the report of a case."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np

from ..card import Label, read_card
from ..errors import LLMBoostError
from ..messages.report import ReportAnswer, ReportRequest
from ..messages.words import ErrorKind, ReportForm
from ..service import Job, RequestError
from .volumes import images_of

if TYPE_CHECKING:
    from . import Engine

WAY = "Let LLMBoost install its packages, matplotlib among them"


def report(engine: Engine, job: Job[ReportRequest]) -> ReportAnswer:
    """Write a report."""
    request, card = job.request, read_card(engine.path(job.request.model))
    (image,) = images_of([request.volume], "")
    maps = [request.labelmap, *([] if request.entropy is None else [request.entropy])]
    missing = {label.name for label in request.labels} - request.volumes_ml.keys()
    if missing or any(array.shape != request.volume.array.shape for array in maps):
        raise LLMBoostError("the request's segments cannot be used (without volumes, or of other sizes than the image)")
    if not find_spec("matplotlib"):
        raise RequestError(ErrorKind.NOT_AVAILABLE, "a report's pictures need matplotlib, which is not installed", WAY)
    with job.loading("writing the report"):
        from ..report.case import case_report, mean_entropy
        from ..report.casepdf import pdf
        from ..report.sentences import Measured
    labelmap = image.with_array(request.labelmap.transpose())
    entropy = None
    if request.entropy is not None:
        entropy = image.with_array((request.entropy / np.float32(255)).transpose())
    measured = Measured(
        request.volumes_ml,
        request.volumetry,
        request.quality,
        None if entropy is None else mean_entropy(entropy, labelmap),
        request.warnings,
        request.edited,
    )
    labels = [Label(one.value, one.name, one.color) for one in request.labels]
    made = case_report(request.title, card, measured, image, labelmap, labels, entropy)
    data = pdf(made) if request.form == ReportForm.PDF else made.html()
    return ReportAnswer(np.frombuffer(data, np.uint8))
