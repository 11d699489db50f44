"""Jobs in processes of this machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from ..machine import usable_cores
from .keeper import Jobs, Lost, Memory, Outcome, Seat, Submit, close_all, do


@contextmanager
def local_workers(count: int, jobs: Jobs) -> Iterator[Submit]:
    """What does jobs in ``count`` processes; at the end they are ended."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    each = int(threads) if threads.isdecimal() else max(1, usable_cores() // count)
    memory = Memory()
    pool = ThreadPoolExecutor(count)

    def submit(job: bytes, then: Callable[[Outcome], None]) -> None:
        future = pool.submit(do, jobs, job, lambda index: Seat(index, count, each), memory)
        future.add_done_callback(lambda ended: then(_outcome(ended)))

    try:
        yield submit
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        close_all(jobs.id)


def _outcome(ended: Future[bytes | Lost]) -> Outcome:
    if ended.cancelled():
        return Lost("cancelled")
    error = ended.exception()
    return error if isinstance(error, Exception) else ended.result()
