"""Which device computes."""

from __future__ import annotations

import torch

from ..errors import LLMBoostError
from ..messages.words import Device, chosen


def choose_device(name: str) -> torch.device:
    """The torch device for ``auto`` (a CUDA GPU where there is one), ``cpu`` or ``cuda``.

    Raises:
        LLMBoostError: another name, or CUDA is asked for and there is none.
    """
    device = chosen(Device, name, "device")
    if device == Device.CPU or (device == Device.AUTO and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise LLMBoostError("device 'cuda': torch finds no CUDA GPU on this machine; use --device cpu or auto")
    return torch.device("cuda")
