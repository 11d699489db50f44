"""Gradient-weighted attention rollout: how what a score rests on came together from tokens, layer by layer.

The matrix A of an attention layer is the mean over heads of relu(gradient * attention), with the gradient of the score
that is explained (Chefer et al. 2021, arXiv 2012.09838). Its rows are brought to a sum of 1, and half of each token is
its own (Abnar & Zuidema 2020, arXiv 2005.00928), so that the scale of the score plays no part. The map is what the
layers before the tap, one after the other, make of the tokens' parts in the score there, as Grad-CAM tells them.

Attention is seen where networks call PyTorch's function for it, so that any of them will do, the frozen block of the
language model included, and none has to know. What passes beside attention (a stem's skips, convolutions of tokens)
counts as staying in its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.backends.mha
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.tap import Tap
from .grad_cam import Score, parts


def attention_rollout(network: nn.Module, images: Tensor, tap: Tap, score: Score) -> Tensor:
    """As :func:`.grad_cam.grad_cam`, from all attention layers before the tap that join the tokens of its grid.

    A class token passes on what it fetched; its own part in the score is not known here.
    """
    with torch.enable_grad(), tap.listen() as heard, _attentions(heard) as attentions:
        total = score(network(images))
    (tokens,) = heard
    gradient, *others = torch.autograd.grad(total, [tokens, *attentions])
    own = parts(tokens.detach(), gradient)
    row = own.flatten(1).unsqueeze(1)  # (B, 1, T)
    count = row.shape[2]
    # from the last layer to the first: vectors, and no product of matrices
    for weight, attention in reversed(list(zip(others, attentions, strict=True))):
        spread = (weight * attention.detach()).relu().mean(dim=1)  # (B, T, T), or one more with a class token
        if len(spread) != len(row) or spread.shape[2] - count not in (0, 1):
            continue
        row = F.pad(row, (spread.shape[2] - row.shape[2], 0))  # a class token comes first
        total = spread.sum(dim=2, keepdim=True)
        given = torch.where(total > 0, row.transpose(1, 2) / 2, 0)  # (B, T, 1): what fetched nothing keeps all
        row = row - given.transpose(1, 2) + (given / total.clamp(min=1e-30)).transpose(1, 2) @ spread
    return row[..., row.shape[2] - count :].view_as(own)


@contextmanager
def _attentions(until: list[Tensor]) -> Iterator[list[Tensor]]:
    """Collect the matrices (B, heads, T, T) of all attention that is computed while ``until`` is empty."""
    seen: list[Tensor] = []

    def attend(
        query: Tensor, key: Tensor, value: Tensor, *_mask: Any, enable_gqa: bool = False, **_options: Any
    ) -> Tensor:
        if until:
            return fused(query, key, value, enable_gqa=enable_gqa)
        if enable_gqa:
            groups = query.shape[1] // key.shape[1]
            key, value = (part.repeat_interleave(groups, dim=1) for part in (key, value))
        attention = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(dim=-1)
        if not attention.requires_grad:
            attention.requires_grad_()
        seen.append(attention)
        return attention @ value

    fused, fast = F.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # computes whole encoder layers in one
    F.scaled_dot_product_attention = attend
    try:
        yield seen
    finally:
        F.scaled_dot_product_attention = fused
        torch.backends.mha.set_fastpath_enabled(fast)
