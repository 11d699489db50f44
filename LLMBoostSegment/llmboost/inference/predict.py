"""A network's class probabilities over a whole volume, patch by patch, a slab in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby, product
from math import ceil, prod
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from monai.data.utils import compute_importance_map, dense_patch_slices
from scipy import ndimage
from torch import Tensor, nn

from ..card import Tiling
from ..errors import LLMBoostError
from .memory import HALF_ABOVE, Batches
from .mirror import AS_IT_IS, Mirrored
from .watch import UNWATCHED, Watch

USUAL = Tiling()
GPU_BATCH = 8  # patches at a time; a CPU is as fast with one
NOT_A_NUMBER = (
    "what the model says is not a number: its weights are damaged, or its training went wrong; install it again, or"
    " train it again with a smaller rate"
)


def probability_slabs(
    network: nn.Module,
    volume: Tensor,
    patch_size: tuple[int, int, int],
    *,
    axis: int = 0,
    batch: int | None = None,
    mirror: Sequence[Mirrored] = AS_IT_IS,
    tiling: Tiling = USUAL,
    watch: Watch = UNWATCHED,
) -> Iterator[Tensor]:
    """Probabilities (classes, R, A, S) of a volume (channels, R, A, S), on the CPU, in slabs from first to last; or
    logits, where the card's tiling averages these.

    Patches overlap by half, or as ``tiling`` says, and count most in their middle (nnU-Net). A slab is yielded as soon
    as no further patch touches it, so that one patch's depth is all that is held. Its memory is used again for the next
    one: copy what is to stay.

    Args:
        axis: along which to cut slabs (0, 1, 2: R, A, S).
        batch: patches that are computed at a time; by default 8 on a GPU and 1 on a CPU.
        mirror: average what the network says of these images of a patch.

    Raises:
        Cancelled: whoever waits cancelled.
        LLMBoostError: the network's answer is not a number.
        torch.OutOfMemoryError: one patch alone is too much, for the CPU as well.
    """
    patch_size = size_at_once(network, volume.shape[1:], patch_size, tiling)
    padded, places, inside = tile(volume, patch_size, tiling)
    sizes = padded.shape[1:]
    weight = _importance(patch_size, tiling)

    places.sort(key=lambda place: place[axis].start)
    groups = [(start, list(group)) for start, group in groupby(places, key=lambda place: place[axis].start)]
    ends = [start for start, _ in groups[1:]] + [sizes[axis]]

    batches = Batches(network, batch or (GPU_BATCH if next(network.parameters()).is_cuda else 1), watch)
    depth = [patch_size[n] if n == axis else size for n, size in enumerate(sizes)]
    sums, weights, done = torch.zeros(0), torch.zeros(depth), 0

    def compute(places: list[tuple[slice, ...]]) -> Tensor:
        patches = torch.stack([padded[(slice(None), *place)] for place in places])
        return _answers(network, patches.to(batches.device), mirror, logits=tiling.average == "logits")

    with evaluating(network):
        for (start, group), end in zip(groups, ends, strict=True):
            for chunk, found in batches.over(compute, group):
                if not found.sum().isfinite():  # of what is no number, all comparisons would say no
                    raise LLMBoostError(NOT_A_NUMBER)
                if not len(sums):
                    large = found.shape[1] * prod(depth) > HALF_ABOVE
                    sums = torch.zeros(found.shape[1], *depth, dtype=torch.float16 if large else torch.float32)
                for n, place in enumerate(chunk):
                    here = tuple(slice(0, patch_size[m]) if m == axis else part for m, part in enumerate(place))
                    _add(sums[(slice(None), *here)], found[n], weight)
                    weights[here] += weight
                del found  # before the next ones are computed: with many classes, they are large
                done += len(chunk)
                watch.progress(done / len(places))
            # what lies before the next group of patches is complete
            first, last = max(start, inside[axis].start), min(end, inside[axis].stop)
            if first < last:
                ready = tuple(slice(first - start, last - start) if n == axis else inside[n] for n in range(3))
                slab = sums[(slice(None), *ready)]
                for one in slab:  # class by class: dividing and shifting copy on the way
                    one.div_(weights[ready])
                yield slab
            for one in (*sums, weights):
                _shift(one, end - start, axis)


def _add(sums: Tensor, found: Tensor, weight: Tensor) -> None:
    """Add a patch's answer times its weights, class by class: all of them at once would be copied."""
    for total, one in zip(sums, found, strict=True):
        total += one * weight


