"""Where the processes are that do jobs: on this machine, or a cluster."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from .cluster import cluster_workers
from .keeper import Jobs, Submit
from .local import local_workers


def workers(
    count: int, cluster: str, scheduler_file: Path | None, jobs: Jobs, tell: Callable[[str], None]
) -> AbstractContextManager[Submit]:
    """What does jobs, in ``count`` processes of this machine; 0: see :func:`.cluster.cluster_workers`."""
    if count:
        return local_workers(count, jobs)
    return cluster_workers(cluster, scheduler_file, jobs, tell)
