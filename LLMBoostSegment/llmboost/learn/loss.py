"""Dice and cross-entropy at every decoder level, over the voxels that somebody labeled."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IGNORED = -1
SMOOTH = 1e-5  # voxels: a class that is nowhere, and not found, has Dice 1


class SegmentationLoss(nn.Module):
    """Soft Dice + cross-entropy with deep supervision (nnU-Net: a level counts half of the next finer one).

    Args:
        balance: in the cross-entropy, a voxel of a class that fills the share f of the labeled voxels weighs
            f^-balance: 0 counts voxels alike, 1 counts classes alike. Small structures among many are learned sooner.
    """

    def __init__(self, balance: float = 0.0) -> None:
        super().__init__()
        self.balance = balance

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
        """Of each voxel, only the probability of its own class is looked up: with many classes, a tensor that has ones
        in place of labels takes most of a step's time."""
        classes = logits.shape[1]
        known = (label != IGNORED).flatten()
        own = label.flatten()[known]
        log = torch.log_softmax(logits, dim=1).movedim(1, 0).flatten(1)  # (classes, voxels of the batch)
        log = log if bool(known.all()) else log[:, known]
        chosen = log.gather(0, own[None])[0]
        voxels = torch.bincount(own, minlength=classes).to(log.dtype)
        weights = torch.where(voxels > 0, (voxels / max(len(own), 1)).clamp(min=1e-12) ** -self.balance, 0)
        entropy = -(weights[own] * chosen).sum() / (weights * voxels).sum().clamp(min=1e-12)
        overlap = torch.zeros_like(voxels).index_add(0, own, chosen.exp())
        dice = 1 - (2 * overlap + SMOOTH) / (log.exp().sum(dim=1) + voxels + SMOOTH)
        if drawn is None:
            return dice[1:].mean() + entropy
        # a label that no case of the batch has drawn lost nothing, and does not count
        return dice[1:].sum() / drawn[:, 1:].any(dim=0).sum().clamp(min=1) + entropy


def marginal(logits: Tensor, drawn: Tensor) -> Tensor:
    """Logits (B, classes, R, A, S) among the classes that were ``drawn`` (B, classes) in each case: what was not may be
    anywhere in the background, whose probability is then the sum of both (Shi et al. 2021, "Marginal loss and exclusion
    loss for partially supervised multi-organ segmentation", Medical Image Analysis)."""
    labels = drawn.view(*drawn.shape, 1, 1, 1)
    others = labels.clone()
    others[:, 0] = False
    background = logits.masked_fill(others, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits.masked_fill(~labels, -torch.inf)[:, 1:]], dim=1)
