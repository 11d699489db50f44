"""Whether what is chosen in the panel can be computed, and what speaks against it."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from llmboost.errors import LLMBoostError

from ..scene import fit
from .errordisplay import sentence
from .inputview import MAX_CHANNELS
from .modelentries import Entry


def examine(entry: Entry | None, node: Any, inputs: list[Any]) -> tuple[str, list[str]]:
    """Why there can be no result (empty: nothing is in the way), and what speaks against a good one.

    Args:
        node: the parameters.
        inputs: what the model is to be given.
    """
    if entry is None:
        if node.model:
            text = _("The model '{name}' is not installed here: choose another, or import it")
            return text.format(name=node.model), []
        return _("Choose a model"), []
    card = entry.card
    if card is None:
        return _("The model's file is damaged: choose another, or remove it"), []
    if card.preprocessing.channels > MAX_CHANNELS:
        return _("The model takes more images than this panel has room for: use the logic from Python"), []
    try:
        fit.check(card, inputs, node.roi)
    except LLMBoostError as error:
        return sentence(error), []
    return "", [
        *fit.concerns(card, inputs, node.roi),
        *fit.replaced(card, node.outputSegmentation, inputs[0], node.roi),
    ]
