"""The frozen language-model block: weights' sources, the block itself, adapters and residuals around it."""

from .booster import NO_BOOSTER, Booster, BoosterConfig, booster_of, rebuild

__all__ = ["NO_BOOSTER", "Booster", "BoosterConfig", "booster_of", "rebuild"]
