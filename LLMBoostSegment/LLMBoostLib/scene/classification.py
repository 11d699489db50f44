"""From the worker's answer to the probabilities of classes, and to tables of them in the scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import slicer
from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError
from llmboost.messages.images import ClassChance, ClassifyAnswer, SliceChances

from .explanation import Explanation
from .nodes import derivedNode, knownNode, removeNode
from .segmentinput import SegmentInput
from .tables import fillTable
from .volumes import frameWarnings

CLASS, PROBABILITY, SLICE, DECISION = "Class", "Probability", "Slice", "Decision"
DECIMALS = 4  # of a probability in a table
BAR = 150  # pixels, of a probability of 1
_DECIDED, _OTHER = "#0072b2", "#9aa5b1"  # colors of bars


@dataclass(frozen=True)
class Classification:
    """What a model says about an image, and the tables that tell it in the scene.

    Attributes:
        classes: all that the model knows, in its order; none if it refuses the image.
        decision: the names of those it decides for: one, or any number where classes do not exclude each other.
        positive: the name of the class that counts as a finding; empty where none does.
        threshold: from this probability on it is decided for that class; None: for the most probable one.
        outside: why the image is outside of what the model was made for; empty: it is not.
        slices: of a 2D model, each slice's index and its probabilities in the order of ``classes``.
        tableNode: a row a class; None if the model refuses the image.
        slicesNode: a row a slice, where there are several.
        volumeNode: the image; None where a segment was classified.
        warnings: what a user should know before believing the result.
        seconds: time that the engine took.
        explanation: of where the model looked, if that was asked for.
    """

    classes: tuple[ClassChance, ...]
    decision: tuple[str, ...]
    positive: str
    threshold: float | None
    outside: tuple[str, ...]
    slices: tuple[SliceChances, ...]
    tableNode: Any
    slicesNode: Any = None
    volumeNode: Any = None
    warnings: tuple[str, ...] = ()
    seconds: float = 0.0
    explanation: Explanation | None = None

    @property
    def refused(self) -> bool:
        """Whether the model gives no answer, for the image is of another kind than it knows."""
        return not self.classes

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it is of another kind."""
        return self.outside

    @property
    def name(self) -> str:
        """Says in a line what was decided."""
        if self.refused:
            return _("not an image that this model knows")
        return ", ".join(self.decision) or _("none of the classes")

    @property
    def targets(self) -> list[tuple[int, str]]:
        """What can be explained: values and names, the decision first."""
        ordered = sorted(self.classes, key=lambda one: one.name not in self.decision)
        return [(one.value, one.name) for one in ordered]

    @property
    def nodes(self) -> list[Any]:
        """The tables."""
        return [node for node in (self.tableNode, self.slicesNode) if node is not None]

    def revert(self) -> None:
        """Take the tables back."""
        for node in self.nodes:
            removeNode(node)


def writeClassification(answer: ClassifyAnswer, inputs: Sequence[Any]) -> Classification:
    """Make the tables of an answer to the request ``classify``; those of an earlier run of the same model are updated.

    An image that the model refuses gets none.

    Args:
        inputs: the volume nodes or the segment that were sent.

    Raises:
        LLMBoostError: the input was removed from the scene meanwhile.
    """
    first, classes, slices = inputs[0], answer.classes, answer.slices
    segment = first if isinstance(first, SegmentInput) else None
    source = segment.segmentationNode if segment else first
    if not slicer.mrmlScene.IsNodePresent(source):
        raise LLMBoostError(
            _("{name}: was removed from the scene meanwhile; its classification is dropped").format(
                name=source.GetName()
            )
        )
    provenance = answer.provenance
    subject = f"{segment.segmentID} {provenance['LLMBoost.Model']}" if segment else provenance["LLMBoost.Model"]
    title = " ".join([source.GetName(), *([segment.name] if segment else []), provenance["LLMBoost.Model"]])

    def table(kind: str, columns: dict[str, list]) -> Any:
        """A table of these columns, if there are any. What an earlier run told goes once the image is refused."""
        role = f"{kind} {subject}"
        if not columns:
            if not classes:
                removeNode(knownNode("vtkMRMLTableNode", source, role))
            return None
        node, _isNew = derivedNode("vtkMRMLTableNode", source, role, f"{title} {kind}")
        fillTable(node, columns)
        for key, text in provenance.items():
            node.SetAttribute(key, text)
        return node

    chances: dict[str, list] = {
        CLASS: [one.name for one in classes],
        PROBABILITY: [round(one.probability, DECIMALS) for one in classes],
        DECISION: [_("yes") if one.name in answer.decision else "" for one in classes],
    }
    columns = {known.name: [round(one.probabilities[n], DECIMALS) for one in slices] for n, known in enumerate(classes)}
    tableNode = table("classes", chances if classes else {})
    slicesNode = table("slices", {SLICE: [one.number for one in slices], **columns} if len(slices) > 1 else {})
    outside = answer.range.reasons
    warnings = [warning for node in inputs if not segment for warning in frameWarnings(node)]
    warnings += [warning for warning in answer.warnings if warning not in outside]
    return Classification(
        classes,
        answer.decision,
        answer.positive,
        answer.threshold,
        outside,
        slices,
        tableNode,
        slicesNode,
        None if segment else first,
        tuple(warnings),
        answer.seconds,
    )


def asRichText(found: Classification) -> str:
    """The decision, and a bar for each class, as the panel shows them; or that there is no answer."""
    if found.refused:
        return f"<p><b>{escape(found.name)}</b></p>"
    notes = []
    if len(found.slices) > 1:
        notes.append(_("over {count} slices").format(count=len(found.slices)))
    elif found.slices and min(found.volumeNode.GetImageData().GetDimensions()) > 1:
        notes.append(_("slice {number}").format(number=found.slices[0].number))
    if found.positive and found.threshold is not None:
        text = _("positive class: {name}, reported from {percent} on")
        notes.append(text.format(name=found.positive, percent=_percent(found.threshold)))
    notes.append(_("not for clinical use"))
    rows = "".join(_row(one, found) for one in found.classes)
    table = f'<table cellspacing="0" cellpadding="2">{rows}</table>'
    return f"<p><b>{escape(found.name)}</b></p>{table}<p>{escape(' · '.join(notes))}</p>"


def _row(one: ClassChance, found: Classification) -> str:
    color = _DECIDED if one.name in found.decision else _OTHER
    width = max(1, round(BAR * one.probability))
    bar = f'<table cellspacing="0" cellpadding="0"><tr><td width="{width}" bgcolor="{color}">&nbsp;</td></tr></table>'
    return (
        f'<tr><td style="padding-right: 8px">{escape(one.name)}</td>'
        f'<td align="right" style="padding-right: 8px">{_percent(one.probability)}</td><td>{bar}</td></tr>'
    )


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f} %"
