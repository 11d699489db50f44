"""What a batch costs beside its cases: rows, journal and summaries of thousands of them, and the way to a worker.

    .venv/bin/python scripts/benchmark_batch.py [CASES]

Simulated cases: all are one small image, and their result is a few bytes. Each number of cases runs in a process of its
own, whose peak of memory is told.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from llmboost import __version__
from llmboost.batch.engine import run_cases
from llmboost.batch.stroking import WALKER
from llmboost.batch.summary import Row
from llmboost.batch.work import Options, Work
from llmboost.io.case import InputCase
from llmboost.io.image import Image, write_image
from llmboost.jobs.keeper import Jobs, Link, Seat
from llmboost.jobs.local import local_workers


class Simulated(Work[Row, Options]):
    """What takes no time: a file with the case's name."""

    row = Row

    def files(self, id: str) -> list[str]:
        return [f"{id}.txt"]

    def compute(self, row: Row, case: InputCase, channels: list[Image], folder: Path) -> None:  # noqa: ARG002
        (folder / f"{row.id}.txt").write_text(row.id)
        row.output, row.seconds = f"{row.id}.txt", 0.001


def simulate(count: int) -> None:
    """Run a batch of ``count`` cases, again with ``resume``, and tell what each took."""
    import resource

    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.nrrd")
        write_image(Image(np.zeros((8, 8, 8), np.int16), (1, 1, 1), (0, 0, 0), np.eye(3)), image)
        cases = {f"case{number:05d}": InputCase(f"case{number:05d}", (image,)) for number in range(count)}
        work = Simulated(WALKER, Options(), lambda text, fraction: None)
        told = [f"{count:6d} cases"]
        for resume in (False, True):
            began, cpu = time.perf_counter(), time.process_time()
            rows = run_cases(work, cases, Path(folder, "out"), resume=resume)
            assert all(row.status == "ok" for row in rows)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            what = "resume" if resume else "run"
            told.append(
                f"{what} {seconds:.1f} s, a case {1000 * seconds / count:.1f} ms, {1000 * cpu / count:.1f} of CPU"
            )
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        size = sum(Path(folder, "out", name).stat().st_size for name in ("summary.json", "summary.csv")) / 2**20
        print(*told, f"peak {peak:.0f} MB", f"summaries {size:.1f} MB", sep="; ", flush=True)


def echo(seat: Seat, link: Link) -> Callable[[str], str]:  # noqa: ARG001
    """Jobs that give back what they are told."""
    return lambda job: job


def round_trips(workers: int, count: int = 2000) -> None:
    """Tell what a job costs that does nothing."""
    import benchmark_batch  # this file, as the process knows it

    os.environ["PYTHONPATH"] = str(Path(__file__).parent)
    jobs = Jobs(pickle.dumps(benchmark_batch.echo), "echo", None, ".", __version__, ())
    ended: queue.SimpleQueue[object] = queue.SimpleQueue()
    with local_workers(workers, jobs) as submit:
        for _ in range(2 * workers):  # they begin
            submit(pickle.dumps("x" * 1000), ended.put)
        for _ in range(2 * workers):
            ended.get()
        began = time.perf_counter()
        for _ in range(count):
            submit(pickle.dumps("x" * 1000), ended.put)
        for _ in range(count):
            assert isinstance(ended.get(), bytes)
        milliseconds = 1000 * (time.perf_counter() - began) / count
    print(f"--workers {workers}: to a process and back {milliseconds:.2f} ms a case", flush=True)


def main() -> None:
    most = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    for count in (most // 8, most // 4, most // 2, most):
        subprocess.run([sys.executable, __file__, "--one", str(count)], check=True)
    for workers in (1, 2):
        round_trips(workers)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        simulate(int(sys.argv[2]))
    else:
        main()
