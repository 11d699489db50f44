"""nnU-Net's networks, to use what others trained: its PlainConvUNet (Isensee et al., Nature Methods 2021) and
ResidualEncoderUNet (Isensee et al., MICCAI 2024, arXiv 2404.09556).

An encoder of stages, each coarser than the one before; a decoder that comes back up over transposed convolutions and
joins each stage's features; one convolution that makes logits of them. The heads of deep supervision, which training
alone needs, are not there. A 2D network is one of volumes whose kernels and strides are 1 along an axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..booster import Booster
from .hybrid_vit import Conv3d
from .parts import Parts
from .tap import Tap, to_grid, to_tokens

Size = tuple[int, int, int]
MOST = 64  # stages, and blocks of one: a damaged card must not keep a machine busy


@dataclass(frozen=True)
class ConvUNetConfig:
    """The sizes of a PlainConvUNet.

    Attributes:
        channels, classes: input images; outputs.
        features: of each stage of the encoder.
        kernels, strides: of each stage, along the network's axes; the first convolution of a stage has its stride.
        blocks: of each stage of the encoder: convolutions, or residual blocks of two.
        decoder_convs: convolutions of each stage of the decoder, from the coarsest up.
        bias: whether convolutions have one.
        eps: of the instance norms.
        affine: whether these have weights.
        slope: of the leaky ReLUs, for what is below zero.
    """

    channels: int
    classes: int
    features: tuple[int, ...]
    kernels: tuple[Size, ...]
    strides: tuple[Size, ...]
    blocks: tuple[int, ...]
    decoder_convs: tuple[int, ...]
    bias: bool = True
    eps: float = 1e-5
    affine: bool = True
    slope: float = 0.01

    def __post_init__(self) -> None:
        stages = len(self.features)
        counts = (*self.blocks, *self.decoder_convs)
        if not 1 < stages <= MOST or not all(0 < count <= MOST for count in counts):
            raise ValueError(f"{stages} stages of {counts} blocks")
        if {len(self.kernels), len(self.strides), len(self.blocks), len(self.decoder_convs) + 1} != {stages}:
            raise ValueError(f"{stages} stages, but not as many kernels, strides or blocks")

    @property
    def width(self) -> int:
        """Of the coarsest features, which a booster takes as tokens."""
        return self.features[-1]


@dataclass(frozen=True)
class ResidualUNetConfig(ConvUNetConfig):
    """The sizes of a ResidualEncoderUNet."""


class ConvUNet(nn.Module):
    """Logits (B, classes, R, A, S) of images (B, channels, R, A, S), whose sizes are multiples of :attr:`stride`."""

    parts: ClassVar = Parts(
        first=("encoder.stem", "encoder.stages.0"), decoder=("decoder",), head=("head",), convolutional=True
    )

    def __init__(self, config: ConvUNetConfig, booster: Booster | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.before_booster = Tap()
        self.booster = booster
        self.after_booster = Tap()
        self.decoder = Decoder(config)
        self.head = Conv3d(config.features[0], config.classes, 1)

    @property
    def stride(self) -> Size:
        """Voxels of the image that one of the coarsest stage covers along each axis."""
        r, a, s = (prod(steps) for steps in zip(*self.config.strides, strict=True))
        return r, a, s

    def forward(self, image: Tensor) -> Tensor:
        *skips, coarsest = self.encoder(image)
        coarsest = self.before_booster(coarsest)
        if self.booster is not None:
            coarsest = to_grid(self.booster(to_tokens(coarsest)), coarsest)
        return self.head(self.decoder([*skips, self.after_booster(coarsest)]))

    def deep(self, image: Tensor) -> list[Tensor]:
        """The logits alone, as other networks' of several resolutions: what others trained has lost these heads."""
        return [self(image)]


