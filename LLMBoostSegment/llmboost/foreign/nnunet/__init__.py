"""nnU-Net v2 (Isensee et al. 2021): a folder of results as a model."""

from .folder import Results, find_results, results_at_hand, wanted
from .model import PROGRAM, translate

__all__ = ["PROGRAM", "Results", "find_results", "results_at_hand", "translate", "wanted"]
