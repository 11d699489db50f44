"""MONAI's own networks with the arguments of a bundle, to use what others trained.

A network is named by its class and by plain values; both are checked before anything is made, for they come from files.
Where the network is coarsest, Grad-CAM listens and a booster sits.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from ..booster import Booster
from ..errors import LLMBoostError
from .parts import Parts
from .tap import Tap, to_grid, to_tokens

Size = tuple[int, int, int]
MOST = 64  # stages of a network, and blocks of one: a damaged card must not keep a machine busy
LARGEST = 8192  # features, and voxels of a side
# of how many blocks are made; and of features of SwinUNETR, which is made at once
_BLOCKS = ("blocks_down", "blocks_up", "num_res_units", "block_config", "depths", "dsdepth", "layers")
_LIMITS = {**dict.fromkeys(_BLOCKS, MOST), "feature_size": 4 * MOST}
_NEVER = ("pretrained", "progress", "preprocess", "save_attn", "use_checkpoint")  # downloads, programs, training's own


@dataclass(frozen=True)
class Kind:
    """One of MONAI's networks.

    Attributes:
        module: of ``monai.networks.nets``, that it lies in.
        coarsest: of a network, the part whose output is its coarsest features.
        stride: how many voxels of the image one of the coarsest covers, along each axis.
        classifies: it gives classes of an image, not of voxels.
    """

    module: str
    coarsest: Callable[[Any], nn.Module]
    stride: Callable[[Any], int | Sequence[int]]
    classifies: bool = False


def _product(steps: Any) -> list[int]:
    """Of steps from level to level, each one number or one for each axis, the products along three axes."""
    result = [1, 1, 1]
    for step in steps:
        sizes = list(step) if isinstance(step, (list, tuple)) else [step] * 3
        result = [total * int(size) for total, size in zip(result, sizes + [1] * (3 - len(sizes)), strict=True)]
    return result


def _innermost(kind: str) -> Callable[[Any], nn.Module]:
    """The part in the middle of layers that hold each other."""

    def find(network: Any) -> nn.Module:
        layers = [module for module in network.modules() if type(module).__name__ == kind]
        return layers[-1].submodule

    return find


KINDS = {
    "UNet": Kind("unet", _innermost("SkipConnection"), lambda net: _product(net.strides)),
    "AttentionUnet": Kind("attentionunet", _innermost("AttentionLayer"), lambda net: _product(net.strides)),
    "BasicUNet": Kind("basic_unet", lambda net: net.down_4, lambda _: 16),
    "DynUNet": Kind("dynunet", lambda net: net.bottleneck, lambda net: _product(net.strides)),
    "FlexibleUNet": Kind("flexible_unet", lambda net: net.decoder.blocks[0], lambda _: 32),
    "SegResNet": Kind("segresnet", lambda net: net.down_layers[-1], lambda net: 2 ** (len(net.blocks_down) - 1)),
    "SegResNetDS": Kind("segresnet_ds", lambda net: net.encoder.layers[-1]["blocks"], lambda net: net.shape_factor()),
    "SwinUNETR": Kind("swin_unetr", lambda net: net.encoder10, lambda net: 16 * net.patch_size),
    "UNETR": Kind("unetr", lambda net: net.decoder5, lambda _: 16),
    "VNet": Kind("vnet", lambda net: net.down_tr256, lambda _: 16),
    "DenseNet121": Kind("densenet", lambda net: net.features, lambda _: 32, classifies=True),
    "SEResNet50": Kind("senet", lambda net: net.layer4, lambda _: 32, classifies=True),
}


# of those that segment: what sees the image first, the decoder, and the head, see :class:`.parts.Parts`
_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "UNet": (("model.0",), ("submodule.2",), ("model.2",)),
    "AttentionUnet": (("model.0",), ("attention", "upconv", "merge"), ("model.2",)),
    "BasicUNet": (("conv_0",), ("upcat_4", "upcat_3", "upcat_2", "upcat_1"), ("final_conv",)),
    "DynUNet": (("input_block",), ("upsamples",), ("output_block",)),
    "FlexibleUNet": (("encoder._conv_stem", "encoder._bn0"), ("decoder",), ("segmentation_head",)),
    "SegResNet": (("convInit", "down_layers.0"), ("up_layers", "up_samples"), ("conv_final",)),
    "SegResNetDS": (
        ("encoder.conv_init", "encoder.layers.0"),
        ("up_layers",),
        tuple(f"up_layers.{n}.head" for n in range(8)),
    ),
    "SwinUNETR": (("swinViT.patch_embed", "encoder1"), tuple(f"decoder{n}" for n in range(1, 6)), ("out",)),
    "UNETR": (("vit.patch_embedding", "encoder1"), tuple(f"decoder{n}" for n in range(2, 6)), ("out",)),
    "VNet": (("in_tr",), ("up_tr256", "up_tr128", "up_tr64", "up_tr32"), ("out_tr",)),
}


def takes(kind: str) -> set[str]:
    """The names of a network's arguments."""
    names: set[str] = set()
    for one in _class(kind).__mro__:
        parameters = inspect.signature(one).parameters.values()
        names |= {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
        if all(each.kind is not each.VAR_KEYWORD for each in parameters):  # else a class that it is made of takes more
            break
    return names - {"args", *_NEVER}


@dataclass(frozen=True)
class MonaiConfig:
    """A network of MONAI's.

    Attributes:
        kind: of ``KINDS``.
        arguments: of its class: numbers, words, and lists and tables of them.
        across: of a 2D network, the axis (0, 1, 2: R, A, S) across its slices; None: it takes volumes.
        outputs: the numbers of its outputs in the order in which they are given; by default all, as they are.

    Raises:
        ValueError: a network that is not in ``KINDS``, an argument that it does not take, or absurd ones.
    """

    kind: str
    arguments: dict[str, Any] = field(hash=False)
    across: int | None = None
    outputs: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"network {self.kind}; {', '.join(KINDS)} are known")
        if unknown := set(self.arguments) - takes(self.kind):
            raise ValueError(f"{self.kind} takes no {', '.join(sorted(unknown))}")
        for name, value in self.arguments.items():
            _check(name, value)
        if self.across not in (None, 0, 1, 2) or not all(0 <= n < LARGEST for n in self.outputs):
            raise ValueError(f"across {self.across}, outputs {self.outputs}")
        if (self.across is None) != (self.dimensions == 3):
            raise ValueError(f"{self.dimensions} dimensions, across {self.across}")

    @property
    def dimensions(self) -> int:
        """2 or 3, as its arguments say."""
        default = 2 if self.kind == "FlexibleUNet" else 3
        return int(self.arguments.get("spatial_dims", default))

    @property
    def width(self) -> int:
        """Of the coarsest features, which a booster takes as tokens: what the last convolution there gives."""
        with torch.device("meta"):
            coarsest = KINDS[self.kind].coarsest(_made(self))
        return [module.out_channels for module in coarsest.modules() if isinstance(module, _ConvNd)][-1]


