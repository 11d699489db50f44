"""How much memory a segmentation takes, how much this machine has, and what is done where a GPU's is full."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, TypeVar

from ..card import Card
from ..machine import GB, total_memory
from .watch import UNWATCHED, Watch

if TYPE_CHECKING:  # the doctor asks for this machine's memory where SimpleITK and torch may be missing
    import torch
    from torch import Tensor, nn

    from ..io.image import Image
    from .roi import Roi

Items = TypeVar("Items", list[Any], "Tensor")

# Measured with scripts/benchmark_memory.py (peak of the process, CPU): the libraries and a small network; bytes a voxel
# of the image (stored twice while it is read, label map, its components) and of the network's grid (float32, a copy for
# the intensities' statistics; resampling takes several).
BASE = 0.65 * GB
CASCADE = 0.1 * GB  # a second network, and its classes' probabilities
IMAGE_BYTES = 10
GRID_BYTES = 9
RESAMPLING_BYTES = 8
SLAB_COPIES = 1.3
HALF_ABOVE = 2**28  # numbers in a slab; of more, half precision is enough to tell the classes apart
MAPS = 7  # of the finest features, that a U-Net holds at once (31 M parameters, patches of 64, 96 and 128 voxels)


def memory_needed(card: Card, shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """The expected peak in bytes of segmenting an image of ``shape`` voxels and ``spacing`` mm on the CPU."""
    preprocessing = card.preprocessing
    voxels = prod(shape)
    grid = voxels * prod(spacing) / prod(preprocessing.spacing) if preprocessing.slice_axis is None else voxels
    if card.needs_cascade([n * mm for n, mm in zip(shape, spacing, strict=True)]):
        # the image is resampled to a coarse grid, and the model sees crops
        return BASE + CASCADE + voxels * (IMAGE_BYTES + RESAMPLING_BYTES)
    same = all(abs(a / b - 1) < 1e-3 for a, b in zip(sorted(spacing), sorted(preprocessing.spacing), strict=True))
    work = grid * (GRID_BYTES + 4 * (preprocessing.channels - 1)) + (
        0 if same else max(voxels, grid) * RESAMPLING_BYTES
    )
    # a slab as deep as a patch is held with all its classes, see predict.py
    longest = max(
        n * a / b / w
        for n, a, b, w in zip(shape, spacing, preprocessing.spacing, preprocessing.patch_size, strict=True)
    )
    slab = card.classes * grid / max(longest, 1)
    answers = 2 if card.tiling.average == "logits" else 4  # of a patch, at once: a softmax takes copies
    patches = 4 * (answers * card.classes + MAPS * _finest_features(card)) * prod(preprocessing.patch_size)
    return BASE + voxels * IMAGE_BYTES + work + slab * (2 if slab > HALF_ABOVE else 4) * SLAB_COPIES + patches


def _finest_features(card: Card) -> int:
    """How many features a U-Net has at the patch's own resolution; of other networks, 0: they are small there."""
    options = card.network.get("network", card.network)  # an ensemble's are those of its members
    options = options if isinstance(options, dict) else {}
    for name in ("features", "filters", "init_filters", "feature_size"):
        first = options.get(name)
        first = first[0] if isinstance(first, list | tuple) and first else first
        if type(first) is int and first > 0:
            return first
    return 0


def expected_peak(card: Card, image: Image, roi: Roi | None = None) -> float:
    """:func:`memory_needed` of an image, or of its part within a region of interest."""
    from .preprocessing import orient  # the panel, which foretells memory, does without torch

    seen = orient(roi.crop(image) if roi else image, card.preprocessing)
    return memory_needed(card, seen.shape, seen.spacing)


def describe_need(card: Card, image: Image, roi: Roi | None = None) -> str:
    """Such as ``about 1.3 GB of memory``."""
    return f"about {expected_peak(card, image, roi) / GB:.1f} GB of memory"


def shortage(card: Card, image: Image, roi: Roi | None = None) -> list[str]:
    """A warning if the machine has less memory than the image is expected to take."""
    need, total = expected_peak(card, image, roi), total_memory()
    if total is None or need < total:
        return []
    machine = f"this machine has {total / GB:.1f} GB; limit it to a region of interest"
    return [f"needs {describe_need(card, image, roi)}, {machine}"]


class Batches:
    """A network on some items at a time: as many as the device's memory takes, and if not even one, on the CPU.

    Attributes:
        size: items at a time.
    """

    def __init__(self, network: nn.Module, size: int, watch: Watch = UNWATCHED) -> None:
        self.network, self.size, self.watch = network, size, watch

    @property
    def device(self) -> torch.device:
        """Where the network is, now."""
        return next(self.network.parameters()).device

    def over(self, compute: Callable[[Items], Tensor], items: Items) -> Iterator[tuple[Items, Tensor]]:
        """What ``compute`` makes of the items, on the CPU, batch by batch, each with its items.

        Args:
            compute: given some of the items, brings them to :attr:`device` and gives a tensor.

        Raises:
            Cancelled: the watch's ``cancelled`` answered True.
            torch.OutOfMemoryError: one item alone is too much, for the CPU as well.
        """
        import torch

        while len(items):
            self.watch.go_on()
            batch = items[: self.size]
            try:
                found = compute(batch).cpu()
            except torch.OutOfMemoryError:
                if self.size == 1 and self.device.type == "cpu":
                    raise
                found = None
            if found is None:  # outside the except clause, where the error's traceback no longer holds tensors
                self._take_less()
                continue
            yield batch, found
            del found  # before the next is computed
            items = items[len(batch) :]

    def _take_less(self) -> None:
        import torch

        if self.size > 1:
            self.size //= 2
            self.watch.notice("the GPU's memory was full: less is computed at a time")
        else:
            self.network.to("cpu")
            self.watch.notice("the GPU's memory was full even for one patch: the CPU computes, which takes longer")
        torch.cuda.empty_cache()