@torch.inference_mode()
def _answers(network: nn.Module, patches: Tensor, mirror: Sequence[Mirrored], *, logits: bool) -> Tensor:
    """The mean of what the network says of each of the images ``mirror`` of patches."""
    total = None
    for one in mirror:
        dims = [axis + 2 for axis in one.axes]
        found = network(patches.flip(dims)).float()
        found = (found if logits else found.softmax(dim=1)).flip(dims)
        if one.classes:
            found = found[:, list(one.classes)]
        total = found if total is None else total.add_(found)
    assert total is not None
    return total.div_(len(mirror))


def _importance(patch_size: tuple[int, int, int], tiling: Tiling) -> Tensor:
    """How much a patch's voxels count: a Gaussian of an eighth of its size, which is nowhere zero; or all alike."""
    if tiling.weight == "constant":
        return torch.ones(patch_size)
    if tiling.places != "even":
        return compute_importance_map(patch_size, mode="gaussian")
    peak = np.zeros(patch_size)  # nnU-Net's, whose middle is a voxel
    peak[tuple(n // 2 for n in patch_size)] = 1
    weight = ndimage.gaussian_filter(peak, [n / 8 for n in patch_size], mode="constant")
    result = torch.from_numpy(weight / (weight.max() / 10)).half().float()  # as nnU-Net rounds it
    return result.clamp_(min=result[result > 0].min())


def size_at_once(
    network: nn.Module, sizes: Sequence[int], patch_size: tuple[int, int, int], tiling: Tiling
) -> tuple[int, int, int]:
    """What the network sees at once of a volume of such ``sizes``: a patch, or all of it, as far as it must be padded
    for the network."""
    if tiling.places != "whole":
        return patch_size
    stride: tuple[int, int, int] = network.stride  # type: ignore[assignment]
    r, a, s = (size if one == 1 else -(-size // one) * one for size, one in zip(sizes, stride, strict=True))
    across = patch_size.index(1) if patch_size.count(1) == 1 else None
    return tuple(1 if n == across else size for n, size in enumerate((r, a, s)))  # type: ignore[return-value]


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards, in the mode that it was in."""
    was_training = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(was_training)


def tile(
    volume: Tensor, patch_size: tuple[int, int, int], tiling: Tiling = USUAL
) -> tuple[Tensor, list[tuple[slice, ...]], tuple[slice, slice, slice]]:
    """Patches that overlap, by half or as ``tiling`` says, and cover a volume (channels, R, A, S).

    Returns:
        the volume, padded to the patch's size at least; where in it the patches lie; and where in it the
        volume lies.
    """
    missing = [max(roi - size, 0) for size, roi in zip(volume.shape[1:], patch_size, strict=True)]
    before = [n // 2 for n in missing]
    padding = [p for n, b in zip(reversed(missing), reversed(before), strict=True) for p in (b, n - b)]
    # padding copies the volume, which may be large
    mode = "replicate" if tiling.padding == "replicate" else "constant"
    padded = F.pad(volume, padding, mode) if any(missing) else volume
    r, a, s = (slice(b, b + size) for b, size in zip(before, volume.shape[1:], strict=True))
    if tiling.places == "even":
        return padded, _evenly(padded.shape[1:], patch_size, tiling.overlap), (r, a, s)
    steps = [max(int(roi * (1 - tiling.overlap)), 1) for roi in patch_size]
    return padded, list(dense_patch_slices(padded.shape[1:], patch_size, steps)), (r, a, s)


def _evenly(sizes: Sequence[int], patch_size: tuple[int, int, int], overlap: float) -> list[tuple[slice, ...]]:
    """As few patches as overlap so far, at even distances from the first to the last (nnU-Net)."""
    places = []
    for size, roi in zip(sizes, patch_size, strict=True):
        steps = ceil((size - roi) / (roi * (1 - overlap)))
        starts = [int(np.round((size - roi) / steps * n)) for n in range(steps + 1)] if steps else [0]
        places.append([slice(start, start + roi) for start in starts])
    return list(product(*places))


def predict(network: nn.Module, volume: Tensor, patch_size: tuple[int, int, int], **options: Any) -> Tensor:
    """All of :func:`probability_slabs` at once: for volumes as small as training's."""
    return torch.cat([slab.clone() for slab in probability_slabs(network, volume, patch_size, **options)], dim=1)


def _shift(tensor: Tensor, planes: int, dim: int) -> None:
    """Drop the first planes, move the others to the front, and put zeros in their place."""
    rest = tensor.shape[dim] - planes
    tensor.narrow(dim, 0, rest).copy_(tensor.narrow(dim, planes, rest).clone())
    tensor.narrow(dim, rest, planes).zero_()
