"""What is added to a training's loss so that a network which knows something already does not unlearn it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .augment import IMAGE, LABEL


class Distillation:
    """The frozen base's answers to the same images as soft targets (Li & Hoiem 2016, "Learning without forgetting",
    arXiv 1606.09282), where they agree with the labels: elsewhere, the base is what is to be mended.

    Args:
        teacher: the base; it does not learn.
        weight: of the mean divergence over those voxels.
    """

    def __init__(self, teacher: nn.Module, weight: float) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.weight = weight

    def __call__(self, network: nn.Module, batch: dict[str, Tensor], levels: list[Tensor]) -> Tensor:
        with torch.no_grad():
            target = self.teacher(batch[IMAGE]).softmax(dim=1)
        divergence = target * (target.clamp(min=1e-6).log() - levels[0].log_softmax(dim=1))
        right = target.argmax(dim=1) == batch[LABEL][:, 0]
        return self.weight * (divergence.sum(dim=1) * right).sum() / right.sum().clamp(min=1)
