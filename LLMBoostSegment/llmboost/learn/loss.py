"""Dice and cross-entropy at every decoder level, over the voxels that somebody labeled; of the whole batch, also where
several processes share it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .distributed import summed

IGNORED = -1
SMOOTH = 1e-5  # voxels: a class that is nowhere, and not found, has Dice 1


class SegmentationLoss(nn.Module):
    """Soft Dice + cross-entropy with deep supervision (nnU-Net: a level counts half of the next finer one).

    Args:
        balance: in the cross-entropy, a voxel of a class that fills the share f of the labeled voxels weighs
            f^-balance: 0 counts voxels alike, 1 counts classes alike. Small structures among many are learned sooner.
        regions: classes that count as one in the Dice, each any number of regions' (nnU-Net's, such as a whole tumor
        and its core: what is judged is learned); by default each class by itself.
    """

    def __init__(self, balance: float = 0.0, regions: Sequence[Collection[int]] = ()) -> None:
        super().__init__()
        self.balance = balance
        self.regions = regions

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
        counts = summed(torch.bincount(own, minlength=classes))
        voxels = counts.to(log.dtype)
        weights = torch.where(voxels > 0, (voxels / counts.sum().clamp(min=1)).clamp(min=1e-12) ** -self.balance, 0)
        entropy = -summed((weights[own] * chosen).sum()) / (weights * voxels).sum().clamp(min=1e-12)
        seen = torch.ones_like(voxels, dtype=torch.bool) if drawn is None else summed(drawn.sum(dim=0)) > 0
        if self.regions:
            # how much probability each class has where each class is
            found = summed(
                torch.zeros(classes, classes, dtype=log.dtype, device=log.device).index_add(1, own, log.exp())
            )
            members = torch.zeros(len(self.regions), classes, dtype=log.dtype, device=log.device)
            for n, region in enumerate(self.regions):
                members[n, list(region)] = 1
            overlap = ((members @ found) * members).sum(dim=1)
            total = members @ (found.sum(dim=1) + voxels)
            seen = members @ (~seen).to(log.dtype) == 0
        else:
            overlap = summed(torch.zeros_like(voxels).index_add(0, own, chosen.exp()))[1:]
            total, seen = (summed(log.exp().sum(dim=1)) + voxels)[1:], seen[1:]
        dice = 1 - (2 * overlap + SMOOTH) / (total + SMOOTH)
        # what no case of the batch has drawn does not count
        return dice[seen].sum() / seen.sum().clamp(min=1) + entropy


def marginal(logits: Tensor, drawn: Tensor) -> Tensor:
    """Logits (B, classes, R, A, S) among the classes that were ``drawn`` (B, classes) in each case: what was not may be
    anywhere in the background, whose probability is then the sum of both (Shi et al. 2021, "Marginal loss and exclusion
    loss for partially supervised multi-organ segmentation", Medical Image Analysis)."""
    labels = drawn.view(*drawn.shape, 1, 1, 1)
    others = labels.clone()
    others[:, 0] = False
    background = logits.masked_fill(others, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([background, logits.masked_fill(~labels, -torch.inf)[:, 1:]], dim=1)
