"""An event loop that treats Python's global lock as Slicer's does."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

# PyDLL calls into C with the global lock held, CDLL releases it for the time of the call.
_HOLDING = ctypes.PyDLL(None)
_FREE = ctypes.CDLL(None)


class EventLoop:
    """Calls its slots in turn, and sleeps in C between two ticks.

    Slicer's Python runs inside a C++ event loop that keeps the global lock: other Python threads advance only while a
    slot runs and yields. A free loop (``holdLock=False``) is there to compare with.
    """

    def __init__(self, interval: float = 0.01, holdLock: bool = True):
        self.interval = interval
        self.slots: list[Callable[[], object]] = []
        self.longestTick = 0.0  # s of work in one tick
        self._sleep = (_HOLDING if holdLock else _FREE).usleep

    def tick(self) -> None:
        """Call each slot once, then sleep for the interval."""
        started = time.perf_counter()
        for slot in list(self.slots):
            slot()
        self.longestTick = max(self.longestTick, time.perf_counter() - started)
        self._sleep(int(self.interval * 1e6))

    def runUntil(self, condition: Callable[[], bool], timeout: float = 300.0) -> None:
        """Tick until ``condition`` holds.

        Raises:
            TimeoutError: it does not within ``timeout`` seconds.
        """
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError(f"still waiting after {timeout:g} s")
            self.tick()
