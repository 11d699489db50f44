"""The frozen language-model block: weights' sources, the block itself, adapters and residuals around it."""

from .booster import Booster, BoosterConfig, rebuild

__all__ = ["Booster", "BoosterConfig", "rebuild"]
