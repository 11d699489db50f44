"""What a killed training needs to go on: weights, optimizer and progress in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import LLMBoostError
from ..files import printable, write_whole
from ..jsonfile import parse_json

KEY, DIGEST = "llmboost_checkpoint", "llmboost_digest"
SHOWN = 5  # differences in a message

# all that a damaged file may raise
_DAMAGE = (SafetensorError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, OSError)


def trainable_state(network: nn.Module) -> dict[str, Tensor]:
    """The tensors that training changes: a frozen block is its source's, and may be large."""
    frozen = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    return {n: t for n, t in network.state_dict().items() if n not in frozen and t.is_floating_point()}


def copy_of(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that stay as they are now, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def save_checkpoint(
    path: Path,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, Tensor],
    task: Mapping[str, Tensor],
    progress: dict[str, Any],
) -> None:
    """``best`` are the weights of the best validation so far, ``task`` is what the task needs to go on; ``progress`` is
    whatever JSON can hold."""
    tensors = {f"network.{name}": tensor for name, tensor in trainable_state(network).items()}
    tensors |= {f"best.{name}": tensor for name, tensor in best.items()}
    tensors |= {f"task.{name}": tensor for name, tensor in task.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
    # one tensor may not appear under two names
    tensors = {name: tensor.contiguous() for name, tensor in copy_of(tensors).items()}
    text = json.dumps(progress)
    write_whole(path, safetensors.torch.save(tensors, metadata={KEY: text, DIGEST: _digest(tensors, text)}))


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and ``progress`` of a checkpoint.

    Raises:
        LLMBoostError: no checkpoint, or not as it was written.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        tensors = safetensors.torch.load_file(path)
        if _digest(tensors, metadata[KEY]) != metadata[DIGEST]:
            raise ValueError("damaged")
        progress = parse_json(metadata[KEY])
        if not isinstance(progress, dict):
            raise TypeError("no progress")
        return tensors, progress
    except _DAMAGE as error:
        raise _refusal(path, error) from error


def fill(
    path: Path, tensors: dict[str, Tensor], network: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Fill ``network`` and ``optimizer`` with the tensors of the checkpoint at ``path``; returns ``best`` and ``task``.

    Raises:
        LLMBoostError: they are another network's.
    """
    try:
        groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "task": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            group, rest = name.split(".", 1)
            groups[group][rest] = tensor
        if missing := trainable_state(network).keys() - groups["network"].keys():
            raise KeyError(min(missing))
        network.load_state_dict({**network.state_dict(), **groups["network"]})
        state = optimizer.state_dict()
        for name, tensor in groups["optimizer"].items():
            index, entry = name.split(".", 1)
            state["state"].setdefault(int(index), {})[entry] = tensor
        optimizer.load_state_dict(state)
        return groups["best"], groups["task"]
    except _DAMAGE as error:
        raise _refusal(path, error) from error


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """What two tables of settings do not share, such as "rate: 0.001 then, 0.003 now"; empty if they are alike."""
    found = list(_differences(then, json.loads(json.dumps(now)), ""))
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(found[:SHOWN]) + more


def _differences(then: dict[str, Any], now: dict[str, Any], what: str) -> Iterator[str]:
    for key in dict.fromkeys([*then, *now]):
        one, other = then.get(key), now.get(key)
        name = printable(key)
        if one == other:
            continue
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differences(one, other, key)
        elif what.endswith(" cases") and one and other:
            yield f"{what[:-1]} {name} was changed"
        elif what.endswith(" cases"):
            yield f"{what[:-1]} {name} {'is gone' if one else 'was not there'}"
        else:
            yield f"{name}: {_shown(one)} then, {_shown(other)} now"


def _shown(value: Any) -> str:
    return "none" if value is None else printable(str(value))


def _digest(tensors: dict[str, Tensor], text: str) -> str:
    digest = hashlib.sha256(safetensors.torch.save(tensors))
    digest.update(text.encode())
    return digest.hexdigest()


def _refusal(path: Path, error: Exception) -> LLMBoostError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return LLMBoostError(
        f"{path}: no checkpoint of this training ({printable(lines[-1])}); start without --resume, with another output"
    )
