"""What is added to a training's loss so that a network which knows something already does not unlearn it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Distillation:
    """The frozen base's answers to the same images as soft targets (Li & Hoiem 2016, "Learning without forgetting",
    arXiv 1606.09282), on the windows of a training step.

    Args:
        teacher: the base; it does not learn.
        weight: of the mean divergence over the voxels.
    """

    def __init__(self, teacher: nn.Module, weight: float) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.weight = weight

    def __call__(self, network: nn.Module, image: Tensor, levels: list[Tensor]) -> Tensor:
        with torch.no_grad():
            target = self.teacher(image).softmax(dim=1)
        divergence = target * (target.clamp(min=1e-6).log() - levels[0].log_softmax(dim=1))
        return self.weight * divergence.sum(dim=1).mean()
