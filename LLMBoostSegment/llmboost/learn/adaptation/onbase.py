"""What adapters of segmenters and of classifiers share: the base's network, frozen but for the little that learns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...adapter import merged, transfer_weights
from ...booster import BoosterConfig, booster_of
from ...errors import LLMBoostError
from ...model import Model
from ...networks import build, with_options
from ..trainer import now
from .common import IMPROVE, NEW_LABELS, AdaptSettings, Measured, Start
from .lora import BLOCKS, AdapterConfig, adapter_state, dequantize, inject, interpolate


class OnBase(ABC):
    """The part of an :class:`.common.Adaptation` that tells what learns.

    Attributes:
        options: the network's, where they differ from the base's.
    """

    base: Model
    device: torch.device
    aim: str
    settings: AdaptSettings
    rank: int
    options: dict[str, Any]

    @abstractmethod
    def measure(self, network: nn.Module) -> Measured:
        """How good a network is on the cases held out."""

    def measure_old(self, _network: nn.Module) -> float | None:
        """Mean Dice on old cases, if there are some."""
        return None

    def begin(self) -> Start:
        settings = self.settings
        torch.manual_seed(settings.seed)
        network = network_of(self.base, self._boosted, fresh=settings.scope == "scratch", **self.options)
        network.to(self.device)
        started = now(settings.clock)
        before = self.measure(network)  # of new labels for the time that it takes alone
        old = self.measure_old(self.base.network)
        measuring = now(settings.clock) - started
        if settings.block:
            dequantize(network)
        assert settings.scope is not None
        inject(network, AdapterConfig(self.rank, settings.scope, settings.block, decoder=self.aim == NEW_LABELS))
        return Start(network, before if self.aim == IMPROVE else Measured(), old, measuring)

    def adapted(self, network: nn.Module) -> tuple[nn.Module, dict[str, Tensor]]:
        """The base with what ``network`` has learned, as users will have it, and the adapter's tensors."""
        settings, base = self.settings, self.base.network
        alpha = 1.0 if settings.wise_alpha is None else settings.wise_alpha
        tensors = interpolate(base.cpu(), adapter_state(network) | self._new_booster(network), alpha)
        result = network_of(self.base, self._boosted, **self.options)
        if settings.block:
            dequantize(result)
        result.load_state_dict(merged(base, result, tensors))
        return result.eval().to(self.device), tensors

    @property
    def _boosted(self) -> BoosterConfig | None:
        """A booster that the base lacks, and gets."""
        config = booster_of(self.settings.booster, seed=self.settings.seed)
        if config and self.base.card.booster:
            raise LLMBoostError(f"model '{self.base.card.name}' has a booster already; leave --booster out")
        return config

    def _new_booster(self, network: nn.Module) -> dict[str, Tensor]:
        """The frozen block of a booster that the base lacks."""
        if not self._boosted:
            return {}
        state = cast(nn.Module, cast(Any, network).booster).state_dict()
        return {
            f"booster.{name}": tensor.detach().cpu() for name, tensor in state.items() if name.startswith("blocks.")
        }


def network_of(base: Model, booster: BoosterConfig | None = None, *, fresh: bool = False, **options: Any) -> nn.Module:
    """The base's network in evaluation mode, with other ``options`` (classes, strides) and the base's weights as far as
    they fit; ``fresh`` has no more of the base than its language model's block.

    Args:
        booster: a new one, for a base without; the network computes what it did before.
    """
    options = with_options(base.card.network, **options)
    network = build(options.pop("name"), options, booster or base.card.booster)
    state = transfer_weights(base.network, network)
    kept = {name: tensor for name, tensor in state.items() if not fresh or BLOCKS in name}
    network.load_state_dict(kept, strict=not fresh)
    return network.eval()
