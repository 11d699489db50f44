"""What a batch costs beside its cases: rows, journal and summaries of thousands of them, and the way to a worker.

    .venv/bin/python scripts/benchmark_batch.py [CASES]
    .venv/bin/python scripts/benchmark_batch.py --cluster [CASES]      # by a Dask scheduler with two workers
    .venv/bin/python scripts/benchmark_batch.py --throughput [CASES]   # of `hippocampus`, by two workers against one

Simulated cases: all are one small image, and their result is a few bytes. Each number of cases runs in a process of its
own, whose peak of memory is told. On a machine that does other work, too, seconds of CPU and ratios tell more than
seconds do.
"""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from llmboost import __version__
from llmboost.batch import SegmentOptions, segment_cases
from llmboost.batch.engine import Workers, run_cases
from llmboost.batch.segmenting import SegmentRow
from llmboost.batch.stroking import WALKER
from llmboost.batch.summary import Row
from llmboost.batch.work import ModelOptions, ModelWork, Options, Work
from llmboost.io.case import InputCase
from llmboost.io.image import Image, write_image
from llmboost.jobs.cluster import SETTINGS
from llmboost.jobs.keeper import Jobs, Link, Seat
from llmboost.jobs.local import local_workers
from llmboost.library import find
from llmboost.model import load_model


def write(row: Row, folder: Path) -> None:
    """A result: a file with the case's name."""
    row.output, row.seconds = f"{row.id}.txt", 0.001
    (folder / row.output).write_text(row.id)


class Simulated(Work[Row, Options]):
    """What takes no time."""

    row = Row

    def files(self, id: str) -> list[str]:
        return [f"{id}.txt"]

    def compute(self, row: Row, case: InputCase, channels: list[Image], folder: Path) -> None:  # noqa: ARG002
        write(row, folder)


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


class Answered(ModelWork[Row, ModelOptions, Any]):
    """What a model is not asked."""

    row = Row

    def files(self, id: str) -> list[str]:
        return [f"{id}.txt"]

    def compute(self, row: Row, case: InputCase, channels: list[Image], folder: Path) -> None:  # noqa: ARG002
        write(row, folder)

    def ask(self, row: Row, channels: list[Image]) -> Any:
        raise NotImplementedError

    def keep(self, found: Any, row: Row, case: InputCase, image: Image, folder: Path) -> None:
        raise NotImplementedError


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[Path, list[int]]]:
    """A scheduler's file, and the ids of its process and those of its workers."""
    file, scripts = folder / "scheduler.json", str(Path(__file__).parent)
    settings = {
        "DASK_" + name.upper().replace(".", "__").replace("-", "_"): str(value) for name, value in SETTINGS.items()
    }
    paths = os.pathsep.join(filter(None, (scripts, os.environ.get("PYTHONPATH"))))
    env = {**os.environ, **settings, "PYTHONPATH": paths}
    place = ["--scheduler-file", str(file), "--no-dashboard"]
    commands = [["dask_scheduler", "--host", "127.0.0.1", "--port", "0"]]
    commands += [["dask_worker", "--nthreads", "1", "--no-nanny", "--name", f"w{n}"] for n in range(workers)]
    started = []
    try:
        for name, *options in commands:
            command = [sys.executable, "-m", f"distributed.cli.{name}", *options, *place]
            started.append(subprocess.Popen(command, env=env, cwd=folder, stderr=subprocess.DEVNULL))
            while not file.exists():
                time.sleep(0.1)
        yield file, [process.pid for process in started]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def peak_mb(process: int | str = "self") -> float:
    """The most memory that a process ever had."""
    (line,) = (one for one in Path(f"/proc/{process}/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def cpu_seconds(process: int) -> float:
    """Of a process, and of those that it has started and seen end."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def simulate_cluster(count: int) -> None:
    """Run a batch of ``count`` cases on a cluster, and tell what it took."""
    import benchmark_batch  # this file, as the processes know it

    model = load_model(find("hippocampus"))
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), 2) as (file, (scheduler, *workers)):
        image = Path(folder, "image.nrrd")
        write_image(Image(np.zeros((8, 8, 8), np.int16), (1, 1, 1), (0, 0, 0), np.eye(3)), image)
        cases = {f"case{number:05d}": InputCase(f"case{number:05d}", (image,)) for number in range(count)}
        work = benchmark_batch.Answered(model, ModelOptions(), lambda text, fraction: None)
        everybody = [os.getpid(), scheduler, *workers]
        before = [cpu_seconds(process) for process in everybody]
        client, ends = peak_mb(), []
        engine = Workers(model=find("hippocampus"), device="cpu", scheduler_file=file)
        rows = run_cases(work, cases, Path(folder, "out"), report=lambda row: ends.append(time.time()), engine=engine)
        assert all(row.status == "ok" for row in rows)
        own, scheduling, *working = (
            1000 * (cpu_seconds(p) - b) / count for p, b in zip(everybody, before, strict=True)
        )
        sizes = (path.stat().st_size for path in Path(folder, "out").glob("summary.*"))
        print(
            f"{count:6d} cases",
            f"first to last {ends[-1] - ends[0]:.1f} s, a case {1000 * (ends[-1] - ends[0]) / count:.1f} ms",
            f"CPU a case: client {own:.1f} ms, scheduler {scheduling:.1f}, workers {sum(working):.1f}",
            f"peak: client {peak_mb():.0f} MB ({peak_mb() - client:+.0f}), scheduler {peak_mb(scheduler):.0f}",
            f"summaries {sum(sizes) / 2**20:.1f} MB",
            sep="; ",
            flush=True,
        )


def throughput(count: int) -> None:
    """Tell how many cases a second workers segment, once they have begun: one, two, and both once more."""
    path = find("hippocampus")
    model = load_model(path)
    rates: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image.nrrd")
        array = np.random.default_rng(0).normal(100, 20, (40, 56, 40)).astype(np.int16)
        write_image(Image(array, (1, 1, 1), (0, 0, 0), np.eye(3)), image)
        cases = {f"case{number:03d}": InputCase(f"case{number:03d}", (image,)) for number in range(count)}
        for run, workers in enumerate((1, 2, 1, 2)):
            ends: list[float] = []

            def report(row: SegmentRow, ends: list[float] = ends) -> None:  # noqa: ARG001
                ends.append(time.perf_counter())

            engine = Workers(model=path, device="cpu", count=workers)
            out = Path(folder, f"out{run}")
            rows = segment_cases(model, cases, out, SegmentOptions(), report=report, engine=engine)
            assert all(row.status == "ok" for row in rows)
            begun = 2 * workers  # of each worker, the first one is slower
            rates[workers].append((count - begun) / (ends[-1] - ends[begun - 1]))
            print(f"--workers {workers}: {rates[workers][-1]:.2f} cases a second", flush=True)
    print("two against one:", ", ".join(f"{two / one:.2f}" for one, two in zip(rates[1], rates[2], strict=True)))


def main() -> None:
    what = next((one for one in sys.argv[1:] if one.startswith("--")), "")
    number = next((int(one) for one in sys.argv[1:] if one.isdecimal()), None)
    if what == "--throughput":
        throughput(number or 30)
        return
    most = number or 20_000
    one = "--one-on-cluster" if what == "--cluster" else "--one"
    for count in (most // 8, most // 4, most // 2, most):
        subprocess.run([sys.executable, __file__, one, str(count)], check=True)
    for workers in () if what else (1, 2):
        round_trips(workers)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        simulate(int(sys.argv[2]))
    elif sys.argv[1:2] == ["--one-on-cluster"]:
        simulate_cluster(int(sys.argv[2]))
    else:
        main()
