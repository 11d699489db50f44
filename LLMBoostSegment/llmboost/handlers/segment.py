"""The request to draw a model's segments."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from ..service import Answer, Job
from .volumes import as_bytes, images_of, roi_of

if TYPE_CHECKING:
    from . import Engine


def segment(engine: Engine, job: Job) -> Answer:
    """Draw a model's segments.

    Fields: ``model`` (name, path or "sha256:..."), ``device``, ``roi`` (None, or center, size and axes, row by row,
    in LPS mm), ``mirror``, ``uncertainty``, ``probabilities``, ``modality`` (DICOM's term, or empty), and
    ``geometry`` and arrays of the channels (:func:`llmboost.wire.pack_volumes`).

    Gives ``labels`` (value, name, color, terminology) of the label map, ``classes`` (value, name) of the model,
    ``volumes_ml``, ``seconds``, ``warnings``, ``provenance``, ``quality`` (None, or what
    :class:`llmboost.inference.quality.Flag` holds); arrays [k, j, i] on the first channel's grid:
    ``labelmap``, and on request ``entropy`` and ``probability_<value of a class>`` as uint8 (255 is 1).
    """
    channels = images_of(job)
    model = engine.model(job)
    from ..inference.memory import expected_peak, shortage
    from ..inference.segment import segment
    from ..inference.watch import Watch
    from ..io.segnrrd import terminology_entry
    from ..provenance import provenance

    roi = roi_of(job)
    memory = int(expected_peak(model.card, channels[0], roi))
    job.progress(0.0, "segmenting", memory)
    try:
        result = segment(
            model,
            channels,
            roi=roi,
            mirror=bool(job.fields.get("mirror")),
            probabilities=bool(job.fields.get("probabilities")),
            entropy=bool(job.fields.get("uncertainty")),
            watch=Watch(lambda fraction: job.progress(fraction, "segmenting", memory), job.cancelled),
        )
    finally:
        engine.drop_if_moved()
    arrays = {"labelmap": np.ascontiguousarray(result.labelmap.array.transpose())}
    if result.entropy is not None:
        arrays["entropy"] = as_bytes(result.entropy.array)
    if result.probabilities is not None:
        for label, chance in zip(model.card.labels, result.probabilities.array[1:], strict=True):
            arrays[f"probability_{label.value}"] = as_bytes(chance)
    fields = {
        "labels": [
            {
                "value": label.value,
                "name": label.name,
                "color": label.color,
                "terminology": terminology_entry(label),
            }
            for label in result.labels
        ],
        "classes": [{"value": label.value, "name": label.name} for label in model.card.labels],
        "volumes_ml": result.volumes_ml,
        "seconds": result.seconds,
        "warnings": [*shortage(model.card, channels[0], roi), *result.warnings],
        "quality": None if result.quality is None else asdict(result.quality),
        "provenance": provenance(model.card, result.localizer),
    }
    return fields, arrays
