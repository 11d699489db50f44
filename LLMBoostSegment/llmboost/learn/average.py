"""The mean of a network's weights over the last steps, which is better than those of any one step (Polyak & Juditsky
1992; as an exponential moving average, Tarvainen & Valpola 2017, arXiv 1703.01780)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .checkpoint import trainable_state


class WeightAverage:
    """Of all that changes in training: weights, and what layers count, such as batch norm's means.

    Args:
        decay: how much of the average stays at each step, less in the first ones: the random start is soon forgotten.
            0: there is no average, and the weights stand for themselves.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.tensors: dict[str, Tensor] = {}
        if decay:
            self.load(trainable_state(network))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what :attr:`tensors` was."""
        device = next(self.network.parameters()).device
        self.tensors = {name: tensor.detach().to(device, copy=True) for name, tensor in tensors.items()}

    def update(self, step: int) -> None:
        """Take the weights in; ``step`` steps were done before this one."""
        keep = min(self.decay, (1 + step) / (10 + step))
        now = trainable_state(self.network)
        for name, tensor in self.tensors.items():
            tensor.lerp_(now[name], 1 - keep)

    @contextmanager
    @torch.no_grad()
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights; afterwards, its own again."""
        state = trainable_state(self.network)
        own = {name: state[name].clone() for name in self.tensors}
        try:
            for name, tensor in self.tensors.items():
                state[name].copy_(tensor)
            yield
        finally:
            for name, tensor in own.items():
                state[name].copy_(tensor)
