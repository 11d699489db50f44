"""Maps of where a model looked, as volumes of the scene."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slicer.i18n import tr as _

from ..worker.client import Answer
from .maps import writeMap

GRAD_CAM, ROLLOUT = "grad-cam", "attention-rollout"
BEFORE, AFTER = "before", "after"


@dataclass(frozen=True)
class What:
    """What to explain: the value of a class or of a segment's label, by a method, at a layer.

    The layers lie before and after the booster, the frozen block of the language model.
    """

    target: int
    method: str = GRAD_CAM
    layer: str = AFTER


@dataclass(frozen=True)
class Explanation:
    """A map that explains a result.

    Attributes:
        what: it explains; ``name`` is that of its class or segment.
        mapNode: a volume of 0 to 1 over the image, which is ``volumeNode``.
        warnings: what a user should know before believing the map.
        seconds: time that the engine took.
    """

    what: What
    name: str
    mapNode: Any
    volumeNode: Any
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0


def methodNames() -> dict[str, str]:
    """By the engine's word."""
    return {GRAD_CAM: _("Grad-CAM"), ROLLOUT: _("Attention rollout")}


def layerNames() -> dict[str, str]:
    """By the engine's word, the default first."""
    return {AFTER: _("After the booster"), BEFORE: _("Before the booster")}


def writeExplanation(answer: Answer, volumeNode: Any) -> Explanation:
    """Make the volume of an answer to the request ``explain``; an earlier one of the same kind is updated.

    Raises:
        LLMBoostError: the volume was removed or changed meanwhile.
    """
    fields = answer.fields
    what = What(int(fields["target"]["value"]), str(fields["method"]), str(fields["layer"]))
    name, provenance = str(fields["target"]["name"]), fields["provenance"]
    kind = f"explanation {provenance['LLMBoost.Model']} {what.target} {what.method} {what.layer}"
    subject = name if what.layer == AFTER else f"{name} ({layerNames()[what.layer].lower()})"
    title = methodNames().get(what.method, what.method)
    mapNode = writeMap(answer.arrays["map"], volumeNode, kind, title, subject, provenance)
    return Explanation(what, name, mapNode, volumeNode, tuple(fields["warnings"]), float(fields["seconds"]))
