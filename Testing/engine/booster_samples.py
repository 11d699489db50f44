"""Blocks and boosters without a language model. A test module says ``from .booster_samples import small_booster``."""

from __future__ import annotations

from typing import Any

import gguf
import torch

from llmboost.booster import Booster, BoosterConfig
from llmboost.booster.block import BlockShape, LanguageModelBlock
from llmboost.booster.weights import BlockWeights

WIDTH = 12  # of the host
SMALL = BlockShape(width=64, heads=4, kv_heads=2, head_dim=16, ffn=96)
SMALL_RMS = 7.0


def randomize(module: torch.nn.Module, seed: int = 0) -> Any:
    """Breaks every neutral start: zero weights, norms of ones."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5)
            else:
                parameter.copy_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
    return module


def small_weights(layers: int = 1, q4: bool = False) -> BlockWeights:
    """A language model's blocks without a language model."""
    states = [randomize(LanguageModelBlock(SMALL), seed).state_dict() for seed in range(layers)]
    if q4:
        states = [dict(_in_q4(name, tensor) for name, tensor in state.items()) for state in states]
    return BlockWeights(SMALL, states, natural_rms=SMALL_RMS, q4=q4, description="small")


def small_booster(layers: int = 1, q4: bool = False, random_out: bool = True, **options: Any) -> Booster:
    """A booster around :func:`small_weights` for a host of ``WIDTH`` channels; ``options`` are BoosterConfig's."""
    config = BoosterConfig(source="small", layers=tuple(range(layers)), **options)
    torch.manual_seed(1)
    booster = Booster.from_weights(WIDTH, config, small_weights(layers, q4))
    if random_out:
        randomize(booster.adapter_out)
    return booster


def tokens(width: int = WIDTH, count: int = 10, batch: int = 2, seed: int = 3) -> torch.Tensor:
    """Random tokens (batch, count, width)."""
    return torch.randn(batch, count, width, generator=torch.Generator().manual_seed(seed))


def bytes_of(module: torch.nn.Module) -> dict[str, bytes]:
    """All that a module keeps, to see what has changed."""
    return {name: tensor.detach().clone().numpy().tobytes() for name, tensor in module.state_dict().items()}


def train(booster: Booster, steps: int = 3) -> None:
    """Some steps of an optimizer that is given every parameter, decay included."""
    optimizer = torch.optim.AdamW(booster.parameters(), lr=1e-2, weight_decay=0.1)
    for step in range(steps):
        optimizer.zero_grad()
        booster(tokens(seed=step)).square().sum().backward()
        optimizer.step()


def _in_q4(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    if tensor.ndim == 1:
        return name, tensor
    packed = gguf.quants.quantize(tensor.numpy(), gguf.GGMLQuantizationType.Q4_1)
    return name.replace(".weight", ".packed"), torch.from_numpy(packed)