class MonaiNetwork(nn.Module):
    """Logits (B, classes, R, A, S), or of a classifier (B, classes), of images (B, channels, R, A, S), whose sizes are
    multiples of :attr:`stride`; of what it trains with beside the finest logits, none."""

    def __init__(self, config: MonaiConfig, booster: Booster | None = None) -> None:
        super().__init__()
        self.config = config
        self.booster = booster
        self.before_booster, self.after_booster = Tap(), Tap()
        self.net = _made(config)
        KINDS[config.kind].coarsest(self.net).register_forward_hook(self._tapped)
        self.register_state_dict_post_hook(_without_second_names)
        self.register_load_state_dict_pre_hook(_with_second_names)

    @property
    def parts(self) -> Parts:
        """Of a segmenter."""
        first, decoder, head = _PARTS[self.config.kind]
        if self.config.kind in ("UNet", "AttentionUnet"):  # levels that hold each other
            decoder = tuple(f"model.1{'.submodule.1' * n}.{name}" for n in range(MOST) for name in decoder)
        first, decoder, head = (tuple(f"net.{name}" for name in names) for names in (first, decoder, head))
        return Parts(first, decoder, head, convolutional=True)

    def deep(self, image: Tensor) -> list[Tensor]:
        """The logits alone, of those that it may train with."""
        return [self(image)]

    @property
    def stride(self) -> Size:
        """Voxels of the image that one of the coarsest features covers along each axis."""
        found = KINDS[self.config.kind].stride(self.net)
        sizes = [found] * 3 if isinstance(found, int) else [*map(int, found), 1][:3]
        across = self.config.across
        if across is not None:
            sizes = [*sizes[:2][:across], 1, *sizes[:2][across:]]
        r, a, s = sizes
        return r, a, s

    def forward(self, image: Tensor) -> Tensor:
        across = self.config.across
        found = self.net(image if across is None else image.squeeze(across + 2))
        if isinstance(found, (list, tuple)):  # in training, of coarser levels, too; of VNet's kin, of other heads
            found = found[0]
        if found.ndim > image.ndim:  # DynUNet's levels
            found = found[:, 0]
        if self.config.outputs:
            found = found[:, list(self.config.outputs)]
        return found if across is None or found.ndim == 2 else found.unsqueeze(across + 2)

    def _tapped(self, _module: nn.Module, _inputs: tuple[Tensor], output: Tensor) -> Tensor:
        """The coarsest features, through taps and booster, as a grid of three axes."""
        across = self.config.across
        grid = self.before_booster(output if across is None else output.unsqueeze(across + 2))
        if self.booster is not None:
            grid = to_grid(self.booster(to_tokens(grid)), grid)
        grid = self.after_booster(grid)
        if torch.is_grad_enabled() and grid.requires_grad:
            grid = grid.clone()  # what comes next may change it in place, and who listens keeps what it heard
        return grid if across is None else grid.squeeze(across + 2)


