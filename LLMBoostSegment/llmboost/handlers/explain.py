"""The request to explain what a model says of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..service import Answer, Job
from .volumes import as_bytes, images_of, roi_of, slice_of

if TYPE_CHECKING:
    from . import Engine


def explain(engine: Engine, job: Job) -> Answer:
    """Show where a model looked.

    Fields: as for segments or classes, and ``target`` (value of a class, or of a label as it was drawn; None: the class
    that the model decides for, or the first label), ``method`` and ``layer`` (of :mod:`llmboost.explanation.maps`;
    None: the defaults). A classifier's map of an image that it refuses is refused, too, unless ``anyway`` is true.

    Gives ``target`` (value and name), ``method``, ``layer``, ``warnings``, ``seconds``, ``provenance``; array ``map``
    [k, j, i] on the first channel's grid as uint8 (255 is 1).
    """
    channels = images_of(job)
    model = engine.model(job)
    from ..explanation import LAYERS, METHODS, ExplanationSpec
    from ..inference.explain import explain
    from ..inference.watch import Watch
    from ..provenance import provenance

    target = job.fields.get("target")
    spec = ExplanationSpec(
        None if target is None else int(target),
        str(job.fields.get("method") or next(iter(METHODS))),
        str(job.fields.get("layer") or LAYERS[0]),
    )
    job.progress(0.0, "explaining")
    found = explain(
        model,
        channels,
        spec,
        roi=roi_of(job),
        slice_number=slice_of(job),
        anyway=job.fields.get("anyway") is True,
        watch=Watch(lambda fraction: job.progress(fraction, "explaining"), job.cancelled),
    )
    fields = {
        "target": {"value": found.target.value, "name": found.target.name},
        "method": found.method,
        "layer": found.layer,
        "warnings": list(found.warnings),
        "seconds": found.seconds,
        "provenance": provenance(model.card, found.localizer),
    }
    return fields, {"map": as_bytes(found.map.array)}
