"""A vision transformer's published weights, from a folder on this machine."""

from __future__ import annotations

import re
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from ...errors import LLMBoostError
from ...networks.vit import ViT

# Hugging Face's names (ViT, DeiT) to timm's
_NAMES = (
    (r"^(vit|deit)\.", ""),
    (r"^embeddings\.cls_token$", "cls_token"),
    (r"^embeddings\.position_embeddings$", "pos_embed"),
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^encoder\.layer\.(\d+)\.layernorm_before\.", r"blocks.\1.norm1."),
    (r"^encoder\.layer\.(\d+)\.layernorm_after\.", r"blocks.\1.norm2."),
    (r"^encoder\.layer\.(\d+)\.attention\.attention\.(query|key|value)\.", r"blocks.\1.attn.\2."),
    (r"^encoder\.layer\.(\d+)\.attention\.output\.dense\.", r"blocks.\1.attn.proj."),
    (r"^encoder\.layer\.(\d+)\.intermediate\.dense\.", r"blocks.\1.mlp.fc1."),
    (r"^encoder\.layer\.(\d+)\.output\.dense\.", r"blocks.\1.mlp.fc2."),
    (r"^layernorm\.", "norm."),
)


def load_pretrained(network: nn.Module, folder: Path) -> None:
    """Fill a two-dimensional ViT with published weights; the head stays as it is.

    The names are timm's or Hugging Face's (ViT, DeiT). Positions are interpolated to the network's grid; a network of
    one channel takes the sum over red, green and blue, which is what gray images in three channels would give.

    Args:
        network: ViT-S/16 or another size with patches.
        folder: holds the weights in one .safetensors file.

    Raises:
        LLMBoostError: no such file, or weights of another network.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if len(files) != 1:
        raise LLMBoostError(
            f"{folder}: {len(files)} .safetensors files; a folder with a vision transformer's one is expected"
        )
    if not isinstance(network, ViT) or network.config.stem or network.config.image_size[2] != 1:
        raise LLMBoostError(f"{folder}: pre-trained weights fit vit-s only; choose that network")
    try:
        published = {_renamed(name): tensor.float() for name, tensor in safetensors.torch.load_file(files[0]).items()}
        own = network.state_dict()
        taken = _taken(published, network)
        for name, tensor in taken.items():
            if own[name].shape != tensor.shape:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, {tuple(own[name].shape)} expected")
        network.load_state_dict({**own, **taken})
    except (SafetensorError, KeyError, ValueError, RuntimeError, OSError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise LLMBoostError(f"{files[0]}: weights of another network ({reason})") from error


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _taken(published: dict[str, Tensor], network: ViT) -> dict[str, Tensor]:
    """Published tensors under this project's names."""
    config = network.config
    if f"blocks.{config.depth}.norm1.weight" in published:
        raise ValueError(f"it has more than {config.depth} blocks")
    kernel = published["patch_embed.proj.weight"]  # (width, 3, p, p): rows, columns
    # here, the first axis runs to the right of the patient: back along a row, from its last column to its first
    kernel = kernel.transpose(2, 3).flip(2, 3)
    if config.channels == 1:
        kernel = kernel.sum(dim=1, keepdim=True)
    positions = published["pos_embed"]
    side = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].reshape(1, side, side, -1).permute(0, 3, 2, 1).flip(2, 3)  # (1, width, columns, rows)
    grid = F.interpolate(grid, network.transformer.position.shape[2:4], mode="bicubic", antialias=True)[..., None]
    result = {
        "stem.proj.weight": kernel.flatten(1),
        "stem.proj.bias": published["patch_embed.proj.bias"],
        "transformer.class_token": published["cls_token"],
        "transformer.class_position": positions[:, :1],
        "transformer.position": grid,
        "norm.weight": published["norm.weight"],
        "norm.bias": published["norm.bias"],
    }
    for n in range(config.depth):
        for kind in ("weight", "bias"):
            block = f"blocks.{n}"
            parts = [published.get(f"{block}.attn.{part}.{kind}") for part in ("query", "key", "value")]
            joined = published.get(f"{block}.attn.qkv.{kind}")
            qkv = joined if joined is not None else torch.cat([part for part in parts if part is not None])
            names = {
                "norm1": "norm1",
                "norm2": "norm2",
                "attn.proj": "attn.proj",
                "mlp.fc1": "mlp.0",
                "mlp.fc2": "mlp.2",
            }
            result[f"transformer.{block}.attn.qkv.{kind}"] = qkv
            for theirs, ours in names.items():
                result[f"transformer.{block}.{ours}.{kind}"] = published[f"{block}.{theirs}.{kind}"]
    return result
