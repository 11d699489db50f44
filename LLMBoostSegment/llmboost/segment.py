"""Segmenting one case: from images as they are stored to a label map on the very same grid."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage

from .errors import LLMBoostError
from .image import Image, resample
from .model import Model
from .predict import predict
from .preprocessing import preprocess

# an image that extends this many times further than the model's window is hardly the kind it was trained on
EXTENT_FACTOR = 2.5


@dataclass(frozen=True)
class Segmentation:
    """What was found in a case, all on the grid of its first channel.

    Attributes:
        labelmap: label values, unsigned integers [i, j, k]; 0 is background.
        volumes_ml: millilitres of each label, by name.
        probabilities: [c, i, j, k] float32, background first; on request.
        entropy: [i, j, k] float32 in [0, 1], how undecided the network is at each voxel; on request.
        warnings: what a user should know before believing the result.
    """

    labelmap: Image
    volumes_ml: dict[str, float]
    seconds: float
    warnings: tuple[str, ...] = ()
    probabilities: Image | None = None
    entropy: Image | None = None


def segment(
    model: Model,
    channels: Sequence[Image],
    *,
    mirror: bool = False,
    probabilities: bool = False,
    entropy: bool = False,
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Segmentation:
    """Segment a case.

    Probabilities, not labels, are brought back to the input's grid, so that borders stay smooth at any spacing.

    Args:
        model: a segmentation model.
        channels: one image a channel, on any grid.
        mirror: average with what the network says of the mirrored image, where the card allows it: twice the time.
        probabilities, entropy: also give these maps.
        progress: called with the fraction done.
        cancelled: asked before each window.

    Raises:
        LLMBoostError: another number of images than the model has channels.
        Cancelled: ``cancelled`` answered True.
    """
    started = time.monotonic()
    card = model.card
    if len(channels) != card.preprocessing.channels:
        raise LLMBoostError(
            f"model '{card.name}' takes {card.preprocessing.channels} image(s) a case, {len(channels)} given"
        )
    steps = card.preprocessing
    work = preprocess(channels, steps)
    found = predict(
        model.network,
        torch.from_numpy(np.ascontiguousarray(work.array)),
        steps.window,
        mirror=steps.mirror if mirror else (),
        progress=progress,
        cancelled=cancelled,
    )
    on_input = resample(work.with_array(found.cpu().numpy()), channels[0], "linear")
    indices = on_input.array.argmax(axis=0)
    if card.largest_component:
        indices = largest_component(indices)
    values = np.array([0, *(label.value for label in card.labels)])
    labelmap = on_input.with_array(values.astype(np.uint8 if values.max() < 256 else np.uint16)[indices])
    voxel_ml = float(np.prod(labelmap.spacing) * abs(np.linalg.det(labelmap.direction))) / 1000
    counts = np.bincount(indices.ravel(), minlength=card.classes)
    return Segmentation(
        labelmap=labelmap,
        volumes_ml={label.name: float(counts[n + 1] * voxel_ml) for n, label in enumerate(card.labels)},
        seconds=time.monotonic() - started,
        warnings=_warnings(model, channels[0], counts),
        probabilities=on_input if probabilities else None,
        entropy=on_input.with_array(normalized_entropy(on_input.array)) if entropy else None,
    )


def largest_component(indices: np.ndarray) -> np.ndarray:
    """The label map without all that is not connected (26 neighbours) to its largest piece of foreground."""
    pieces, count = ndimage.label(indices > 0, structure=np.ones((3, 3, 3)))
    if count < 2:
        return indices
    sizes = np.bincount(pieces.ravel())
    return np.where(pieces == 1 + int(sizes[1:].argmax()), indices, 0)


def normalized_entropy(probabilities: np.ndarray) -> np.ndarray:
    """Shannon entropy over the first axis as a share of its maximum: 0 where one class is sure, 1 where all tie."""
    p = np.clip(probabilities, 1e-7, 1.0)
    return (-(p * np.log(p)).sum(axis=0) / np.log(len(p))).clip(0, 1).astype(np.float32)


def _warnings(model: Model, image: Image, counts: np.ndarray) -> tuple[str, ...]:
    steps = model.card.preprocessing
    extent = np.sort(np.array(image.shape) * image.spacing)
    window = np.sort(np.array(steps.window) * steps.spacing)
    found = []
    if (extent > EXTENT_FACTOR * window).any():
        size = " x ".join(f"{mm:.0f}" for mm in window)
        found.append(f"the image is much larger than what this model knows (about {size} mm): crop it to the structure")
    missing = [label.name for n, label in enumerate(model.card.labels) if not counts[n + 1]]
    if missing:
        found.append(f"not found: {', '.join(missing)}")
    return tuple(found)
