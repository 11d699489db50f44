"""Making one model of several that were trained for the same (:mod:`.networks.ensemble`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .card import SEGMENTATION, Card
from .card.figures import NOT_TAUGHT
from .errors import LLMBoostError
from .model import Model, save_model
from .networks import describe
from .networks.ensemble import MAX_MEMBERS, Ensemble, members_of


def combine(models: Sequence[Model], output: Path, **fields: Any) -> Card:
    """Write a model file that holds the networks of ``models`` and answers with the mean of their probabilities.

    An ensemble among them counts as its members; an adapted model is taken with its base's weights, so that the file
    needs no other. Nothing is measured: the card has no figures unless ``fields`` tells them.

    Args:
        fields: of the card, above those that follow from the models. Classifiers, whose classes exclude each other,
            need ``classification``, for what one network's answers mean several networks' need not.

    Returns:
        the card that was written.

    Raises:
        LLMBoostError: too few or too many models, one twice, classifiers, models that another program trained or that
            differ in labels, preprocessing or architecture, or a file that cannot be written.
    """
    if len(models) < 2:
        raise LLMBoostError(f"{output}: an ensemble needs two models or more; name another one")
    first, *others = models
    if first.card.task != SEGMENTATION and "classification" not in fields:
        raise LLMBoostError(f"model '{first.card.name}' classifies; only segmenters can be combined")
    if imported := [model.card for model in models if model.card.origin]:
        raise LLMBoostError(
            f"model '{imported[0].name}' was trained with another program; folds of such a model are put together as"
            " they are imported (`llmboost models import --fold 0,1,2`)"
        )
    for other in others:
        _check_alike(first, other)
    cards = [model.card for model in models]
    if len({card.digest for card in cards}) < len(cards):
        raise LLMBoostError(f"{output}: two of the models are the same one; name each once")
    networks = [member for model in models for member in members_of(model.network)]
    if len(networks) > MAX_MEMBERS:
        raise LLMBoostError(
            f"{output}: {len(networks)} networks, an ensemble takes up to {MAX_MEMBERS}; leave some out"
        )
    network = Ensemble(networks)
    entry, booster = describe(network)
    figures = fields.pop("figures", {})
    untaught = [name for name in _untaught(cards[0]) if all(name in _untaught(card) for card in cards)]
    card = replace(
        first.card,
        name=output.stem,
        description=f"The mean of {len(networks)} networks: {', '.join(card.name for card in cards)}",
        network=entry,
        booster=booster,
        adapter=None,
        quality=None,  # fitted to one network's probabilities, and several are less sure
        cascade=first.card.cascade and replace(first.card.cascade, quality=None),
        license="; ".join(dict.fromkeys(card.license for card in cards if card.license)),
        citation="; ".join(dict.fromkeys(card.citation for card in cards if card.citation)),
        training={"members": [_origin(card) for card in cards]},
        figures={**({NOT_TAUGHT: untaught} if untaught else {}), **figures},
        version="1.0",
    )
    return save_model(network, replace(card, **fields), output)


def _check_alike(one: Model, other: Model) -> None:
    """Raises LLMBoostError unless both models say the same of the same images."""
    a, b = one.card, other.card
    labels = [[(label.value, label.name) for label in card.labels] for card in (a, b)]
    kinds = [[describe(member) for member in members_of(model.network)[:1]] for model in (one, other)]
    differing = [
        name
        for name, same in (
            ("task", a.task == b.task),
            ("labels", labels[0] == labels[1]),
            ("preprocessing", a.preprocessing == b.preprocessing),
            ("network or booster", kinds[0] == kinds[1]),
            ("cascade", (a.cascade and a.cascade.targets) == (b.cascade and b.cascade.targets)),
            ("subject", a.subject == b.subject),
            ("what is kept of what they draw", _kept(a) == _kept(b)),
        )
        if not same
    ]
    if differing:
        raise LLMBoostError(
            f"models '{a.name}' and '{b.name}' differ in {', '.join(differing)}; combine models that were trained alike"
            " (such as with other seeds or folds)"
        )


def _untaught(card: Card) -> list[Any]:
    names = card.figures.get(NOT_TAUGHT)
    return names if isinstance(names, list) else []


def _origin(card: Card) -> dict[str, Any]:
    adapter = {"adapted_from": card.adapter.base_digest} if card.adapter else {}
    return {"name": card.name, "version": card.version, "digest": card.digest, **adapter, "training": card.training}


def _kept(card: Card) -> tuple[bool, tuple[int, ...]]:
    return card.largest_component, card.one_piece
