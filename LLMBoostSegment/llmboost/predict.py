"""A network's class probabilities over a whole volume, window by window."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import torch
from monai.inferers.utils import sliding_window_inference
from torch import Tensor, nn

OVERLAP = 0.5


class Cancelled(Exception):
    """The user cancelled; nothing was written."""


def predict(
    network: nn.Module,
    volume: Tensor,
    window: tuple[int, int, int],
    *,
    mirror: tuple[int, ...] = (),
    progress: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Tensor:
    """Probabilities (classes, R, A, S), on the volume's device, of a volume (channels, R, A, S).

    Windows overlap by half and count most in their middle (nnU-Net). With ``mirror``, the mean of what the network says
    of the window as it is and mirrored along each of these axes (0, 1, 2).

    Args:
        progress: called with the fraction done after each window.
        cancelled: asked before each window.

    Raises:
        Cancelled: ``cancelled`` answered True.
    """
    device = next(network.parameters()).device
    windows = 1
    for size, roi in zip(volume.shape[1:], window, strict=True):
        windows *= ceil(max(size - roi, 0) / max(int(roi * (1 - OVERLAP)), 1)) + 1
    done = 0

    def probabilities(batch: Tensor) -> Tensor:
        nonlocal done
        if cancelled():
            raise Cancelled
        result = network(batch).softmax(dim=1)
        for axis in mirror:
            result = result + network(batch.flip(axis + 2)).softmax(dim=1).flip(axis + 2)
        done += len(batch)
        progress(min(done / windows, 1.0))
        return result / (1 + len(mirror))

    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            result = sliding_window_inference(
                volume[None], window, 1, probabilities, overlap=OVERLAP, mode="gaussian", sw_device=device
            )
    finally:
        network.train(was_training)
    assert isinstance(result, Tensor)
    return result[0]
