"""What can compute, as both modules' panels offer it."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _

from llmboost.messages import words


class Device(enum.Enum):
    """What computes."""

    AUTO = words.Device.AUTO
    CPU = words.Device.CPU
    CUDA = words.Device.CUDA

    def label(self) -> str:
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("GPU (CUDA)")}[self.value]
