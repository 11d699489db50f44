"""What the worker process costs: `.venv/bin/python scripts/benchmark_seam.py [IMAGE]`, on Linux or macOS.

Prints the seconds until a worker says hello; how long 64 MB take there and back in a loop that holds Python's global
lock between its ticks, as Slicer's does, over a loop that releases it, side by side; and the seconds of the first and
of later segmentations through the worker, over the engine's own in this process. Without an image, noise is segmented.
"""

from __future__ import annotations

import ctypes
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "LLMBoostSegment"))
from llmboost import worker
from llmboost.io.image import Image, read_image
from llmboost.messages.codec import A, Answer, Request
from llmboost.messages.images import SegmentRequest, Volume
from llmboost.messages.words import Device
from llmboost.messages.worker import HelloRequest
from LLMBoostLib.worker.client import TICK_MS, Client

ECHO = "--echo"  # makes this script a worker
REPEATS = 15

# a C function called with the lock held
_usleep = ctypes.PyDLL(None).usleep


@dataclass(frozen=True, eq=False)
class Echoed(Answer):
    array: np.ndarray


@dataclass(frozen=True, eq=False)
class Echo(Request[Echoed], sent_as="echo"):
    array: np.ndarray


def hold() -> None:
    _usleep(TICK_MS * 1000)


def release() -> None:
    time.sleep(TICK_MS / 1000)


def main() -> None:
    if sys.argv[1:] == [ECHO]:
        worker.main({Echo: lambda job: Echoed(job.request.array)})
    if len(sys.argv) > 1:
        image = read_image(sys.argv[1])
    else:
        noise = np.random.default_rng(0).normal(size=(40, 56, 40)).astype(np.float32)
        image = Image(noise, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.diag([-1.0, -1.0, 1.0]))
    _hello()
    _round_trip()
    _segmentation(image)


def _hello() -> None:
    seconds = []
    for _ in range(5):
        client, started = Client(), time.perf_counter()
        client.call(HelloRequest())
        seconds.append(time.perf_counter() - started)
        client.shutDown()
    print(f"hello: {statistics.median(seconds):.2f} s (median of 5, longest {max(seconds):.2f} s)")


def _round_trip() -> None:
    client = Client([sys.executable, __file__, ECHO])
    array = np.random.default_rng(0).integers(0, 1000, (64, 1024, 512), np.int16)
    _in_loop(client, Echo(array), release)
    free, held = [], []
    for _ in range(REPEATS):
        free.append(_in_loop(client, Echo(array), release)[0])
        held.append(_in_loop(client, Echo(array), hold))
    client.shutDown()
    loose, tight = statistics.median(free), statistics.median(seconds for seconds, _ in held)
    print(
        f"{array.nbytes >> 20} MB there and back: {tight:.3f} s with the lock held between ticks of {TICK_MS} ms,"
        f" {loose:.3f} s without, ratio {tight / loose:.2f} (medians of {REPEATS});"
        f" longest tick {1000 * max(tick for _, tick in held):.0f} ms"
    )


def _segmentation(image: Image) -> None:
    array = np.ascontiguousarray(image.array.transpose())
    volume = Volume(array, image.spacing, image.origin, image.direction)
    request = SegmentRequest(model="hippocampus", volumes=(volume,), device=Device.CPU)
    client = Client()
    cold, longest = _in_loop(client, request, hold)
    second, tick = _in_loop(client, request, hold)

    # imported only now, for it slows the process down
    from llmboost.inference.segment import segment
    from llmboost.library import find
    from llmboost.model import load_model

    model = load_model(find("hippocampus"))
    segment(model, [image])
    own, through = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        segment(model, [image])
        middle = time.perf_counter()
        client.call(request)
        own.append(middle - started)
        through.append(time.perf_counter() - middle)
    client.shutDown()
    print(
        f"segment {image.shape}: first {cold:.2f} s, second {second:.2f} s,"
        f" longest tick {1000 * max(longest, tick):.0f} ms;"
        f" warm {statistics.median(through):.3f} s, the engine itself {statistics.median(own):.3f} s,"
        f" ratio {statistics.median(through) / statistics.median(own):.2f} (medians of {REPEATS})"
    )


def _in_loop(client: Client, request: Request[A], sleep: Callable[[], None]) -> tuple[float, float]:
    """Seconds that a request takes, and of the longest piece of work in a tick."""
    answers: list[A] = []
    longest, started = 0.0, time.perf_counter()
    client.start(request, onDone=answers.append, onError=_raise)
    longest = time.perf_counter() - started
    while client.busy:
        sleep()
        tick = time.perf_counter()
        client.poll()
        longest = max(longest, time.perf_counter() - tick)
    return time.perf_counter() - started, longest


def _raise(error: Exception) -> None:
    raise error


if __name__ == "__main__":
    main()
