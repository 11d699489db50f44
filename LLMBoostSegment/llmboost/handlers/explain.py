"""The request to explain what a model says of an image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, overload

from ..errors import NotExplained
from ..messages.images import ExplainAnswer, ExplainOptions, ExplainRequest, ExplanationMap, Named
from ..messages.words import Layer, Method
from ..service import Job
from .volumes import as_bytes, images_of, roi_of

if TYPE_CHECKING:
    from ..explanation import Explanation, ExplanationSpec
    from . import Engine

T = TypeVar("T")


def explain(engine: Engine, job: Job[ExplainRequest]) -> ExplainAnswer:
    """Show where a model looked. Of an image that a classifier refuses, no map is made either."""
    request, channels = job.request, images_of(job.request.volumes, job.request.modality)
    model = engine.model(job)
    from ..inference.explain import explain
    from ..inference.watch import Watch
    from ..provenance import provenance

    job.progress(0.0, "explaining")
    found = explain(
        model,
        channels,
        spec_of(request.explain),
        roi=roi_of(request),
        slice_number=request.slice_number,
        anyway=request.anyway,
        watch=Watch(lambda fraction: job.progress(fraction, "explaining"), job.cancelled),
    )
    return ExplainAnswer(
        explanation=map_of(found), seconds=found.seconds, provenance=provenance(model.card, found.localizer)
    )


def spec_of(what: ExplainOptions | None) -> ExplanationSpec | None:
    """What is to be explained, if anything."""
    from ..explanation import ExplanationSpec

    return None if what is None else ExplanationSpec(what.target, what.method, what.layer)


def even_without_map(compute: Callable[[], T]) -> T:
    """A result; where no map of it can be made, the result alone, with a warning that tells why."""
    try:
        return compute()
    except NotExplained as error:
        return replace(error.result, warnings=(*error.result.warnings, f"not explained: {error}"))


@overload
def map_of(found: Explanation) -> ExplanationMap: ...
@overload
def map_of(found: Explanation | None) -> ExplanationMap | None: ...
def map_of(found: Explanation | None) -> ExplanationMap | None:
    """An explanation as it travels, if there is one."""
    if found is None:
        return None
    target = Named(found.target.value, found.target.name)
    return ExplanationMap(target, Method(found.method), Layer(found.layer), as_bytes(found.map.array), found.warnings)
