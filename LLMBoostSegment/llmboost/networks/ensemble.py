"""Several networks that answer together: the mean of their probabilities (deep ensembles, Lakshminarayanan et al. 2017,
arXiv 1612.01474), in one file, and used as one network is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..booster import Booster
from ..card import AVERAGES

MAX_MEMBERS = 64


class Ensemble(nn.Module):
    """Logits (B, classes, R, A, S), or (B, classes), whose softmax is the mean of the members', of images (B, channels,
    R, A, S).

    Attributes:
        members: segmenters, or classifiers whose classes exclude each other, of one architecture.
        average: "logits": these, not what softmax makes of them, are the mean of the members' (nnU-Net's folds).
    """

    def __init__(self, members: Sequence[nn.Module], average: str = "probabilities") -> None:
        super().__init__()
        if average not in AVERAGES:
            raise ValueError(f"average of {average}")
        self.average = average
        self.members = nn.ModuleList(members)

    @property
    def stride(self) -> tuple[int, int, int]:
        """Voxels a token covers along each axis."""
        return self.members[0].stride  # type: ignore[return-value]

    @property
    def booster(self) -> Booster | None:
        """The first member's; the others' are of the same kind."""
        return self.members[0].booster  # type: ignore[return-value]

    def forward(self, image: Tensor) -> Tensor:
        first, *others = self.members
        if self.average == "logits":
            total = first(image)
            for member in others:
                total = total + member(image)
            return total / len(self.members)
        total = first(image).log_softmax(dim=1)
        for member in others:  # one after the other: of a patch, two answers are held at a time
            total = torch.logaddexp(total, member(image).log_softmax(dim=1))
        return total - math.log(len(self.members))


def members_of(network: nn.Module) -> list[nn.Module]:
    """The networks that answer together; of any other, itself."""
    return list(network.members) if isinstance(network, Ensemble) else [network]
