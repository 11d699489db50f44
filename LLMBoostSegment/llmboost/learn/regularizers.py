"""What is added to a training's loss so that a network which knows something already does not unlearn it, and so that
images teach that nobody labeled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..inference.exclusive import class_logits
from .augment import IMAGE, LABEL

if TYPE_CHECKING:
    from .patches import TrainingPatches
    from .segmentation import Answer
    from .trainer import Progress


class Distillation:
    """The frozen base's answers to the same images as soft targets (Li & Hoiem 2016, "Learning without forgetting",
    arXiv 1606.09282), where they agree with the labels: elsewhere, the base is what is to be mended.

    Args:
        teacher: the base; it does not learn.
        activation: of its card.
        weight: of the mean divergence over those voxels.
    """

    def __init__(self, teacher: nn.Module, weight: float, activation: str = "softmax") -> None:
        self.teacher = teacher.eval().requires_grad_(requires_grad=False)
        self.weight, self.activation = weight, activation

    def __call__(self, _answer: Answer, batch: dict[str, Tensor], levels: list[Tensor], progress: Progress) -> Tensor:
        with torch.no_grad():
            target = class_logits(self.teacher(batch[IMAGE]).float(), self.activation).softmax(dim=1)
        divergence = target * (target.clamp(min=1e-6).log() - levels[0].log_softmax(dim=1))
        right = target.argmax(dim=1) == batch[LABEL][:, 0]
        return self.weight * (divergence.sum(dim=1) * right).sum() / right.sum().clamp(min=1)


class Consistency:
    """An image that nobody labeled is to be segmented like a larger or smaller copy of itself: the consistency of
    scales of DEC-Seg (Gu et al. 2023, arXiv 2312.16039), with the answer to the image as it is for a target.

    Off by default: on val, 20 such cases beside 5 labeled ones gave +0.011 of Dice (-0.000 to 0.026, two seeds) for
    twice the time, which is not told apart from twice the steps without them (`adapt_unlabelled`).

    What differs counts as a share of what is labeled, as in a soft Dice, so that small structures count as large ones.

    Args:
        patches: of the unlabeled images, one a step.
        weight: of the difference at the end of the budget; before, as much less as there is left of it.
    """

    ZOOM = 1.5  # the largest factor

    def __init__(self, patches: TrainingPatches, weight: float) -> None:
        self.patches = patches
        self.weight = weight

    def __call__(self, answer: Answer, batch: dict[str, Tensor], levels: list[Tensor], progress: Progress) -> Tensor:
        with torch.autocast("cpu", enabled=False):  # patches are cut as those of the labeled cases are
            image = self.patches[progress.step][IMAGE][None].to(levels[0].device)
        factor = math.exp(math.log(self.ZOOM) * float(torch.empty(()).uniform_(-1, 1)))
        with torch.no_grad():
            # logits: probabilities would be blurred
            target = zoomed(answer(image), factor).softmax(dim=1)[:, 1:]
        found = answer(zoomed(image, factor)).softmax(dim=1)[:, 1:]
        apart, both = (found - target).square().sum(), (found.square() + target.square()).sum()
        return self.weight * progress.fraction * apart / (both + 1)


def zoomed(image: Tensor, factor: float) -> Tensor:
    """What (1, C, R, A, S) shows, larger by ``factor`` about its middle, on the same voxels."""
    with torch.autocast(image.device.type, enabled=False):  # in half precision, places would be off by a voxel
        zoom = torch.eye(3, 4, device=image.device)[None] / factor
        grid = F.affine_grid(zoom, list(image.shape), align_corners=False)
        return F.grid_sample(image.float(), grid, padding_mode="border", align_corners=False)
