"""Grad-CAM on a network's token grid.

At a tap, A(p) are the features of the token at place p of a coarse grid, and g(p) is a score's gradient to them. The
map is relu(sum over features of g(p) (A(p) - mean A)): the published method (Selvaraju et al. 2017, arXiv 1610.02391)
with two changes. The gradient is each place's own (HiResCAM, Draelos & Carin 2020, arXiv 2011.08891): where the network
goes on with the mean of the tokens, all places have the same, but not where it draws segments. And a token counts by
how it differs from the mean token, for a transformer's tokens have much in common that tells nothing of a place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..networks.tap import Tap

Score = Callable[[Tensor], Tensor]


def grad_cam(network: nn.Module, images: Tensor, tap: Tap, score: Score) -> Tensor:
    """A map (B, r, a, s), not negative, on the token grid of each of ``images`` (B, channels, R, A, S).

    Args:
        score: from the network's output to the number that is explained, a sum over the images.
    """
    tokens, gradient = _tokens(network, images, tap, score)
    return parts(tokens, gradient)


def pooled_grad_cam(network: nn.Module, images: Tensor, tap: Tap, score: Score) -> Tensor:
    """The same with the gradient's mean over the grid in each place, and the tokens as they are, as published."""
    tokens, gradient = _tokens(network, images, tap, score)
    return (gradient.mean(dim=(2, 3, 4), keepdim=True) * tokens).sum(dim=1).relu()


def parts(tokens: Tensor, gradient: Tensor) -> Tensor:
    """The part (B, r, a, s) of each token of (B, width, r, a, s) in the score, where it is positive."""
    return (gradient * (tokens - tokens.mean(dim=(2, 3, 4), keepdim=True))).sum(dim=1).relu()


def _tokens(network: nn.Module, images: Tensor, tap: Tap, score: Score) -> tuple[Tensor, Tensor]:
    with torch.enable_grad(), tap.listen() as heard:
        total = score(network(images))
    (tokens,) = heard
    (gradient,) = torch.autograd.grad(total, tokens)
    return tokens.detach(), gradient
