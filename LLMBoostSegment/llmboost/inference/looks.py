"""What images look like, in some dozens of measures, and how unusual an image's are among those of a training.

A network that learned to tell its classes apart, and nothing else, is no judge of what it does not know: features of
far images fall among the usual ones (van Amersfoort et al. 2021, arXiv 2102.11409). So an image is measured before the
network sees it, and the Mahalanobis distance to the training images (one Gaussian for all classes, as Lee et al. 2018,
arXiv 1807.03888, take it of features) is of these measures.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.fft import dctn
from scipy.stats import t
from torch import Tensor

from ..card import Looks
from ..errors import LLMBoostError
from .preprocessing import mirrorings

BATCH = 32  # images at a time
USUAL = 0.99  # the share of images like the training's that count as such
SHRINKAGE = 0.02  # of the correlations towards none, at least
FLOOR = 0.01  # of a measure's spread: some never vary, such as the extremes of masks
FOLDS = 5
COARSE, FINE = 4, 7  # blocks along each axis
PER_MEASURE = 10  # images that allow for fine blocks
LEVELS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
# where bands begin, in half waves over the image; each reaches to the next one
BANDS = (0.5, 1.5, 3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0)
STRAIGHT = 0.87  # the share of a wave along one axis from which it counts as running along that


def measure(images: np.ndarray, blocks: int) -> np.ndarray:
    """The measures (N, count) of framed images (N, C, R, A, S).

    Of each channel: the logarithm of the energy in bands of the cosine transform, by octave and direction; quantiles;
    how it differs from other channels; mean and logarithm of the spread within ``blocks`` a side, which tell where
    things lie (0: none are taken).
    """
    found = []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH].astype(np.float32)
        part = part[..., 0] if part.shape[-1] == 1 else part
        measures = [_bands(part), _levels(part), *([_blocks(part, blocks)] if blocks else [])]
        found.append(np.concatenate(measures, axis=1))
    return np.concatenate(found).astype(np.float64)


def fit(images: np.ndarray, held_out: np.ndarray, mirror: Sequence[int], mask: bool) -> Looks:
    """What framed images (N, C, R, A, S) look like.

    Args:
        images: those of the training.
        held_out: others; with those of the training, each measured by the rest, they tell how far the usual are.
        mirror: axes (0, 1, 2) along which an image is as usual as its mirror image.
        mask: the images are masks, which lie in the middle: no blocks are taken, and all measures are those of mirror
            images. A mask of coarser voxels than the patch's is as usual as one of finer ones.
    """
    count = measure(images[:1], FINE).shape[1]
    blocks = 0 if mask else FINE if len(images) >= PER_MEASURE * count else COARSE

    def measured(images: np.ndarray) -> np.ndarray:
        """(N, views, count)"""
        if mask:
            views = [images, images > 0.5]
        else:
            views = [np.flip(images, tuple(axis + 2 for axis in axes)) for axes in mirrorings(mirror)]
        return np.stack([measure(view, blocks) for view in views], axis=1)

    known = measured(images)
    weights, fold = _weights(known), np.arange(len(known)) % FOLDS
    distances = [_distances(measured(held_out), *weights)]
    for n in range(min(FOLDS, len(known)) if len(known) > 1 else 0):
        distances.append(_distances(known[fold == n], *_weights(known[fold != n])))
    return Looks(blocks, _packed(*weights), _limit(np.concatenate(distances)))


def widened(looks: Looks, images: np.ndarray) -> Looks:
    """The looks whose limit makes framed images usual, too."""
    return Looks(looks.blocks, looks.numbers, max(looks.limit, _limit(distance(looks, images))))


def distance(looks: Looks, images: np.ndarray) -> np.ndarray:
    """How unusual framed images (N, C, R, A, S) are, (N,): about 1 for one of the training.

    Raises:
        LLMBoostError: the looks are of images of another kind of measures.
    """
    measures = measure(images, looks.blocks)
    numbers, count = np.frombuffer(base64.b64decode(looks.numbers), "<f4").astype(np.float64), measures.shape[1]
    if len(numbers) != count * (count + 3) // 2:
        raise LLMBoostError("the model's card tells the looks of images of another size; the model is of no use")
    whitening = np.zeros((count, count))
    whitening[np.tril_indices(count)] = numbers[count:]
    return _distances(measures, whitening, numbers[:count])


def _weights(measures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matrix and offset that bring measures (..., count) to mean 0, spread 1 and no correlations."""
    rows = measures.reshape(-1, measures.shape[-1])
    mean, spread = rows.mean(axis=0), np.sqrt(rows.var(axis=0) + FLOOR**2)
    scaled = (rows - mean) / spread
    count = len(mean)
    shrinkage = max(SHRINKAGE, count / (count + len(rows)))
    correlation = (1 - shrinkage) * scaled.T @ scaled / len(rows) + shrinkage * np.eye(count)
    whitening = np.linalg.inv(np.linalg.cholesky(correlation)) / spread
    return whitening, whitening @ mean


def _distances(measures: np.ndarray, whitening: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(N,) of measures (N, count); of several views (N, views, count), that of each, one after the other."""
    return np.sqrt(((measures @ whitening.T - offset) ** 2).mean(axis=-1)).ravel()


def _packed(whitening: np.ndarray, offset: np.ndarray) -> str:
    numbers = np.concatenate([offset, whitening[np.tril_indices(len(offset))]])
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()


def _limit(distances: np.ndarray) -> float:
    """What the usual share of such distances does not exceed; of few, what their spread makes likely."""
    logs = np.log(distances.clip(1e-6))
    if len(logs) < 2:
        return 2 * float(distances.max())
    margin = t.ppf(USUAL, len(logs) - 1) * logs.std(ddof=1) * math.sqrt(1 + 1 / len(logs))
    likely = math.exp(logs.mean() + margin)
    return float(np.quantile(distances, USUAL)) if len(logs) >= 1 / (1 - USUAL) else likely


def _bands(images: np.ndarray) -> np.ndarray:
    axes = tuple(range(2, images.ndim))
    energy = dctn(images, axes=axes, norm="ortho") ** 2
    index = np.stack(np.meshgrid(*map(np.arange, images.shape[2:]), indexing="ij"))
    length = np.sqrt((index**2).sum(axis=0))
    straight = index.max(axis=0) > STRAIGHT * length
    direction = np.where(straight, index.argmax(axis=0), len(axes))
    octave = np.digitize(length, BANDS)
    places = [(octave == n) & (direction == d) for n in range(1, len(BANDS) + 1) for d in range(len(axes) + 1)]
    return np.concatenate([np.log(energy[..., place].mean(axis=-1) + 1e-4) for place in places if place.any()], axis=1)


def _levels(images: np.ndarray) -> np.ndarray:
    channels = images.reshape(*images.shape[:2], -1)
    found = list(np.quantile(channels, LEVELS, axis=-1))
    for one, other in combinations(range(images.shape[1]), 2):
        difference = channels[:, one] - channels[:, other]
        found += [difference.mean(axis=-1, keepdims=True), difference.std(axis=-1, keepdims=True)]
    return np.concatenate(found, axis=1)


def _blocks(images: np.ndarray, blocks: int) -> np.ndarray:
    pixels = torch.from_numpy(np.ascontiguousarray(images))
    pool = F.adaptive_avg_pool2d if images.ndim == 4 else F.adaptive_avg_pool3d
    mean: Tensor = pool(pixels, blocks)
    spread = (pool(pixels * pixels, blocks) - mean * mean).clamp(min=0).sqrt()
    return torch.cat([mean.flatten(1), (spread + 0.02).log().flatten(1)], dim=1).numpy()
