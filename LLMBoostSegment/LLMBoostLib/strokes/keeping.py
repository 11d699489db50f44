"""What stays of strokes: the name of a model that they have taught, and a case to train with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from slicer.i18n import tr as _

from llmboost.card import Card

from ..training import candidate, snapshot
from ..training.cases import Snapshot
from ..training.casestore import CaseStore

_OWN = re.compile(r"-local-\d+$")


def freeName(model: str) -> str:
    """A name for what strokes have made of a model, which may have been made so itself."""
    return candidate.freeName(_OWN.sub("", model))


def addCase(
    volumeNode: Any, segmentationNode: Any, resultNode: Any = None, card: Card | None = None, store: Any = None
) -> list[Snapshot]:
    """Hand an image with its strokes to LLMBoost Train.

    Args:
        segmentationNode: the strokes. What is painted of its segments are labels, that of one named background belongs
            to none, and all the rest counts as not labeled.
        resultNode: the whole, which the user finds right: then all of it counts.
        card: of the model that is to learn from it, for crops of a large image.
        store: where cases lie; by default the folder of LLMBoost Train.

    Raises:
        LLMBoostError: the image is of no use, or the folder cannot be written.
    """
    store = store or CaseStore()
    return snapshot.addCases(
        store, volumeNode, segmentationNode, card=card, drawn=resultNode, partly=resultNode is None
    )


def describe(cases: Sequence[Snapshot], whole: bool) -> str:
    """What became of a case, and what to do next."""
    names = ", ".join(case.id for case in cases)
    if whole:
        text = _("Added as case {names}: all of the result counts. Train makes a model of the cases that were added")
    else:
        text = _(
            "Added as case {names}: what is painted counts, no more. Train makes a model of the cases that were added"
        )
    return text.format(names=names)
