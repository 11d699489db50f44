"""ViViT: R-LLM's factorised transformer of volumes (arXiv 2403.17343, after Arnab et al. 2021, arXiv 2103.15691).

A spatial transformer sees each layer of patches across the third axis by itself; a temporal one sees a token a layer.
Only these few tokens reach the booster.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from ..booster import Booster
from .classifier import Classifier
from .parts import Parts
from .transformer import POSITIONS, BlockSizes, Size, Transformer, grid_of, stem_of


@dataclass(frozen=True)
class ViViTConfig:
    """The sizes of a ViViT; the defaults are R-LLM's, for volumes of 28 x 28 x 28. For the names see
    :class:`.vit.ViTConfig`; ``spatial_depth`` and ``depth`` are the blocks of the two transformers."""

    channels: int = 1
    classes: int = 2
    image_size: Size = (28, 28, 28)
    patch: Size = (4, 4, 4)
    stem: tuple[int, ...] = ()
    width: int = 1024
    spatial_depth: int = 8
    depth: int = 8
    heads: int = 8
    head_width: int = 64
    mlp: int = 1024
    dropout: float = 0.0


@dataclass(frozen=True)
class ViViTTinyConfig(ViViTConfig):
    """A small ViViT for volumes of 64 x 64 x 64."""

    image_size: Size = (64, 64, 64)
    stem: tuple[int, ...] = (16, 32, 64)
    width: int = 128
    spatial_depth: int = 2
    depth: int = 2
    heads: int = 4
    head_width: int = 32
    mlp: int = 256
    dropout: float = 0.2


class ViViT(Classifier):
    """Logits (B, classes) of images (B, channels, R, A, S)."""

    parts: ClassVar = Parts(
        first=("stem", *(f"{one}.{name}" for one in ("spatial", "transformer") for name in POSITIONS)),
        decoder=(),
        head=("head",),
    )

    def __init__(self, config: ViViTConfig, booster: Booster | None = None) -> None:
        super().__init__()
        self.config = config
        r, a, s = grid_of(config.image_size, config.patch, config.stem)
        sizes = BlockSizes(config.heads, config.head_width, config.mlp)
        self.stem = stem_of(config.channels, config.stem, config.width, config.image_size, config.patch, normed=True)
        self.spatial = Transformer((r, a, 1), config.width, config.spatial_depth, sizes, None, reads_class_token=True)
        self.spatial_norm = nn.LayerNorm(config.width)
        self.transformer = Transformer((1, 1, s), config.width, config.depth, sizes, booster, reads_class_token=True)
        self._add_head(config.width, config.classes, config.dropout)

    def features(self, image: Tensor) -> Tensor:
        grid = self.stem(image)  # (B, width, r, a, s)
        layers = grid.movedim(-1, 1).flatten(0, 1)[..., None]  # (B * s, width, r, a, 1)
        tokens = self.spatial_norm(self.spatial(layers)[:, 0]).unflatten(0, (len(grid), -1))  # (B, s, width)
        return self.norm(self.transformer(tokens.transpose(1, 2)[:, :, None, None]))[:, 0]
