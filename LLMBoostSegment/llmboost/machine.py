"""What this machine has, and how it is shared with others."""

from __future__ import annotations

import os

GB = 2**30


def total_memory() -> float | None:
    """This machine's memory in bytes, where it can be told."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


def share_cores() -> None:
    """Let a thread that waits for others sleep in place of spinning; call it before torch is imported.

    Where something else computes, too, a spinning thread holds the very core that the one it waits for needs: a random
    walk on two busy cores gave no answer in a minute, and takes 3 s so. On quiet cores, it takes 0.6 s in place of 0.5.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
