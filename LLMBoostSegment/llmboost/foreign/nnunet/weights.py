"""nnU-Net's weights under our networks' names, on our axes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from torch import Tensor

_WRAPPERS = re.compile(r"^(?:module\.|_orig_mod\.)+")
_PLAIN_STAGE = re.compile(r"^(encoder\.stages\.\d+)\.0\.")
_HEAD = re.compile(r"^decoder\.seg_layers\.(\d+)\.")


def network_weights(state: Mapping[str, Tensor], axes: Sequence[int]) -> dict[str, Tensor]:
    """The weights of a :class:`..networks.conv_unet.ConvUNet`.

    Each tensor is stored under two or three names, and training's heads of coarser levels are not needed.

    Args:
        state: of PlainConvUNet or ResidualEncoderUNet, in 2D or 3D.
        axes: of each of our network's axes, which one it is of theirs; 2D is volumes of one voxel along their first.
    """
    names = {_WRAPPERS.sub("", name): tensor for name, tensor in state.items()}
    heads = [int(found[1]) for name in names if (found := _HEAD.match(name))]
    result = {}
    for name, tensor in names.items():
        if ".all_modules." in name or name.startswith("decoder.encoder."):
            continue
        if found := _HEAD.match(name):
            if int(found[1]) != max(heads):
                continue
            name = name.replace(found[0], "head.")
        result[_PLAIN_STAGE.sub(r"\1.", name)] = _turned(tensor, axes)
    return result


def _turned(weight: Tensor, axes: Sequence[int]) -> Tensor:
    """A view of a kernel [out, in, axes...] with its axes in our order; biases and the like as they are."""
    if weight.ndim == 4:
        weight = weight[:, :, None]
    return weight.permute(0, 1, *(2 + axis for axis in axes)) if weight.ndim == 5 else weight
