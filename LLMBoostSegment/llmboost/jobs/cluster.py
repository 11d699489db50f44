"""Jobs on a cluster, by dask.distributed (https://distributed.dask.org), an optional extra.

Each thread of a Dask worker keeps a process of its own, so that a job that crashes or hangs leaves the worker alone;
Dask itself sees to workers and machines that are lost.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import LLMBoostError
from ..files import check_regular
from ..machine import usable_cores
from .keeper import Jobs, Lost, Memory, Outcome, Seat, Submit, close_all, do

SLURM = "slurm:"
# Of a worker that is lost, no more than the job it was at is to suffer: by default a second one waits at each worker,
# and a scheduler gives a job up with the worker it waits at.
SETTINGS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 1,
}


@contextmanager
def cluster_workers(
    where: str, scheduler_file: Path | None, jobs: Jobs, tell: Callable[[str], None]
) -> Iterator[Submit]:
    """What does jobs on the workers of a scheduler.

    Args:
        where: the scheduler's address, or ``slurm:FILE.yaml``; may be empty where ``scheduler_file`` tells.
        tell: is given a line on what else there is to know.

    Raises:
        LLMBoostError: there is no scheduler, or its workers cannot do these jobs.
    """
    try:
        import dask
        import distributed  # noqa: F401
    except ImportError as error:
        raise LLMBoostError("a cluster needs dask.distributed: pip install 'llmboost[cluster]'") from error
    with dask.config.set(SETTINGS), _client(where, scheduler_file) as client:
        name = client.scheduler.address
        _check_scheduler(client, tell)
        if not client.scheduler_info(n_workers=0)["n_workers"]:
            tell(f"{name}: has no workers yet; waiting for the first")
        client.wait_for_workers(1)
        _check_workers(client, jobs)
        numbers = count()

        def submit(job: bytes, then: Callable[[Outcome], None]) -> None:
            # keys of one name: else the scheduler holds none back until a worker is free
            future = client.submit(_do, jobs, job, key=(f"llmboost-{jobs.id}", next(numbers)), pure=False)
            future.add_done_callback(lambda ended: then(_outcome(ended, name)))

        try:
            yield submit
        finally:
            if client.status == "running":
                with suppress(Exception):  # of workers that are being lost
                    client.run(close_all, jobs.id, on_error="ignore")


@contextmanager
def _client(where: str, scheduler_file: Path | None) -> Iterator[Any]:
    """A client of the scheduler; one on Slurm is started, and ended."""
    from distributed import Client

    if where.startswith(SLURM):
        with _slurm(Path(where.removeprefix(SLURM))) as cluster, Client(cluster) as client:
            yield client
        return
    if scheduler_file is not None:
        check_regular(scheduler_file)
    try:
        # certificates for tls:// are those of Dask's own configuration
        client = Client(None if scheduler_file else where, scheduler_file=scheduler_file and str(scheduler_file))
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        what = scheduler_file or where
        raise LLMBoostError(f"{what}: no Dask scheduler answers ({error}); start one, or check the address") from error
    with client:
        yield client


@contextmanager
def _slurm(file: Path) -> Iterator[Any]:
    """A cluster of Slurm jobs, as many as ``jobs`` in the file says; its other entries are dask-jobqueue's.

    https://jobqueue.dask.org/en/latest/generated/dask_jobqueue.SLURMCluster.html
    """
    import yaml

    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError as error:
        raise LLMBoostError("Slurm needs dask-jobqueue: pip install 'llmboost[cluster]'") from error
    check_regular(file)
    try:
        options = yaml.safe_load(file.read_text(encoding="utf-8"))
        number = int(options.pop("jobs"))
        # one case at a time in each job, with all of its cores
        cores = int(options.pop("cores"))
        cluster = SLURMCluster(**{"processes": 1, "cores": 1, "job_cpu": cores, **options})
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise LLMBoostError(f"{file}: no settings of Slurm jobs ({reason}); see docs/cluster.md") from error
    with cluster:
        cluster.adapt(minimum_jobs=number, maximum_jobs=number)  # one that ends by its time limit is replaced
        yield cluster


def _check_scheduler(client: Any, tell: Callable[[str], None]) -> None:
    # a lambda: there need be no LLMBoost where the scheduler is
    found = client.run_on_scheduler(
        lambda dask_scheduler: (dask_scheduler.WORKER_SATURATION, dask_scheduler.allowed_failures)
    )
    for (setting, wanted), value in zip(SETTINGS.items(), found, strict=True):
        if value != wanted:
            variable = "DASK_" + setting.upper().replace(".", "__").replace("-", "_")
            tell(
                f"{client.scheduler.address}: where a worker is lost, other cases may be given up, too: {setting} is"
                f" {value}; start the scheduler with {variable}={wanted}"
            )


def _check_workers(client: Any, jobs: Jobs) -> None:
    for worker, problem in client.run(_problem, jobs.version, jobs.files, on_error="return").items():
        if isinstance(problem, ModuleNotFoundError):
            problem = f"has no LLMBoost {jobs.version} ({problem}); install it there"
        if problem:
            raise LLMBoostError(f"worker {worker}: {problem}")


def _problem(version: str, files: tuple[str, ...]) -> str:
    """Why this worker cannot do the jobs; empty if it can."""
    if version != __version__:
        return f"has LLMBoost {__version__}, and this is {version}; install the same there"
    missing = [file for file in files if not os.path.exists(file)]
    return f"{missing[0]}: is not there; it must be on a file system that all machines share" if missing else ""


def _outcome(ended: Any, scheduler: str) -> Outcome:
    """What came of a job, of a future that has ended."""
    from distributed import KilledWorker

    try:
        return ended.result()
    except KilledWorker:
        return Lost("its worker was lost", tries=2)  # as SETTINGS allow
    except CancelledError:
        return LLMBoostError(f"{scheduler}: the scheduler is gone; --resume goes on where it was")
    except Exception as error:
        return error


# what follows runs in a Dask worker

_MEMORY: list[Memory] = []


def _do(jobs: Jobs, job: bytes) -> bytes | Lost:
    from distributed import get_worker

    worker = get_worker()
    problem = _problem(jobs.version, jobs.files)  # it may have come later than the others
    try:
        if problem:
            raise LLMBoostError(problem)
        if not _MEMORY:
            _first, count = _seats(worker)
            _MEMORY.append(Memory(worker.state.nthreads / count))
        return do(jobs, job, lambda index: _seat(worker, index), _MEMORY[0])
    except LLMBoostError as error:
        raise LLMBoostError(f"worker {worker.address}: {error}") from error


def _seats(worker: Any) -> tuple[int, int]:
    """The first seat of this worker on its machine, and how many there are."""
    from distributed.utils import sync

    everybody = sync(worker.loop, worker.scheduler.identity)["workers"]
    here = sorted(address for address, other in everybody.items() if other["host"] == everybody[worker.address]["host"])
    threads = [everybody[address]["nthreads"] for address in here]
    return sum(threads[: here.index(worker.address)]), sum(threads)


def _seat(worker: Any, index: int) -> Seat:
    first, count = _seats(worker)
    mine = worker.state.nthreads
    # those of a job on Slurm are its own; others share the machine's. Dask itself sets 1.
    cores = usable_cores()
    threads = max(1, cores // (mine if cores < (os.cpu_count() or 1) else count))
    given = os.environ.get("OMP_NUM_THREADS", "")
    return Seat(first + index, count, int(given) if given.isdecimal() and int(given) > 1 else threads)
