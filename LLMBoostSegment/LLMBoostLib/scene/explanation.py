"""Maps of where a model looked, as volumes of the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from llmboost.messages.images import ExplainOptions, ExplanationMap, ImageAnswer
from llmboost.messages.words import Layer, Method

from .maps import EXPLANATION_COLORS, writeMap


@dataclass(frozen=True)
class Explanation:
    """A map that explains a result.

    Attributes:
        what: it explains; ``name`` is that of its class or segment.
        mapNode: a volume of 0 to 1 over the image, which is ``volumeNode``.
        warnings: what a user should know before believing the map.
        seconds: time that the engine took.
    """

    what: ExplainOptions
    name: str
    mapNode: Any
    volumeNode: Any
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def methodNames() -> dict[Method, str]:
    """By the engine's word."""
    return {Method.GRAD_CAM: _("Grad-CAM"), Method.ROLLOUT: _("Attention rollout")}


def layerNames() -> dict[Layer, str]:
    """By the engine's word, the default first."""
    return {Layer.AFTER: _("After the booster"), Layer.BEFORE: _("Before the booster")}


def writeExplanation(found: ExplanationMap, answer: ImageAnswer, volumeNode: Any) -> Explanation:
    """Make the volume of a map that came with an answer; an earlier one of the same kind is updated.

    Raises:
        LLMBoostError: the volume was removed or changed meanwhile.
    """
    what = ExplainOptions(found.target.value, found.method, found.layer)
    name, provenance = found.target.name, answer.provenance
    kind = f"explanation {provenance['LLMBoost.Model']} {what.target} {what.method} {what.layer}"
    subject = name if what.layer == Layer.AFTER else f"{name} ({layerNames()[what.layer].lower()})"
    title = methodNames().get(what.method, what.method)
    mapNode = writeMap(found.map, volumeNode, kind, title, subject, provenance, EXPLANATION_COLORS)
    return Explanation(what, name, mapNode, volumeNode, (*answer.warnings, *found.warnings), answer.seconds)
