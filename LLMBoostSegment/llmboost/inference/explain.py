"""Explaining one case after it was segmented or classified: a map in [0, 1] on the very grid of its first channel."""

from __future__ import annotations

from collections.abc import Sequence

from ..card import CLASSIFICATION
from ..errors import LLMBoostError
from ..explanation import Explanation, ExplanationSpec
from ..io.image import Image
from ..model import Model
from .classify import classify, refusal
from .explain_segment import explain_segment, mask_on
from .roi import Roi
from .views import views
from .watch import UNWATCHED, Watch


def explain(
    model: Model,
    channels: Sequence[Image],
    spec: ExplanationSpec | None = None,
    *,
    reference: Image | None = None,
    roi: Roi | None = None,
    slice_number: int | None = None,
    anyway: bool = False,
    watch: Watch = UNWATCHED,
) -> Explanation:
    """Explain what a model says of a case: a class of a classifier by its log-odds, a segment by its mean logit.

    Whoever wants the answer, too, asks :func:`.segment.segment` or :func:`.classify.classify` for both at once.

    Args:
        channels, roi, slice_number, anyway: as for those.
        spec: what to explain, and how; by default the class that the model decides for, or the first label.
        reference: of a segmenter, what counts as the segment, where it is not zero, on any grid; by default, what the
            model draws.

    Raises:
        LLMBoostError: there is no such target, or the model cannot take the images or does not know their kind.
        Cancelled: whoever waits cancelled.
    """
    spec = spec or ExplanationSpec()
    if model.card.task == CLASSIFICATION:
        found = classify(model, channels, roi=roi, slice_number=slice_number, anyway=anyway, explain=spec, watch=watch)
        if found.explanation is None:
            raise LLMBoostError(refusal(found.range))
        return found.explanation
    seen = views(model, channels, roi, watch)
    mask = None if reference is None else mask_on(reference, channels[0])
    return explain_segment(model, seen, spec, mask, watch.part(seen.done, 1))
