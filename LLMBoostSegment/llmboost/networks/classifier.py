"""What all classifiers are: features of an image, a linear head on them, and how familiar they are."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..booster import Booster
from .ood_score import OodScore
from .transformer import Transformer


class Classifier(nn.Module):
    """Logits (B, classes) of images (B, channels, R, A, S).

    A subclass makes its parts, ``transformer`` among them, which holds the booster; ends with :meth:`_add_head`; and
    tells its :meth:`features`.
    """

    transformer: Transformer

    def _add_head(self, width: int, classes: int, dropout: float) -> None:
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, classes)
        self.ood_score = OodScore(width)
        self.dropout = dropout

    @property
    def booster(self) -> Booster | None:
        return self.transformer.booster

    @property
    def before_booster(self) -> nn.Module:
        return self.transformer.before_booster

    @property
    def after_booster(self) -> nn.Module:
        return self.transformer.after_booster

    def features(self, image: Tensor) -> Tensor:
        """What the head reads (B, width)."""
        raise NotImplementedError

    def forward(self, image: Tensor) -> Tensor:
        return self.head(F.dropout(self.features(image), self.dropout, self.training))
