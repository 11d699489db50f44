"""Where a network can be listened to, as a grid in space and not as tokens: for maps of where it looked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..booster import Booster


class Tap(nn.Identity):
    """Gives back the token grid (B, width, r, a, s) that it is called with; it has no weights.

    Every network has two, ``before_booster`` and ``after_booster``, around the booster's place; without a booster both
    see the same grid.
    """

    @contextmanager
    def listen(self) -> Iterator[list[Tensor]]:
        """Collect what passes while the context lasts, each grid as a place that gradients can be asked for.

        Weights that are frozen, and images that need no gradient, leave no graph before the tap; it begins here then.
        """
        heard: list[Tensor] = []

        def keep(_module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> None:
            if not output.requires_grad:
                output.requires_grad_()
            heard.append(output)

        handle = self.register_forward_hook(keep)
        try:
            yield heard
        finally:
            handle.remove()


def place_of(booster: Booster | None, depth: int) -> int:
    """After how many of an encoder's ``depth`` transformer blocks its taps stand, the booster between them."""
    return depth if booster is None else booster.config.position(depth)


def to_tokens(grid: Tensor) -> Tensor:
    """(B, C, r, a, s) -> (B, r * a * s, C)."""
    return grid.flatten(2).transpose(1, 2)


def to_grid(tokens: Tensor, like: Tensor) -> Tensor:
    """(B, r * a * s, C) -> (B, C, r, a, s), the grid of ``like``."""
    return tokens.transpose(1, 2).unflatten(2, like.shape[2:])
