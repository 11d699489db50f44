"""What can compute, as both modules' panels offer it."""

from __future__ import annotations

import enum

from slicer.i18n import tr as _


class Device(enum.Enum):
    """What computes; the values are the engine's words."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    def label(self) -> str:
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("GPU (CUDA)")}[self.value]
