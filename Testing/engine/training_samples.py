"""What the tests of training share. A test module says ``from .training_samples import STEPS``."""

from __future__ import annotations

import torch

from llmboost.card import Preprocessing
from llmboost.learn.trainer import Trainer

STEPS = Preprocessing(patch_size=(16, 32, 16), mirror=(0,))


def logits_of(label: torch.Tensor, classes: int = 3, sharp: float = 20.0) -> torch.Tensor:
    """Logits (B, classes, I, J, K) that are sure of a label map (B, 1, I, J, K)."""
    return sharp * torch.nn.functional.one_hot(label.clamp(min=0)[:, 0].long(), classes).movedim(-1, 1).float()


def losses_of(trainer: Trainer) -> list[float]:
    """Runs a training; the loss of each step."""
    losses: list[float] = []
    trainer.report = lambda event: losses.append(event["loss"]) if event["event"] == "step" else None
    trainer.run()
    return losses
