"""HybridViT: a vision transformer under a convolutional stem, boosted by a language model's block.

A stem of convolutions halves the image level by level; the coarsest level is the patch embedding of a transformer whose
hybrid attention joins global self-attention and local convolution; the booster is one more encoder layer; a multi-scale
fusion block gathers the stem's levels into the tokens; a decoder with skips returns to full resolution.

"Hybrid attention" and "multi-scale fusion" are MedVisionLlama's words (arXiv 2410.02458 v1); no definition of them is
public, so the two blocks here are our own design. The stem with skips follows TransUNet and nnU-Net.

Image axes are (R, A, S); tensors are (B, C, R, A, S). One network serves 3D, anisotropic and one-slice images: an axis
that a level does not stride over, it does not convolve over either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from monai.networks.utils import pixelshuffle, pixelunshuffle
from torch import Tensor, nn

from ..booster import Booster
from .parts import Parts
from .tap import Tap, place_of, to_grid, to_tokens

Size = tuple[int, int, int]


@dataclass(frozen=True)
class HybridViTConfig:
    """The sizes of a HybridViT.

    Attributes:
        channels: input images.
        classes: output channels, background included.
        stem: features of each level above the tokens, finest first.
        strides: by what each level is made coarser on the way to the next; (2, 2, 1) keeps the third axis.
        unshuffle: voxels along each axis that become channels before the stem, and logits that become voxels again at
            the end (sub-pixel convolution, Shi et al. 2016, arXiv 1609.05158): the finest level then has voxels so many
            times coarser. For coarse work that must be fast.
        width, depth, heads, mlp_ratio: of the transformer.
        dropout: of features in the transformer's residual branches.
    """

    channels: int = 1
    classes: int = 3
    stem: tuple[int, ...] = (16, 48, 96)
    strides: tuple[Size, ...] = ((2, 2, 2), (2, 2, 2), (2, 2, 2))
    unshuffle: int = 1
    width: int = 160
    depth: int = 4
    heads: int = 5
    mlp_ratio: int = 3
    dropout: float = 0.1


class HybridViT(nn.Module):
    """Logits (B, classes, R, A, S) of images (B, channels, R, A, S), whose sizes are multiples of ``stride``."""

    parts: ClassVar = Parts(first=("stem", "down"), decoder=("fusion", "up", "decoder"), head=("heads",))

    def __init__(self, config: HybridViTConfig, booster: Booster | None = None) -> None:
        super().__init__()
        self.config = config
        kernels = [kernel_of(stride) for stride in config.strides]
        token_kernel = kernel_of(self.stride)
        # every level but the first begins with a strided convolution that already widened it
        entering = (config.channels * config.unshuffle**3, *config.stem[1:])
        leaving = (*config.stem[1:], config.width)
        self.stem = nn.ModuleList(
            ConvBlock(before, fine, kernel) for before, fine, kernel in zip(entering, config.stem, kernels, strict=True)
        )
        self.down = nn.ModuleList(
            Conv3d(fine, coarse, stride, stride)
            for fine, coarse, stride in zip(config.stem, leaving, config.strides, strict=True)
        )
        self.transformer = nn.ModuleList(HybridBlock(config, token_kernel) for _ in range(config.depth))
        self.before_booster = Tap()
        self.booster = booster
        self.after_booster = Tap()
        self.fusion = MultiScaleFusion(config.stem, config.width, token_kernel)
        self.up = nn.ModuleList(
            nn.ConvTranspose3d(coarse, fine, stride, stride)
            for fine, coarse, stride in zip(config.stem, leaving, config.strides, strict=True)
        )
        self.decoder = nn.ModuleList(
            ConvBlock(2 * fine, fine, kernel) for fine, kernel in zip(config.stem, kernels, strict=True)
        )
        self.heads = nn.ModuleList(Conv3d(fine, config.classes * config.unshuffle**3, 1) for fine in config.stem)

    @property
    def stride(self) -> Size:
        """Voxels a token covers along each axis."""
        a, b, c = (self.config.unshuffle * math.prod(steps) for steps in zip(*self.config.strides, strict=True))
        return a, b, c

    def forward(self, image: Tensor) -> Tensor:
        return self.deep(image)[0]

    def deep(self, image: Tensor) -> list[Tensor]:
        """Logits of every decoder level, full resolution first: for deep supervision in training."""
        unshuffle = self.config.unshuffle
        x, skips = pixelunshuffle(image, 3, unshuffle), []  # (B, channels * fold^3, R / fold, A / fold, S / fold)
        for stem, down in zip(self.stem, self.down, strict=True):
            x = stem(x)
            skips.append(x)
            x = down(x)  # the last one embeds patches: (B, width, r, a, s)
        x = self.encode(x)
        x = self.fusion(x, skips)
        logits = []
        for up, decoder, head, skip in reversed(list(zip(self.up, self.decoder, self.heads, skips, strict=True))):
            x = decoder(torch.cat([up(x), skip], dim=1))
            logits.append(pixelshuffle(head(x), 3, unshuffle))
        return logits[::-1]

    def encode(self, x: Tensor) -> Tensor:
        """The transformer with its booster, on the token grid (B, width, r, a, s)."""
        for index in range(self.config.depth + 1):
            if index == place_of(self.booster, self.config.depth):
                x = self.before_booster(x)
                if self.booster is not None:
                    x = to_grid(self.booster(to_tokens(x)), x)
                x = self.after_booster(x)
            if index < self.config.depth:
                x = self.transformer[index](x)
        return x


class Conv3d(nn.Conv3d):
    """As torch's, which for a small image alone leaves oneDNN aside on a CPU, in float32, and is then several times as
    slow (torch 2.13: up to 20,480 numbers without the last axis)."""

    def forward(self, grid: Tensor) -> Tensor:
        aside = grid.device.type == "cpu" and grid.dtype == torch.float32 and grid[..., 0].numel() <= 20_480
        if aside and not torch.is_autocast_enabled("cpu") and torch.backends.mkldnn.is_available():
            return super().forward(grid.to_mkldnn()).to_dense()
        return super().forward(grid)


class ConvBlock(nn.Sequential):
    """Twice convolution, instance norm and leaky ReLU (nnU-Net, Isensee et al. 2021)."""

    def __init__(self, before: int, after: int, kernel: Size) -> None:
        def unit(channels: int) -> list[nn.Module]:
            return [
                Conv3d(channels, after, kernel, padding="same", bias=False),
                nn.InstanceNorm3d(after, affine=True),
                nn.LeakyReLU(0.01, inplace=True),
            ]

        super().__init__(*unit(before), *unit(after))


class DepthwiseConv(nn.Conv3d):
    """Each channel by itself. In the weights' own precision always: for it, half precision is no faster, and on a CPU
    in bfloat16, the gradients of small grids differ from run to run (torch 2.13, oneDNN)."""

    def forward(self, grid: Tensor) -> Tensor:
        with torch.autocast(grid.device.type, enabled=False):
            return super().forward(grid.to(self.weight.dtype))


class HybridAttention(nn.Module):
    """Global self-attention and local depth-wise convolution of the same tokens, mixed by a learned gate.

    The convolution's zero padding tells tokens where they are (Chu et al. 2021, arXiv 2102.10882), so that there is no
    position embedding and any image size will do.
    """

    def __init__(self, width: int, heads: int, kernel: Size) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.local = DepthwiseConv(width, width, kernel, padding="same", groups=width)
        self.gate = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, grid: Tensor) -> Tensor:
        """Args: tokens (B, T, width), already normalized; grid, whose shape (B, width, r, a, s) they have in space."""
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        everywhere = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        nearby = to_tokens(self.local(to_grid(tokens, grid)))
        gate = self.gate(tokens).sigmoid()
        return self.out(gate * everywhere + (1 - gate) * nearby)


class HybridBlock(nn.Module):
    """A pre-norm transformer block on the token grid (B, width, r, a, s)."""

    def __init__(self, config: HybridViTConfig, kernel: Size) -> None:
        super().__init__()
        hidden = config.mlp_ratio * config.width
        self.norm1 = nn.LayerNorm(config.width)
        self.attention = HybridAttention(config.width, config.heads, kernel)
        self.norm2 = nn.LayerNorm(config.width)
        self.mlp = nn.Sequential(nn.Linear(config.width, hidden), nn.GELU(), nn.Linear(hidden, config.width))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        tokens = to_tokens(x)
        tokens = tokens + self.dropout(self.attention(self.norm1(tokens), x))
        tokens = tokens + self.dropout(self.mlp(self.norm2(tokens)))
        return to_grid(tokens, x)


class MultiScaleFusion(nn.Module):
    """Gathers features of all scales into the tokens.

    Finer scales: each level of the stem, averaged over a token's voxels. Coarser ones: depth-wise convolutions of the
    tokens with growing dilation. A 1x1x1 convolution, zero at the start, adds what they say to the tokens.
    """

    def __init__(self, stem: tuple[int, ...], width: int, kernel: Size) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            DepthwiseConv(width, width, kernel, padding="same", dilation=rate, groups=width) for rate in (1, 2, 3)
        )
        self.norm = nn.GroupNorm(1, sum(stem) + len(self.dilated) * width)
        self.mix = nn.Conv3d(sum(stem) + len(self.dilated) * width, width, 1)
        nn.init.zeros_(self.mix.weight)

    def forward(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        r, a, s = x.shape[2:]
        finer = [F.adaptive_avg_pool3d(skip, (r, a, s)) for skip in skips]
        coarser = [dilated(x) for dilated in self.dilated]
        return x + self.mix(F.gelu(self.norm(torch.cat([*finer, *coarser], dim=1))))


def kernel_of(stride: Size) -> Size:
    """3 along the axes that are strided over, 1 along the others."""
    a, b, c = (3 if step > 1 else 1 for step in stride)
    return a, b, c