def _class(kind: str) -> type[nn.Module]:
    return getattr(importlib.import_module(f"monai.networks.nets.{KINDS[kind].module}"), kind)


def _made(config: MonaiConfig) -> nn.Module:
    """MONAI's network, with random weights."""
    arguments = copy.deepcopy(config.arguments)  # MONAI fills in what is missing in tables
    if "pretrained" in inspect.signature(_class(config.kind).__init__).parameters:
        arguments["pretrained"] = False  # it would download weights
    try:
        if config.kind != "SwinUNETR":
            return _class(config.kind)(**arguments)
        with torch.device("cpu"):  # MONAI computes with tensors on the way, which the meta device cannot
            network = _class(config.kind)(**arguments)
    except ImportError as error:
        raise LLMBoostError("this network needs the package einops; run 'pip install einops'") from error
    for module in network.modules():
        if "relative_position_index" in module._buffers:  # follows from the sizes, so files need not hold it
            index = module.get_buffer("relative_position_index")
            module.register_buffer("relative_position_index", index, persistent=False)
    return network


def _check(name: str, value: Any, depth: int = 0) -> None:
    """Raises ValueError unless a network's argument is plain and of a usual size."""
    if isinstance(value, (list, tuple, dict)):
        if len(value) > MOST or depth > 3:
            raise ValueError(f"{name} of {len(value)} entries")
        for one in value.values() if isinstance(value, dict) else value:
            _check(name, one, depth + 1)
    elif isinstance(value, str):
        if len(value) > MOST:
            raise ValueError(f"{name} {value[:MOST]}")
    elif not isinstance(value, (bool, int, float, type(None))):
        raise ValueError(f"{name} of {type(value).__name__}")
    elif value is not None and not -LARGEST <= value <= _LIMITS.get(name, LARGEST):
        raise ValueError(f"{name} {value}")


def _second_names(network: nn.Module) -> dict[str, str]:
    """Of tensors that a network has under two names, as DynUNet's skips, the first name by each further one."""
    first: dict[int, str] = {}
    result = {}
    for named in (network.named_parameters(remove_duplicate=False), network.named_buffers(remove_duplicate=False)):
        for name, tensor in named:
            if (known := first.setdefault(id(tensor), name)) != name:
                result[name] = known
    return result


def _without_second_names(module: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    for name in _second_names(module):
        state.pop(prefix + name, None)


def _with_second_names(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name, known in _second_names(module).items():
        if prefix + known in state:
            state.setdefault(prefix + name, state[prefix + known])
