"""What a killed training needs to go on: weights, optimizer and progress in one safetensors file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import LLMBoostError
from ..files import printable, write_whole
from ..jsonfile import parse_json
from .guard import is_guard

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


@dataclass(frozen=True)
class Snapshot:
    """A training after some step.

    Attributes:
        tensors: of the network, the optimizer and the weights' average, on the CPU.
        step: how many steps were done.
        losses: since the last validation: their sum, and how many.
    """

    tensors: Mapping[str, Tensor]
    step: int
    losses: tuple[float, int]

    @classmethod
    def of(
        cls,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Mapping[str, Tensor],
        step: int,
        losses: tuple[float, int],
    ) -> Snapshot:
        """What is now."""
        tensors = {f"network.{name}": tensor for name, tensor in trainable_state(network).items()}
        tensors |= {f"average.{name}": tensor for name, tensor in average.items()}
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in state.items()}
        return cls(copy_of(tensors), step, losses)

    def fill(self, path: Path, network: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
        """Make ``network`` and ``optimizer`` what they were; returns the average.

        Raises:
            LLMBoostError: they are others than those of the checkpoint at ``path``.
        """
        try:
            groups = _grouped(self.tensors)
            if missing := trainable_state(network).keys() - groups["network"].keys():
                raise KeyError(min(missing))
            network.load_state_dict({**network.state_dict(), **groups["network"]})
            state: dict[str, Any] = {**optimizer.state_dict(), "state": {}}
            for name, tensor in groups["optimizer"].items():
                index, entry = name.split(".", 1)
                state["state"].setdefault(int(index), {})[entry] = tensor.clone()  # the optimizer writes into its own
            optimizer.load_state_dict(state)
            return groups["average"]
        except _DAMAGE as error:
            raise _refusal(path, error) from error


def save_checkpoint(path: Path, snapshot: Snapshot, best: Mapping[str, Tensor], progress: dict[str, Any]) -> None:
    """``best`` are the weights of the best validation so far; ``progress`` is whatever JSON can hold."""
    tensors = {**snapshot.tensors, **{f"best.{name}": tensor for name, tensor in best.items()}}
    # one tensor may not appear under two names
    tensors = {name: tensor.contiguous() for name, tensor in copy_of(tensors).items()}
    text = json.dumps({**progress, "step": snapshot.step, "losses": snapshot.losses})
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


def restored(path: Path, tensors: Mapping[str, Tensor], progress: dict[str, Any]) -> tuple[Snapshot, dict[str, Tensor]]:
    """The training that was written to ``path``, and its ``best``.

    Raises:
        LLMBoostError: there are other tensors.
    """
    try:
        best = _grouped(tensors)["best"]
    except _DAMAGE as error:
        raise _refusal(path, error) from error
    total, count = progress["losses"]
    return Snapshot(tensors, progress["step"], (total, count)), best


def _grouped(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """By what they are of."""
    groups: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "average": {}, "optimizer": {}}
    for name, tensor in tensors.items():
        group, rest = name.split(".", 1)
        groups[group][rest] = tensor
    return groups


def is_progress(progress: Mapping[str, Any]) -> bool:
    """Whether that is what a trainer writes."""
    counts = (progress.get(name) for name in ("step", "validated", "stale"))
    identity, best, losses = (progress.get(name) for name in ("identity", "best", "losses"))
    budget = identity.get("budget") if isinstance(identity, dict) else None
    known = isinstance(budget, dict) and all(value is None or _is_number(value) for value in budget.values())
    whole = all(type(n) is int and n >= 0 for n in counts)
    times = all(_is_number(progress.get(name)) for name in ("seconds", "validating", "ended", "took"))
    means = isinstance(losses, list) and len(losses) == 2 and all(map(_is_number, losses))
    return known and whole and times and means and is_guard(progress.get("guard")) and (best is None or _is_score(best))


def _is_score(best: Any) -> bool:
    """Whether that is a :class:`.trainer.Score` in JSON's types."""
    if not isinstance(best, dict) or best.keys() != {"value", "figures", "labels"}:
        return False
    value, figures, labels = best["value"], best["figures"], best["labels"]
    if not (_is_number(value) and isinstance(figures, dict) and isinstance(labels, dict)):
        return False
    return all(map(_is_number, figures.values())) and all(one is None or _is_number(one) for one in labels.values())


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


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
