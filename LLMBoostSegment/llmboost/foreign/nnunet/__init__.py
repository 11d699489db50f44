"""nnU-Net v2 (Isensee et al. 2021): a folder of results as a model."""

from .folder import Results, find_results, results_at_hand, wanted
from .plans import TILING, Plan, read_plan
from .weights import network_weights

__all__ = ["TILING", "Plan", "Results", "find_results", "network_weights", "read_plan", "results_at_hand", "wanted"]
