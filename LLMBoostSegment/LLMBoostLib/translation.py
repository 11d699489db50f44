"""Slicer's translations; outside of Slicer, where the seam and the cases on disk work, too, texts as they are."""

from __future__ import annotations

import sys

# not "try": a package of this name may be installed without the application
if "slicer" in sys.modules:
    from slicer.i18n import tr
else:

    def tr(text: str) -> str:
        return text


__all__ = ["tr"]
