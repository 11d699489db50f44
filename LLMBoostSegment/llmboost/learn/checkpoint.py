"""What a killed training needs to go on: weights, optimiser and progress in one safetensors file."""

from __future__ import annotations

import json
from pathlib import Path
from textwrap import shorten
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import LLMBoostError
from ..files import write_whole

KEY = "llmboost_checkpoint"


def learnt(network: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes: a frozen block is its source's, and may be large."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {n: t for n, t in network.state_dict().items() if n not in frozen and t.is_floating_point()}


def save_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer, best: dict[str, Tensor], progress: dict[str, Any]
) -> None:
    """``best`` are the weights of the best validation so far; ``progress`` is whatever JSON can hold."""
    tensors = {f"network.{name}": tensor for name, tensor in learnt(network).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    # one tensor may not appear under two names
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_whole(path, safetensors.torch.save(tensors, metadata={KEY: json.dumps(progress)}))


def load_checkpoint(
    path: Path, network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Fill ``network`` and ``optimizer``; returns ``best`` and ``progress``.

    Raises:
        LLMBoostError: damaged, or a checkpoint of another network.
    """
    try:
        with safe_open(path, framework="pt") as file:
            progress = json.loads((file.metadata() or {})[KEY])
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimizer": {}}
        for name, tensor in safetensors.torch.load_file(path).items():
            group, rest = name.split(".", 1)
            groups[group][rest] = tensor
        if missing := learnt(network).keys() - groups["network"].keys():
            raise KeyError(min(missing))
        network.load_state_dict({**network.state_dict(), **groups["network"]})
        state = optimizer.state_dict()
        for name, tensor in groups["optimizer"].items():
            index, entry = name.split(".", 1)
            state["state"].setdefault(int(index), {})[entry] = tensor
        optimizer.load_state_dict(state)
    except (SafetensorError, RuntimeError, KeyError, ValueError, OSError) as error:
        reason = shorten(str(error).strip().splitlines()[-1], 120)
        raise LLMBoostError(f"{path}: no checkpoint of this training ({reason}); start without --resume") from error
    return groups["best"], progress
