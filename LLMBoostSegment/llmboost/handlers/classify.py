"""The request to classify an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..service import Answer, Job
from .volumes import images_of, roi_of, slice_of

if TYPE_CHECKING:
    from . import Engine


def classify(engine: Engine, job: Job) -> Answer:
    """Tell a model's probabilities for an image.

    Fields: ``model`` (name, path or "sha256:..."), ``device``, ``roi`` and ``modality`` as for segments; ``slice``
    (of a 2D model, the one slice to look at, counted along the image's slice axis; None: all); ``geometry`` and arrays
    of the channels (:func:`llmboost.wire.pack_volumes`); ``anyway``: true answers for an image of another kind than the
    model knows, too.

    Gives ``refused`` (true: it is of another kind, and ``anyway`` was not asked for) and ``reasons`` (why it is of
    another kind, in words; with ``anyway``, of an answer, too; else empty); ``classes`` (value, name, calibrated
    probability; empty if refused), ``decision`` (a name, or with several labels a list; empty if refused), ``positive``
    (the class that is looked for, or empty) and its ``threshold``, ``slices`` (of several slices, each one's number and
    probabilities; empty if refused), ``range`` (score, limit, outside, reasons), ``warnings``, ``seconds``,
    ``provenance``.
    """
    channels = images_of(job)
    model = engine.model(job)
    from ..inference.classify import classify
    from ..inference.watch import Watch
    from ..provenance import provenance

    job.progress(0.0, "classifying")
    found = classify(
        model,
        channels,
        roi=roi_of(job),
        slice_number=slice_of(job),
        anyway=job.fields.get("anyway") is True,
        watch=Watch(lambda fraction: job.progress(fraction, "classifying"), job.cancelled),
    )
    card, classification = model.card, model.card.classification
    assert classification is not None
    labels = () if found.refused else card.labels
    return {
        "refused": found.refused,
        "reasons": list(found.range.reasons),
        "classes": [
            {"value": label.value, "name": label.name, "color": label.color, "probability": chance}
            for label, chance in zip(labels, found.probabilities, strict=True)
        ],
        "decision": list(found.decision) if classification.multi_label else "".join(found.decision),
        "positive": classification.positive,
        "threshold": classification.thresholds[0] if classification.positive else None,
        "slices": [
            {"slice": number, "probabilities": [float(p) for p in chances]}
            for number, chances in zip(found.slices, found.slice_probabilities, strict=True)
        ],
        "range": {
            "score": found.range.score,
            "limit": found.range.limit,
            "outside": found.range.outside,
            "reasons": list(found.range.reasons),
        },
        "warnings": list(found.warnings),
        "seconds": found.seconds,
        "provenance": provenance(model.card),
    }, {}
