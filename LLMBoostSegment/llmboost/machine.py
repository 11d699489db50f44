"""What this machine has."""

from __future__ import annotations

import os

GB = 2**30


def total_memory() -> float | None:
    """This machine's memory in bytes, where it can be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None
