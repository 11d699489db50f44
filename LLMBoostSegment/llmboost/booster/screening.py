"""Which layer of a language model may boost, judged before any training by what it does to a host's tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .booster import Booster, BoosterConfig


@dataclass(frozen=True)
class Screened:
    """What a layer makes of tokens that enter it at its natural scale.

    Attributes:
        layer: counted from 0.
        rank: the effective rank of what comes out of the block.
        update_rank: of what the block adds to what entered.
        channel: the share of the added energy that lies in the strongest channel: near 1, all tokens get the same.
        kept: the share of what comes out that tells one token from another, by energy; the rest is all tokens' mean.
    """

    layer: int
    rank: float
    update_rank: float
    channel: float
    kept: float


def effective_rank(tokens: Tensor) -> float:
    """How many directions tokens (N, width) vary in: exp of the entropy of their normalized singular values, the mean
    taken off before (Roy & Vetterli 2007). Between 1 and the smaller of N - 1 and the width."""
    values = torch.linalg.svdvals(tokens - tokens.mean(dim=0))
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


@torch.no_grad()
def screen(tokens: Tensor, source: str, layers: Iterable[int], seed: int = 0) -> Iterator[Screened]:
    """What each of ``layers`` makes of a host's tokens (B, T, width) through a new adapter.

    Args:
        seed: of the adapter's weights, the same for all layers.

    Raises:
        LLMBoostError: the source is not there, or has no such layer.
    """
    for layer in layers:
        torch.manual_seed(seed)
        booster = Booster.pretrained(tokens.shape[-1], BoosterConfig(source, (layer,)))
        entering = booster.natural(booster.adapter_in(booster.norm(tokens)))
        leaving = booster.blocks(entering)
        added = (leaving - entering).flatten(0, 1)
        own = leaving - leaving.mean(dim=1, keepdim=True)
        by_channel = added.square().sum(dim=0)
        yield Screened(
            layer,
            effective_rank(leaving.flatten(0, 1)),
            effective_rank(added),
            float(by_channel.max() / by_channel.sum()),
            float(own.square().sum() / leaving.square().sum()),
        )