class Encoder(nn.Module):
    """The features of each stage, the finest first."""

    def __init__(self, config: ConvUNetConfig) -> None:
        super().__init__()
        residual = isinstance(config, ResidualUNetConfig)
        self.stem: nn.Module = nn.Identity()
        before = config.channels
        if residual:
            self.stem = Convs(config, 1, before, config.features[0], config.kernels[0])
            before = config.features[0]
        self.stages = nn.ModuleList()
        for width, kernel, stride, count in zip(
            config.features, config.kernels, config.strides, config.blocks, strict=True
        ):
            kind = ResidualBlocks if residual else Convs
            self.stages.append(kind(config, count, before, width, kernel, stride))
            before = width

    def forward(self, image: Tensor) -> list[Tensor]:
        features = [self.stem(image)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features[1:]


class Decoder(nn.Module):
    """The features at the image's resolution, of those of each stage of the encoder."""

    def __init__(self, config: ConvUNetConfig) -> None:
        super().__init__()
        self.transpconvs, self.stages = nn.ModuleList(), nn.ModuleList()
        for level, count in zip(range(len(config.features) - 2, -1, -1), config.decoder_convs, strict=True):
            below, width, step = config.features[level + 1], config.features[level], config.strides[level + 1]
            self.transpconvs.append(nn.ConvTranspose3d(below, width, step, step, bias=config.bias))
            self.stages.append(Convs(config, count, 2 * width, width, config.kernels[level]))

    def forward(self, features: list[Tensor]) -> Tensor:
        *skips, result = features
        for transpconv, stage in zip(self.transpconvs, self.stages, strict=True):
            result = stage(torch.cat((transpconv(result), skips.pop()), dim=1))
        return result


class Convs(nn.Module):
    """Convolutions in a row, the first one with the stride."""

    def __init__(
        self, config: ConvUNetConfig, count: int, before: int, width: int, kernel: Size, stride: Size = (1, 1, 1)
    ) -> None:
        super().__init__()
        units = [Unit(config, before, width, kernel, stride)]
        units += [Unit(config, width, width, kernel) for _ in range(count - 1)]
        self.convs = nn.Sequential(*units)

    def forward(self, x: Tensor) -> Tensor:
        return self.convs(x)


class ResidualBlocks(nn.Module):
    """Residual blocks in a row, the first one with the stride."""

    def __init__(self, config: ConvUNetConfig, count: int, before: int, width: int, kernel: Size, stride: Size) -> None:
        super().__init__()
        blocks = [ResidualBlock(config, before, width, kernel, stride)]
        blocks += [ResidualBlock(config, width, width, kernel, (1, 1, 1)) for _ in range(count - 1)]
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class ResidualBlock(nn.Module):
    """Two convolutions beside a path that averages for the stride and convolves (1 x 1 x 1) for another width."""

    def __init__(self, config: ConvUNetConfig, before: int, width: int, kernel: Size, stride: Size) -> None:
        super().__init__()
        self.conv1 = Unit(config, before, width, kernel, stride)
        self.conv2 = Unit(config, width, width, kernel, active=False)
        pool: list[nn.Module] = [nn.AvgPool3d(stride, stride)] if stride != (1, 1, 1) else []
        project = [Unit(config, before, width, (1, 1, 1), bias=False, active=False)] if before != width else []
        self.skip = nn.Sequential(*pool, *project)
        self.activation = nn.LeakyReLU(config.slope, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv2(self.conv1(x)) + self.skip(x))


class Unit(nn.Module):
    """A convolution that keeps the size, but for its stride; instance norm; leaky ReLU."""

    def __init__(
        self,
        config: ConvUNetConfig,
        before: int,
        width: int,
        kernel: Size,
        stride: Size = (1, 1, 1),
        *,
        bias: bool | None = None,
        active: bool = True,
    ) -> None:
        super().__init__()
        r, a, s = ((size - 1) // 2 for size in kernel)
        self.conv = Conv3d(before, width, kernel, stride, (r, a, s), bias=config.bias if bias is None else bias)
        self.norm = nn.InstanceNorm3d(width, config.eps, affine=config.affine)
        self.activation = nn.LeakyReLU(config.slope, inplace=True) if active else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.norm(self.conv(x)))
