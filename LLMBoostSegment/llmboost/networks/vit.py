"""ViT: the classifier that R-LLM boosts (arXiv 2403.17343), for slices (ViT-S/16) and for volumes (ViT3D).

Patches, a class token, transformer blocks, the booster as one more encoder layer, a norm and a linear head. The small
variants, which train on a CPU in minutes, have a convolutional stem and read the mean of all tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..booster import Booster
from .classifier import Classifier
from .parts import Parts
from .transformer import POSITIONS, BlockSizes, Size, Transformer, grid_of, stem_of


@dataclass(frozen=True)
class ViTConfig:
    """The sizes of a ViT; the defaults are ViT-S/16's, for slices of 224 x 224.

    Attributes:
        channels, classes: input images; outputs.
        image_size: voxels (R, A, S) that positions are learned for; one voxel along S makes it two-dimensional.
        patch: voxels of a token.
        stem: features of a convolutional stem's levels, each of which halves the image, above the tokens' own level;
            empty: patches.
        normed_patches: a layer norm before and after the patches' projection.
        width, depth, heads, head_width, mlp: of the transformer, ``mlp`` being its hidden width.
        drop_path: stochastic depth of the last block; earlier ones have less.
        dropout: of the features that the head reads.
        pool: what the head reads: ``cls``, the class token, or ``mean``, the mean of all tokens.
    """

    channels: int = 1
    classes: int = 2
    image_size: Size = (224, 224, 1)
    patch: Size = (16, 16, 1)
    stem: tuple[int, ...] = ()
    normed_patches: bool = False
    width: int = 384
    depth: int = 12
    heads: int = 6
    head_width: int = 64
    mlp: int = 1536
    drop_path: float = 0.1
    dropout: float = 0.0
    pool: str = "cls"


@dataclass(frozen=True)
class ViT3DConfig(ViTConfig):
    """R-LLM's ViT3D, for volumes of 28 x 28 x 28."""

    image_size: Size = (28, 28, 28)
    patch: Size = (4, 4, 4)
    normed_patches: bool = True
    width: int = 1024
    depth: int = 8
    heads: int = 8
    mlp: int = 1024
    drop_path: float = 0.0


@dataclass(frozen=True)
class ViTTinyConfig(ViTConfig):
    """A small ViT for slices of 28 x 28."""

    image_size: Size = (28, 28, 1)
    stem: tuple[int, ...] = (32, 64)
    width: int = 128
    depth: int = 3
    heads: int = 4
    head_width: int = 32
    mlp: int = 256
    dropout: float = 0.2
    pool: str = "mean"


@dataclass(frozen=True)
class ViT3DTinyConfig(ViTTinyConfig):
    """A small ViT for volumes of 64 x 64 x 64."""

    image_size: Size = (64, 64, 64)
    stem: tuple[int, ...] = (16, 32, 64)


class ViT(Classifier):
    """Logits (B, classes) of images (B, channels, R, A, S)."""

    parts: ClassVar = Parts(first=("stem", *(f"transformer.{name}" for name in POSITIONS)), decoder=(), head=("head",))

    def __init__(self, config: ViTConfig, booster: Booster | None = None) -> None:
        super().__init__()
        self.config = config
        self.stem = stem_of(
            config.channels, config.stem, config.width, config.image_size, config.patch, config.normed_patches
        )
        self.transformer = Transformer(
            grid_of(config.image_size, config.patch, config.stem),
            config.width,
            config.depth,
            BlockSizes(config.heads, config.head_width, config.mlp, config.drop_path),
            booster,
            reads_class_token=config.pool == "cls",
        )
        self._add_head(config.width, config.classes, config.dropout)

    def features(self, image: Tensor) -> Tensor:
        tokens = self.norm(self.transformer(self.stem(image)))
        return tokens[:, 0] if self.config.pool == "cls" else tokens[:, 1:].mean(dim=1)
