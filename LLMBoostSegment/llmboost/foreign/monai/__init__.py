"""MONAI (Cardoso et al. 2022, arXiv 2211.02701): bundles, and the models of Auto3DSeg, as models of ours."""

from pathlib import PurePosixPath

from . import auto3dseg, bundle
from .auto3dseg import AUTO3DSEG, Auto3DSeg, auto3dseg_at_hand, find_auto3dseg, translate_auto3dseg
from .bundle import BUNDLE, Bundle, bundles_at_hand, find_bundles, read_bundle, read_metadata, translate_bundle

__all__ = [
    "AUTO3DSEG",
    "BUNDLE",
    "Auto3DSeg",
    "Bundle",
    "auto3dseg_at_hand",
    "bundles_at_hand",
    "find_auto3dseg",
    "find_bundles",
    "read_bundle",
    "read_metadata",
    "translate_auto3dseg",
    "translate_bundle",
    "wanted",
]


def wanted(member: PurePosixPath) -> bool:
    """Which files of an archive are needed."""
    return bundle.wanted(member) or auto3dseg.wanted(member)
