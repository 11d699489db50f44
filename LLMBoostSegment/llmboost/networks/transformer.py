"""What the classifiers are made of: patches or a convolutional stem, positions, transformer blocks with the booster."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..booster import Booster
from .tap import Tap, place_of, to_grid, to_tokens

Size = tuple[int, int, int]
POSITIONS = ("class_token", "position", "class_position")  # of a :class:`Transformer`, that are learned


@dataclass(frozen=True)
class BlockSizes:
    """Of a transformer block: attention heads and each one's width, the hidden layer's, and the share of images that
    skip a branch in training."""

    heads: int
    head_width: int
    mlp: int
    drop_path: float = 0.0


class Attention(nn.Module):
    """Multi-head self-attention whose heads' width need not divide the tokens' (ViT3D: 8 heads of 64 at width 1024)."""

    def __init__(self, width: int, heads: int, head_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * heads * head_width)
        self.proj = nn.Linear(heads * head_width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Block(nn.Module):
    """A pre-norm transformer block on tokens (B, T, width).

    In training, ``drop_path`` of the images skip each branch (stochastic depth, Huang et al. 2016, arXiv 1603.09382).
    """

    def __init__(self, width: int, sizes: BlockSizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, sizes.heads, sizes.head_width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, sizes.mlp), nn.GELU(), nn.Linear(sizes.mlp, width))
        self.drop_path = sizes.drop_path

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._drop(self.attn(self.norm1(x)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or not self.drop_path:
            return branch
        keep = 1 - self.drop_path
        return branch * torch.bernoulli(branch.new_full((len(branch), 1, 1), keep)) / keep


class Transformer(nn.Module):
    """A token grid (B, width, r, a, s) to tokens (B, 1 + T, width), a class token first.

    Positions are learned for the grid of the config's patch; other sizes interpolate them. The taps lie around the
    booster. A class token alone is read at the end; where nothing would mix other tokens into it after the taps, they
    lie before the last block, so that maps of the grid can be made there.
    """

    def __init__(
        self,
        grid: Size,
        width: int,
        depth: int,
        sizes: BlockSizes,
        booster: Booster | None,
        reads_class_token: bool,
    ) -> None:
        super().__init__()
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(0.02 * torch.randn(1, width, *grid))
        self.class_position = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.blocks = nn.ModuleList(
            Block(width, replace(sizes, drop_path=sizes.drop_path * n / max(depth - 1, 1))) for n in range(depth)
        )
        self.booster = booster
        self.before_booster = Tap()
        self.after_booster = Tap()
        self.place = place_of(booster, depth)
        if booster is None and reads_class_token:
            self.place = depth - 1

    def forward(self, grid: Tensor) -> Tensor:
        position: Tensor = self.position
        if position.shape[2:] != grid.shape[2:]:
            position = F.interpolate(position, grid.shape[2:], mode="trilinear")
        first = (self.class_token + self.class_position).expand(len(grid), -1, -1)
        x = torch.cat([first, to_tokens(grid + position)], dim=1)
        for index in range(len(self.blocks) + 1):
            if index == self.place:
                x = tapped(x, self.before_booster, grid)
                if self.booster is not None:
                    x = self.booster(x)
                x = tapped(x, self.after_booster, grid)
            if index < len(self.blocks):
                x = self.blocks[index](x)
        return x


def tapped(tokens: Tensor, tap: Tap, grid: Tensor) -> Tensor:
    """Tokens (B, 1 + T, width) whose grid, that is all but the class token, went through a tap."""
    return torch.cat([tokens[:, :1], to_tokens(tap(to_grid(tokens[:, 1:], grid)))], dim=1)


class Patches(nn.Module):
    """An image (B, C, R, A, S) to tokens of ``patch`` voxels on their grid (B, width, r, a, s).

    With ``normed``, a layer norm before and after the projection, as in ViT3D and ViViT.
    """

    def __init__(self, channels: int, width: int, patch: Size, normed: bool) -> None:
        super().__init__()
        self.patch = patch
        self.norm = nn.LayerNorm(channels * prod(patch)) if normed else nn.Identity()
        self.proj = nn.Linear(channels * prod(patch), width)
        self.norm_out = nn.LayerNorm(width) if normed else nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        x = image
        for axis, step in zip((2, 4, 6), self.patch, strict=True):
            x = x.unflatten(axis, (-1, step))  # (B, C, r, p, a, q, s, t)
        tokens = x.permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)  # (B, r, a, s, C * p * q * t)
        return self.norm_out(self.proj(self.norm(tokens))).movedim(-1, 1)


class ConvolutionalStem(nn.Module):
    """An image (B, C, R, A, S) to tokens on a grid, halved at each level, an axis of one voxel left alone.

    Convolutions instead of patches let small data do (Xiao et al. 2021, arXiv 2106.14881). Batch norm, not group norm:
    of masks, norms by image hide how large the structure is, and nothing is learned.
    """

    def __init__(self, channels: int, features: tuple[int, ...], width: int, flat: bool) -> None:
        super().__init__()
        self.flat = flat
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if flat else (nn.Conv3d, nn.BatchNorm3d)
        levels: list[nn.Module] = []
        for n, after in enumerate((*features, width)):
            # of most voxels, slices afford a look at each before they are halved; volumes afford one convolution
            strides = ((1, 2) if flat else (2,)) if n == 0 else (2, 1)
            for before, stride in zip((channels, after), strides, strict=False):
                levels += [conv(before, after, 3, stride, 1, bias=False), norm(after), nn.GELU()]
            channels = after
        self.levels = nn.Sequential(*levels)

    def forward(self, image: Tensor) -> Tensor:
        # convolutions of one slice are much slower in three dimensions
        return self.levels(image[..., 0])[..., None] if self.flat else self.levels(image)


def stem_of(
    channels: int, features: tuple[int, ...], width: int, image_size: Size, patch: Size, normed: bool
) -> nn.Module:
    """A convolutional stem where ``features`` are named, else patches."""
    if features:
        return ConvolutionalStem(channels, features, width, flat=image_size[2] == 1)
    return Patches(channels, width, patch, normed)


def grid_of(image_size: Size, patch: Size, features: tuple[int, ...]) -> Size:
    """The token grid of a patch."""
    if features:
        r, a, s = (-(-size // 2 ** (1 + len(features))) for size in image_size)
    else:
        r, a, s = (size // step for size, step in zip(image_size, patch, strict=True))
    return r, a, s
