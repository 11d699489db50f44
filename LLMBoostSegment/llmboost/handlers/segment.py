"""The request to draw a model's segments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..messages.images import DrawnLabel, LabelMaps, SegmentAnswer, SegmentRequest
from ..service import Job
from .explain import even_without_map, map_of, spec_of
from .volumes import as_bytes, images_of, roi_of

if TYPE_CHECKING:
    from . import Engine


def segment(engine: Engine, job: Job[SegmentRequest]) -> SegmentAnswer:
    """Draw a model's segments."""
    request, channels = job.request, images_of(job.request.volumes, job.request.modality)
    model = engine.model(job)
    if request.fast:
        model = model.faster()
    from ..inference.memory import expected_peak, shortage
    from ..inference.pace import about, expected_seconds
    from ..inference.segment import segment
    from ..inference.watch import Watch
    from ..io.segnrrd import terminology_entry
    from ..provenance import FAST, provenance

    roi = roi_of(request)
    memory = int(expected_peak(model.card, channels[0], roi))
    time = about(expected_seconds(model, channels[0], roi, mirror=request.mirror))
    text = f"segmenting, {time}" if time else "segmenting"
    job.progress(0.0, text, memory)
    result = even_without_map(
        lambda: segment(
            model,
            channels,
            roi=roi,
            mirror=request.mirror,
            probabilities=request.probabilities,
            entropy=request.uncertainty,
            explain=spec_of(request.explain),
            watch=Watch(lambda fraction: job.progress(fraction, text, memory), job.cancelled),
        )
    )
    maps = () if result.probabilities is None else result.probabilities.array[1:]
    chances = {label.value: as_bytes(chance) for label, chance in zip(model.card.labels, maps, strict=False)}
    return SegmentAnswer(
        labelmap=np.ascontiguousarray(result.labelmap.array.transpose()),
        labels=tuple(
            DrawnLabel(one.value, one.name, one.color, terminology_entry(one), one.guessed) for one in result.labels
        ),
        classes=tuple(LabelMaps(one.value, one.name, chances.get(one.value)) for one in model.card.labels),
        volumes_ml=result.volumes_ml,
        volumetry=result.volumetry,
        entropy=None if result.entropy is None else as_bytes(result.entropy.array),
        quality=result.quality,
        explanation=map_of(result.explanation),
        warnings=(*shortage(model.card, channels[0], roi), *result.warnings),
        seconds=result.seconds,
        provenance=provenance(model.card, result.localizer, result.drawn_by) | (FAST if request.fast else {}),
    )
