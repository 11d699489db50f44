"""A network that learns, and what moves it: optimizer, precision, the weights' average."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .average import WeightAverage
from .checkpoint import Snapshot, copy_of, trainable_state
from .distributed import average, rank, take_over, world_size
from .optimizer import make_optimizer
from .precision import computing, training_dtype

if TYPE_CHECKING:
    from .trainer import TrainingConfig


class Learner:
    """``network``, on ``device``, learns step by step as ``config`` says. ``step`` steps are done.

    Of several processes (:mod:`.distributed`), all start from the first one's weights, and take the same steps.
    """

    def __init__(self, network: nn.Module, config: TrainingConfig, device: torch.device) -> None:
        self.network = network.to(device)
        changing = trainable_state(network)
        take_over(changing.values())
        weights = {name for name, _ in network.named_parameters()}
        self._counted = [tensor for name, tensor in changing.items() if name not in weights]  # such as batch norm's
        self.config = config
        self.device = device
        self.optimizer = make_optimizer(network, config.optimizer, config.rate, config.weight_decay, config.kernels)
        self.dtype = training_dtype(device, config.precision)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self.average = WeightAverage(network, config.ema)
        self.step = 0

    def learn(self, loss_of: Callable[[dict[str, Tensor]], Tensor], batch: dict[str, Tensor], rate: float) -> float:
        """One step; returns the loss before it, or NaN if there was no way to go: then nothing was changed."""
        # dropout, too, repeats after a resume
        torch.manual_seed(self.config.seed * 1_000_003 + self.step + (rank() << 40))
        self.network.train()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        with computing(self.device, self.dtype):
            loss = loss_of(batch)
        of_all = loss.detach().clone()
        average([of_all])
        if not torch.isfinite(of_all):
            return math.nan
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        average([*self._gradients(), *self._counted])
        self.scaler.unscale_(self.optimizer)
        length = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        # in float16 it happens, and the scaler leaves such a step out
        if not (self.scaler.is_enabled() or torch.isfinite(length)):
            return math.nan
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.average.update(self.step)
        self.step += 1
        return of_all.item()

    def _gradients(self) -> Iterator[Tensor]:
        """Of all that learns, zero where this process's share of the batch passed by: others' need not have."""
        for parameter in self.network.parameters():
            if parameter.requires_grad and parameter.grad is None and world_size() > 1:
                parameter.grad = torch.zeros_like(parameter)
            if parameter.grad is not None:
                yield parameter.grad

    @contextmanager
    def judged(self) -> Iterator[nn.Module]:
        """The network with the weights that are kept, in the precision that it is validated in: on a GPU float32, in
        which users will use it, and which costs little there."""
        dtype = self.dtype if self.device.type == "cpu" else torch.float32
        with self.average.in_place(), computing(self.device, dtype):
            yield self.network

    def weights(self) -> dict[str, Tensor]:
        """A copy of what is kept of the network as it is now, on the CPU."""
        with self.average.in_place():
            return copy_of(trainable_state(self.network))

    def snapshot(self, losses: tuple[float, int]) -> Snapshot:
        """What is now, see :class:`.checkpoint.Snapshot`."""
        return Snapshot.of(self.network, self.optimizer, self.average.tensors, self.step, losses)

    def restore(self, snapshot: Snapshot, path: Path) -> None:
        """Be as then.

        Raises:
            LLMBoostError: that was another network's; ``path`` is named as where it is from.
        """
        self.average.load(snapshot.fill(path, self.network, self.optimizer))
        self.step = snapshot.step
