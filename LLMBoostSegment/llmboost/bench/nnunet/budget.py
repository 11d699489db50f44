"""What a training by nnU-Net's program is told through its environment, and where that program finds our trainer."""

from __future__ import annotations

from pathlib import Path

MINUTES, SEED, USED = "LLMBOOST_NNUNET_MINUTES", "LLMBOOST_NNUNET_SEED", "LLMBOOST_NNUNET_USED"


def trainer_folder() -> str:
    """The folder of nnU-Net's trainer that a clock ends; nnU-Net imports whatever lies in it."""
    return str(Path(__file__).parent / "trainer")
