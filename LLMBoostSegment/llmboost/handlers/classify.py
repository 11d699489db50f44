"""The request to classify an image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..messages.images import ClassChance, ClassifyAnswer, ClassifyRequest, KnownRange, SliceChances
from ..service import Job
from .explain import even_without_map, map_of, spec_of
from .volumes import images_of, roi_of

if TYPE_CHECKING:
    from . import Engine


def classify(engine: Engine, job: Job[ClassifyRequest]) -> ClassifyAnswer:
    """Tell a model's probabilities for an image."""
    request, channels = job.request, images_of(job.request.volumes, job.request.modality)
    model = engine.model(job)
    from ..inference.classify import classify
    from ..inference.watch import Watch
    from ..provenance import provenance

    job.progress(0.0, "classifying")
    found = even_without_map(
        lambda: classify(
            model,
            channels,
            roi=roi_of(request),
            slice_number=request.slice_number,
            anyway=request.anyway,
            explain=spec_of(request.explain),
            watch=Watch(lambda fraction: job.progress(fraction, "classifying"), job.cancelled),
        )
    )
    card, classification = model.card, model.card.classification
    assert classification is not None
    labels = () if found.refused else card.labels
    return ClassifyAnswer(
        refused=found.refused,
        classes=tuple(
            ClassChance(label.value, label.name, chance)
            for label, chance in zip(labels, found.probabilities, strict=True)
        ),
        decision=found.decision,
        positive=classification.positive,
        threshold=classification.thresholds[0] if classification.positive else None,
        slices=tuple(
            SliceChances(number, tuple(float(p) for p in chances))
            for number, chances in zip(found.slices, found.slice_probabilities, strict=True)
        ),
        explanation=map_of(found.explanation),
        range=KnownRange(found.range.score, found.range.limit, found.range.reasons),
        warnings=found.warnings,
        seconds=found.seconds,
        provenance=provenance(card),
    )
