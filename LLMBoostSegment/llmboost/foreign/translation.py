"""What a model that another program trained is made into, and what all such programs' models need on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..card import PALETTE, Card, Label, same_name
from ..errors import LLMBoostError
from ..files import printable
from ..networks import build
from .checkpoint import check_size

ALL = "all"  # folds


class Unsupported(Exception):
    """What our engine does not do as the other program does, in words."""


@dataclass(frozen=True)
class Translation:
    """A model of ours.

    Attributes:
        network: with its weights.
        card: with the name that it could have, and the license that is told; without the network's entries.
        terms: what is told of a license that a user should know and agree to; empty where ``card.license`` says all.
    """

    network: nn.Module
    card: Card
    terms: str = ""


def chosen(checkpoints: Mapping[str, Path], folds: str | None, folder: Path) -> dict[str, Path]:
    """The checkpoints of the folds that a user wants: "0", "0,1,2", or "all", which is the network trained on all cases
    where there is one, else every fold's; by default that one, or the first fold alone.

    Args:
        checkpoints: by fold: "0", "1", ..., or "all", of a network that was trained on all cases.

    Raises:
        LLMBoostError: there is no such fold.
    """
    if folds is None:
        wanted = [ALL if ALL in checkpoints else min(checkpoints, key=int)]
    elif folds == ALL:
        wanted = [ALL] if ALL in checkpoints else sorted(checkpoints, key=int)
    else:
        wanted = list(dict.fromkeys(fold.strip() for fold in folds.split(",")))
    if missing := [printable(fold) for fold in wanted if fold not in checkpoints]:
        raise LLMBoostError(f"{folder}: no fold {', '.join(missing)}; there are {', '.join(checkpoints)}")
    return {fold: checkpoints[fold] for fold in wanted}


def filled(entry: Mapping[str, Any], weights: Mapping[str, Tensor], file: Path, described: str) -> nn.Module:
    """The network of a card's entry, with weights that fit it exactly.

    Args:
        file: that the weights are from; ``described`` is what describes the network, for messages.

    Raises:
        LLMBoostError: they do not fit, or are larger than the file.
    """
    options = dict(entry)
    try:
        with torch.device("meta"):  # a description that lies about sizes must not take memory
            network = build(options.pop("name"), options, None)
        check_size(dict(weights), file)
        network.load_state_dict(dict(weights), assign=True)
        network = network.float()
    except LLMBoostError:
        raise
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = printable((str(error).strip().splitlines() or [type(error).__name__])[-1].strip())
        raise LLMBoostError(f"{file}: its weights are not those of the network in {described} ({reason})") from error
    return network.eval()


def label(value: int, name: str) -> Label:
    """A label with a color of its own; codes are for others to find."""
    name = " ".join(printable(name).replace("_", " ").split()) or f"label {value}"
    return Label(value, name, PALETTE[(value - 1) % len(PALETTE)])


def told_apart(labels: list[Label]) -> tuple[Label, ...]:
    """The labels, of which those of one name get their number, too."""
    names = [same_name(one.name) for one in labels]
    return tuple(
        replace(one, name=f"{one.name} {one.value}") if names.count(name) > 1 else one
        for one, name in zip(labels, names, strict=True)
    )
