"""PlainViT: the segmenter of MedVisionLlama (arXiv 2410.02458), patches in and patches out.

Patch embedding, positions, transformer blocks with the booster at its place, and one linear layer that returns each
token to its patch of logits: no stem, no skips, no decoder. It deviates from the released code where that is broken or
measurably harmful: positions are added before the booster, not after it; patches are folded by a reshape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..booster import Booster
from .parts import Parts
from .tap import Tap, place_of, to_grid, to_tokens

Size = tuple[int, int, int]


@dataclass(frozen=True)
class PlainViTConfig:
    """The sizes of a PlainViT; the defaults are the released baseline's (ViTArgs), for a patch of 40 x 56 x 40.

    Attributes:
        channels, classes: input images; output channels, background included.
        image_size: voxels of the image that positions are learned for; other sizes interpolate them.
        patch: voxels of a token.
        width, depth, heads, mlp_ratio, dropout: of the transformer.
    """

    channels: int = 1
    classes: int = 3
    image_size: Size = (40, 56, 40)
    patch: Size = (8, 8, 8)
    width: int = 64
    depth: int = 16
    heads: int = 4
    mlp_ratio: int = 4
    dropout: float = 0.2


class PlainViT(nn.Module):
    """Logits (B, classes, R, A, S) of images (B, channels, R, A, S), whose sizes are multiples of ``patch``."""

    parts: ClassVar = Parts(first=("embed", "position"), decoder=(), head=("head",))

    def __init__(self, config: PlainViTConfig, booster: Booster | None = None) -> None:
        super().__init__()
        self.config = config
        grid = tuple(size // step for size, step in zip(config.image_size, config.patch, strict=True))
        self.embed = nn.Conv3d(config.channels, config.width, config.patch, config.patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, config.width, *grid))
        self.transformer = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width,
                config.heads,
                config.mlp_ratio * config.width,
                config.dropout,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.depth)
        )
        self.before_booster = Tap()
        self.booster = booster
        self.after_booster = Tap()
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.ConvTranspose3d(config.width, config.classes, config.patch, config.patch)

    @property
    def stride(self) -> Size:
        """Voxels a token covers along each axis."""
        return self.config.patch

    def forward(self, image: Tensor) -> Tensor:
        x = self.embed(image)  # (B, width, r, a, s)
        position: Tensor = self.position
        if x.shape[2:] != position.shape[2:]:
            position = F.interpolate(position, x.shape[2:], mode="trilinear")
        grid = x + position
        x = to_tokens(grid)  # (B, T, width)
        for index in range(self.config.depth + 1):
            if index == place_of(self.booster, self.config.depth):
                x = to_tokens(self.before_booster(to_grid(x, grid)))
                if self.booster is not None:
                    x = self.booster(x)
                x = to_tokens(self.after_booster(to_grid(x, grid)))
            if index < self.config.depth:
                x = self.transformer[index](x)
        return self.head(to_grid(self.norm(x), grid))

    def deep(self, image: Tensor) -> list[Tensor]:
        """The logits alone: there is one resolution."""
        return [self(image)]
