"""Adapters: the little that changes when a frozen base network learns from a few local cases.

Linear layers of the transformer get low-rank updates W + B A (LoRA, Hu et al. 2021, arXiv 2106.09685; PEFT's layers).
What a scanner changes enters at the stem, which such updates of attention never see: stem, norms, heads and the
booster's two adapters, all small, are trained as they are; so is the decoder where labels are new, and else it stays.
Of networks of convolutions, these get such updates, too, by layers of our own (PEFT's fail on dilated and transposed
ones); the means and variances of their batch norms stay; and of small ones, all weights are trained.
How the result is stored and merged into its base, :mod:`llmboost.adapter` tells.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from ...adapter import LORA_B, low_rank_update, tensors_of
from ...booster import Booster
from ...errors import LLMBoostError
from ...networks.parts import Parts, lies_in

BLOCKS = "booster.blocks."  # wherever in a network the booster stands
ADAPTER_OUT = "booster.adapter_out.weight"
SCALE = 4  # of low-rank updates in training: with rates that suit whole weights, they would hardly move in minutes
SMALL = 1_000_000  # weights of a network of convolutions, below which all are trained
PARAMETRIZED = ".parametrizations.weight."

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.InstanceNorm3d, _BatchNorm)
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)

SCOPES = ("adapter", "norms", "head", "full", "scratch")


@dataclass(frozen=True)
class AdapterConfig:
    """What is trained of a base.

    Attributes:
        rank: of the low-rank updates.
        scope: ``adapter`` as told above; for comparison, ``norms`` alone, ``head`` alone, ``full`` (all but the
            language model's block), or ``scratch``: the same, from random weights.
        block: low-rank updates of the language model's block, too.
        decoder: all of the decoder, too: what shows one structure has little to say of another one.
    """

    rank: int = 8
    scope: str = "adapter"
    block: bool = False
    decoder: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise LLMBoostError(f"--rank {self.rank}: a rank is 1 or more")
        if self.scope not in SCOPES:
            raise ValueError(f"scope '{self.scope}' is none of {', '.join(SCOPES)}")


def default_scope(network: nn.Module) -> str:
    """``full`` for a small network of convolutions, of which low-rank updates would change too little in minutes, and
    whose weights make a small file anyway; else ``adapter``."""
    small = sum(parameter.numel() for parameter in network.parameters()) < SMALL
    return "full" if parts_of(network).convolutional and small else "adapter"


def parts_of(network: nn.Module) -> Parts:
    """The parts of a network made by :func:`...networks.build`."""
    return cast(Parts, cast(Any, network).parts)


def default_rank(cases: int) -> int:
    """Fewer cases, fewer directions to go."""
    return 4 if cases <= 5 else 8 if cases <= 20 else 16


def default_wise_alpha(held_out: int) -> float:
    """Of the changes that are kept, see :func:`interpolate`: fewer where hardly a case tells what they are worth.

    On val, half of what one or two cases taught was better than all of it, for new images as for old ones.
    """
    return (0.5, 0.8, 1.0)[min(held_out, 2)]


def inject(network: nn.Module, config: AdapterConfig) -> None:
    """Freeze ``network`` and put in what is to be trained; it computes what it did before.

    Raises:
        LLMBoostError: PEFT is not installed.
    """
    network.requires_grad_(requires_grad=False)
    parts = parts_of(network)
    if config.scope == "adapter" and (targets := _targets(network, config.block)):
        try:
            from peft import LoraConfig, inject_adapter_in_model
        except ImportError as error:
            raise LLMBoostError("adapting needs the package peft; install it with: pip install peft") from error
        lora = LoraConfig(r=config.rank, lora_alpha=SCALE * config.rank, target_modules=targets)
        inject_adapter_in_model(lora, network)
    if config.scope == "adapter" and parts.convolutional:
        whole = (*parts.first, *parts.head, *(parts.decoder if config.decoder else ()))
        for name, module in list(network.named_modules()):
            if isinstance(module, CONVOLUTIONS) and max(module.kernel_size) > 1 and not lies_in(name, whole):
                parametrize.register_parametrization(module, "weight", LowRank(module.weight, config.rank))
    for name, module in network.named_modules():
        for key, parameter in module.named_parameters(name, recurse=False):
            if _whole(key, module, config, parts):
                parameter.requires_grad_()
        if isinstance(module, _BatchNorm) and parts.convolutional and config.scope != "scratch":
            module.register_forward_pre_hook(_with_its_statistics)


class LowRank(nn.Module):
    """A weight, such as a convolution's of any kind, with a low-rank update (:func:`...adapter.low_rank_update`).

    Args:
        weight: (first, ...), of which the update's matrix has the rows of the first axis and the columns of all others.
    """

    def __init__(self, weight: Tensor, rank: int) -> None:
        super().__init__()
        self.lora_A = nn.Parameter(weight.new_empty(rank, weight[0].numel()))
        self.lora_B = nn.Parameter(weight.new_zeros(len(weight), rank))
        nn.init.kaiming_uniform_(self.lora_A, a=5**0.5)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + SCALE * low_rank_update(self.lora_A, self.lora_B).view_as(weight)


def _with_its_statistics(norm: nn.Module, _inputs: object) -> None:
    """Those of the training of a batch norm serve a few cases better than their own; the trainer sets the network to
    training as a whole."""
    norm.eval()


def _targets(network: nn.Module, block: bool) -> list[str]:
    """The linear layers that get low-rank updates."""
    names, parts = [], parts_of(network)
    for name, module in network.named_modules():
        outside = lies_in(name, (*parts.first, *parts.head))
        if outside or name.endswith(("adapter_in", "adapter_out", "self_attn.out_proj")):
            continue
        if isinstance(module, nn.Linear) and (block or BLOCKS not in name):
            names.append(name)
    return names


def _whole(name: str, module: nn.Module, config: AdapterConfig, parts: Parts) -> bool:
    """Whether a parameter is trained as it is."""
    if BLOCKS in name:
        return ".lora_" in name
    scope = config.scope
    if scope in ("full", "scratch") or lies_in(name, parts.head) or ".lora_" in name:
        return True
    if config.decoder and scope == "adapter" and lies_in(name, parts.decoder):
        return True
    norm = isinstance(module, NORMS)
    if scope == "adapter":
        return norm or lies_in(name, parts.first) or "booster.adapter_" in name
    return scope == "norms" and norm


def adapter_state(network: nn.Module) -> dict[str, Tensor]:
    """The adapter's tensors of a network after :func:`inject`."""
    tensors = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            before, _, which = name.partition(".lora_")
            # PEFT's names: LAYER.lora_A.default.weight, LAYER.base_layer.weight; ours: LAYER.parametrizations.weight...
            layer = before.partition(PARAMETRIZED)[0]
            name = f"{layer}.weight.lora_{which[0]}" if which else name.replace(".base_layer.", ".")
            tensors[name] = parameter.detach().cpu() * (SCALE if name.endswith(LORA_B) else 1)
    # what is not learned by gradients, but counted: means and variances of batch norms, and of a classifier's features
    counted = set(network.state_dict()) - {name for name, _ in network.named_parameters()}
    for name, buffer in network.named_buffers():
        if name in counted and buffer.is_floating_point():
            tensors[name] = buffer.detach().cpu()
    return tensors


def interpolate(base: nn.Module, adapter: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """The adapter with ``alpha`` of its changes: between base and fine-tuned weights lies a better compromise of old
    and new images than at either end (WiSE-FT, Wortsman et al. 2021, arXiv 2109.01903)."""
    known, result = tensors_of(base), {}
    for name, tensor in adapter.items():
        if name.endswith(LORA_B) or (name.endswith(ADAPTER_OUT) and name not in known):  # a new booster's adds nothing
            result[name] = alpha * tensor
        elif name in known and known[name].shape == tensor.shape:
            result[name] = torch.lerp(known[name].cpu(), tensor, alpha)
        else:
            result[name] = tensor
    return result


def dequantize(network: nn.Module) -> None:
    """Make the 4-bit layers of the booster's block plain ones, which low-rank updates can be merged into."""
    booster = cast(Any, network).booster
    if not isinstance(booster, Booster):
        raise LLMBoostError("the base has no booster, so it has no block to adapt; leave --block out")
    for name, module in list(booster.blocks.named_modules()):
        if hasattr(module, "packed"):
            plain = nn.Linear(module.in_features, module.out_features, module.bias is not None, device="meta")
            plain.weight = nn.Parameter(cast(Tensor, module.weight).detach(), requires_grad=False)
            plain.bias = module.bias
            parent, _, child = name.rpartition(".")
            setattr(booster.blocks.get_submodule(parent), child, plain)
    for block in booster.blocks:
        cast(Any, block).q4 = False
    booster.q4 = False


@contextmanager
def layer_by_layer() -> Iterator[None]:
    """torch's fused transformer layers read weights past PEFT's layers; here they are not used."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
