"""From a network and its input to a map on the input's voxels."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LLMBoostError
from ..networks.conv_unet import ConvUNet
from ..networks.ensemble import members_of
from ..networks.monai_network import MonaiNetwork
from ..networks.tap import Tap
from .grad_cam import grad_cam, pooled_grad_cam
from .rollout import attention_rollout

# the first one is the default
METHODS = {"grad-cam": grad_cam, "attention-rollout": attention_rollout, "grad-cam-pooled": pooled_grad_cam}
LAYERS = ("after", "before")


def relevance(network: nn.Module, images: Tensor, method: str, layer: str, score: Callable[[Tensor], Tensor]) -> Tensor:
    """How much each voxel matters for a score: (B, R, A, S), not negative, on the CPU; of an ensemble, the mean over
    its members, each with a score of its own.

    Args:
        network: in evaluation mode; its weights may be frozen.
        images: (B, channels, R, A, S), on the network's device.
        method, layer: of ``METHODS``, and of ``LAYERS`` around the booster.
        score: from the network's output to the number that is explained, a sum over the images.

    Raises:
        LLMBoostError: the network has no taps, or none of what the method goes by.
    """
    members = members_of(network)
    if len(members) > 1:
        return torch.stack([relevance(member, images, method, layer, score) for member in members]).mean(dim=0)
    tap = getattr(network, f"{layer}_booster", None)
    if not isinstance(tap, Tap):
        raise LLMBoostError(f"the network {type(network).__name__} has no token grid to make maps on")
    if METHODS[method] is attention_rollout and isinstance(network, (ConvUNet, MonaiNetwork)):
        raise LLMBoostError("this network has no attention that could be rolled out; explain it by grad-cam")
    coarse = METHODS[method](network, images, tap, score)
    return F.interpolate(coarse[:, None], images.shape[2:], mode="trilinear")[:, 0].cpu()
