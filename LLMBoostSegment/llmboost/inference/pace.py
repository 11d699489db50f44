"""How long a segmentation will take on this machine: the patches to compute, at the pace of one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..card.tiles import patch_count
from .mirror import mirror_images
from .preprocessing import orient

if TYPE_CHECKING:
    from ..io.image import Image
    from ..model import Model
    from .roi import Roi

FEW = 8  # patches: fewer are computed about as soon as one is timed
LONG = 1.0  # seconds: what a first patch takes longer than others is little beside
AROUND = 1.2  # times what the network takes: resampling, drawing and the like


def seconds_a_patch(model: Model) -> float:
    """What the network takes for one patch, here and now."""
    import torch

    weight = next(model.network.parameters())
    patch = torch.zeros(1, model.card.preprocessing.channels, *model.card.preprocessing.patch_size).to(weight.device)
    seconds = 0.0
    for _ in range(2):
        started = time.perf_counter()
        with torch.inference_mode():
            model.network(patch).cpu()
        seconds = time.perf_counter() - started
        if seconds > LONG and not weight.is_cuda:
            break
    return seconds


def expected_seconds(model: Model, image: Image, roi: Roi | None = None, *, mirror: bool = False) -> float | None:
    """About what segmenting an image will take, by timing one patch of many; None where there are few, or a cascade
    chooses what is looked at."""
    card, preprocessing = model.card, model.card.preprocessing
    seen = orient(roi.crop(image) if roi else image, preprocessing)
    extent = [n * mm for n, mm in zip(seen.shape, seen.spacing, strict=True)]
    if (axis := preprocessing.slice_axis) is not None:  # along which nothing is resampled
        extent[axis] = seen.shape[axis] * preprocessing.spacing[axis]
    count = patch_count(card, extent)
    if count < FEW or card.needs_cascade(extent):
        return None
    images = len(mirror_images(card)) if mirror else 1
    return AROUND * count * images * seconds_a_patch(model)


def about(seconds: float | None) -> str:
    """Such as ``about 40 s``, ``about 3 min``; empty for None."""
    if seconds is None:
        return ""
    return f"about {max(1, round(seconds))} s" if seconds < 100 else f"about {round(seconds / 60)} min"
