"""Synthetic heads to train on: images of random contrast made from label maps, as many as wanted, no two alike.

The idea is SynthSeg's (Billot et al. 2023, Medical Image Analysis 86, 102789): a network that never sees the same
contrast twice learns anatomy instead of intensities, and then works on any.
"""

from .patches import HeadMap, SyntheticHeads, read_head_map
from .structures import COARSE, FINE, Structure, head_labels

__all__ = ["COARSE", "FINE", "HeadMap", "Structure", "SyntheticHeads", "head_labels", "read_head_map"]
