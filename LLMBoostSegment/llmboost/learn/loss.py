"""Dice and cross-entropy at every decoder level, over the voxels that somebody labeled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from monai.losses.dice import MaskedDiceLoss
from monai.networks.utils import one_hot
from torch import Tensor, nn

IGNORED = -1


class SegmentationLoss(nn.Module):
    """Soft Dice + cross-entropy with deep supervision (nnU-Net: a level counts half of the next finer one).

    Args:
        balance: in the cross-entropy, a voxel of a class that fills the share f of the labeled voxels weighs
            f^-balance: 0 counts voxels alike, 1 counts classes alike. Small structures among many are learned sooner.
    """

    def __init__(self, balance: float = 0.0) -> None:
        super().__init__()
        self.balance = balance
        # softmax is taken before masking: the other order would mask logits to zero, which is not "no opinion"
        self.dice = MaskedDiceLoss(include_background=False, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)

    def forward(self, levels: list[Tensor], label: Tensor, drawn: Tensor | None = None) -> Tensor:
        """Mean over the levels.

        Args:
            levels: logits (B, classes, ...), full resolution first.
            label: (B, 1, R, A, S), ``IGNORED`` where unknown.
            drawn: (B, classes) bool, the classes that were looked for in each case; None: all. See :func:`marginal`.
        """
        if drawn is not None:
            levels = [marginal(logits, drawn) for logits in levels]
        weights = [0.5**n for n in range(len(levels))]
        total = sum(
            weight
            * self._level(logits, label if n == 0 else F.interpolate(label.float(), logits.shape[2:]).long(), drawn)
            for n, (weight, logits) in enumerate(zip(weights, levels, strict=True))
        )
        assert isinstance(total, Tensor)
        return total / sum(weights)

    def _level(self, logits: Tensor, label: Tensor, drawn: Tensor | None) -> Tensor:
        known = (label != IGNORED).to(logits.dtype)
        target = one_hot(label.clamp(min=0), logits.shape[1])
        shares = target.mul(known).sum(dim=(0, 2, 3, 4)) / known.sum().clamp(min=1)
        weights = torch.where(shares > 0, shares.clamp(min=1e-12) ** -self.balance, 0)
        total = (weights * shares).sum().clamp(min=1e-12) * known.sum().clamp(min=1)
        entropy = F.cross_entropy(logits, label[:, 0], weights, ignore_index=IGNORED, reduction="sum") / total
        dice = self.dice(torch.softmax(logits, dim=1), target, known)
        if drawn is not None:  # a label that no case of the batch has drawn lost nothing, and does not count
            dice = dice * ((drawn.shape[1] - 1) / drawn[:, 1:].any(dim=0).sum().clamp(min=1))
        return dice + entropy


def marginal(logits: Tensor, drawn: Tensor) -> Tensor:
    """Logits (B, classes, R, A, S) among the classes that were ``drawn`` (B, classes) in each case: what was not may be
    anywhere in the background, whose probability is then the sum of both (Shi et al. 2021, "Marginal loss and exclusion
    loss for partially supervised multi-organ segmentation", Medical Image Analysis)."""
    labels = drawn.view(*drawn.shape, 1, 1, 1)
    others = labels.clone()
    others[:, 0] = False
    background = logits.masked_fill(others, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits.masked_fill(~labels, -torch.inf)[:, 1:]], dim=1)
