"""Segmenters of other people to compare with, from MONAI, made to train in the same loop.

Sizes are those of the papers or of MONAI's defaults; the smaller of the published ones where there are several, for
they train on a CPU, too. They take no booster. UNETR and SwinUNETR need the package einops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LLMBoostError

Size = tuple[int, int, int]


@dataclass(frozen=True)
class PeerConfig:
    """What a peer is made for.

    Attributes:
        channels, classes: input images; output channels, background included.
        image_size: voxels of the image in training.
        strides: by what each level is made coarser on the way to the next, as the data set's plan says.
        features: of the first level.
    """

    channels: int = 1
    classes: int = 3
    image_size: Size = (40, 56, 40)
    strides: tuple[Size, ...] = ((2, 2, 2), (2, 2, 2), (2, 2, 2))
    features: int = 16

    STRIDE: ClassVar[int] = 8

    @property
    def stride(self) -> Size:
        """What the sizes of an image must be multiples of."""
        return (self.STRIDE,) * 3

    def padded(self, sizes: Sequence[int]) -> list[int]:
        """The sizes that an image is padded to: at the coarsest level, instance norm needs more than one voxel."""
        result = [-(-size // step) * step for size, step in zip(sizes, self.stride, strict=True)]
        if tuple(result) == self.stride:
            result[0] *= 2
        return result

    def make(self) -> nn.Module:
        """The network, with random weights."""
        raise NotImplementedError


@dataclass(frozen=True)
class DynUNetConfig(PeerConfig):
    """The network of nnU-Net (Isensee et al. 2021), 3D full resolution: features double with each level, up to 320."""

    features: int = 32

    @property
    def stride(self) -> Size:
        a, b, c = (2 ** sum(step > 1 for step in steps) for steps in zip(*self.strides, strict=True))
        return a, b, c

    def make(self) -> nn.Module:
        from monai.networks.nets.dynunet import DynUNet

        strides = [(1, 1, 1), *self.strides]
        kernels = [tuple(3 if step > 1 else 1 for step in steps) for steps in (self.strides[0], *self.strides)]
        return DynUNet(
            spatial_dims=3,
            in_channels=self.channels,
            out_channels=self.classes,
            kernel_size=kernels,
            strides=strides,
            upsample_kernel_size=self.strides,
            filters=[min(self.features * 2**level, 320) for level in range(len(strides))],
            norm_name=("instance", {"affine": True}),
            deep_supervision=True,
            deep_supr_num=len(self.strides) - 1,
        )


@dataclass(frozen=True)
class SegResNetConfig(PeerConfig):
    """SegResNet (Myronenko 2018, arXiv 1810.11654), without its autoencoder."""

    def make(self) -> nn.Module:
        from monai.networks.nets.segresnet import SegResNet

        return SegResNet(
            spatial_dims=3,
            init_filters=self.features,
            in_channels=self.channels,
            out_channels=self.classes,
            dropout_prob=0.2,
            blocks_down=(1, 2, 2, 4),
            blocks_up=(1, 1, 1),
        )


@dataclass(frozen=True)
class UNETRConfig(PeerConfig):
    """UNETR (Hatamizadeh et al. 2022, arXiv 2103.10504), a ViT-B on patches of 16 voxels; it knows one size alone."""

    STRIDE: ClassVar[int] = 16

    def make(self) -> nn.Module:
        import einops  # noqa: F401 - MONAI would miss it later, and in its own words
        from monai.networks.nets.unetr import UNETR

        return UNETR(self.channels, self.classes, self.padded(self.image_size), feature_size=self.features)


@dataclass(frozen=True)
class SwinUNETRConfig(PeerConfig):
    """Swin UNETR (Hatamizadeh et al. 2022, arXiv 2201.01266)."""

    features: int = 24

    STRIDE: ClassVar[int] = 32

    def make(self) -> nn.Module:
        import einops  # noqa: F401
        from monai.networks.nets.swin_unetr import SwinUNETR

        with torch.device("cpu"):  # MONAI computes with tensors on the way, which the meta device cannot
            network = SwinUNETR(self.channels, self.classes, feature_size=self.features)
        for module in network.modules():
            if "relative_position_index" in module._buffers:  # follows from the sizes, so files need not hold it
                index = module.get_buffer("relative_position_index")
                module.register_buffer("relative_position_index", index, persistent=False)
        return network


class Peer(nn.Module):
    """Logits (B, classes, R, A, S) of images (B, channels, R, A, S) of any size, padded to what the network takes."""

    def __init__(self, config: PeerConfig, booster: None = None) -> None:  # noqa: ARG002  # all networks take one
        super().__init__()
        self.config = config
        self.booster = None
        try:
            self.net = config.make()
        except ImportError as error:
            raise LLMBoostError("this network needs the package einops; run 'pip install einops'") from error

    @property
    def stride(self) -> Size:
        """What a patch's sizes should be multiples of, so that nothing is padded."""
        return self.config.stride

    def forward(self, image: Tensor) -> Tensor:
        return self.deep(image)[0]

    def deep(self, image: Tensor) -> list[Tensor]:
        """The logits, and in training DynUNet's of coarser levels, too, brought to full resolution."""
        sizes = image.shape[2:]
        missing = [large - size for large, size in zip(self.config.padded(sizes), sizes, strict=True)]
        result = self.net(F.pad(image, [n for after in reversed(missing) for n in (0, after)]))
        levels = result.unbind(1) if result.ndim == image.ndim + 1 else (result,)
        r, a, s = sizes
        return [logits[:, :, :r, :a, :s] for logits in levels]
