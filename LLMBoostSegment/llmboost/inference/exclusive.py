"""What a network says, as classes that exclude each other.

Some networks give each label an output of its own (nnU-Net's regions, BraTS): a whole tumor, its core, what enhances in
it. They are drawn in order, each where its output is above 0, and what is drawn later covers what was before.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .predict import USUAL, predict


def class_logits(outputs: Tensor, activation: str) -> Tensor:
    """Logits (B, classes, ...), background first, whose softmax tells how probable each class is.

    Where each label has an output of its own, these are logarithms of probabilities: of a label that it is drawn and
    none of those after it is, of the background that none is, each drawn with the probability that its sigmoid gives.
    What is drawn in the end is, where several outputs are close to 0, not always the likeliest: see
    :func:`classes_of`.

    Args:
        outputs: (B, outputs, ...), float32, of a network whose card has this ``activation``.
    """
    if activation == "softmax":
        return outputs
    absent = F.logsigmoid(-outputs).flip(1).cumsum(1).flip(1)  # of each label, that neither it nor a later one is drawn
    later = torch.cat([absent[:, 1:], torch.zeros_like(absent[:, :1])], dim=1)
    return torch.cat([absent[:, :1], F.logsigmoid(outputs) + later], dim=1)


def classes_of(outputs: Tensor, activation: str) -> Tensor:
    """The class of each voxel (int16, without the first axis) that is drawn, of outputs (outputs, ...): logits, or what
    else is largest where these are, where labels exclude each other."""
    if activation == "softmax":
        return outputs.argmax(dim=0).to(torch.int16)
    numbers = torch.arange(1, len(outputs) + 1, dtype=torch.int16, device=outputs.device)
    return ((outputs > 0) * numbers.view(-1, *(1,) * (outputs.ndim - 1))).amax(dim=0)


def predict_outputs(network: nn.Module, volume: Tensor, patch_size: tuple[int, int, int], activation: str) -> Tensor:
    """What :func:`classes_of` takes of a whole volume (channels, R, A, S) as small as training's: probabilities of the
    classes, or, of labels that have an output of their own each, logits."""
    tiling = USUAL if activation == "softmax" else replace(USUAL, average="logits")
    return predict(network, volume, patch_size, tiling=tiling)


def class_probabilities(outputs: Tensor, activation: str) -> Tensor:
    """How probable each class is (classes, ...), of what :func:`predict_outputs` gives."""
    return outputs if activation == "softmax" else class_logits(outputs[None], activation)[0].exp()
