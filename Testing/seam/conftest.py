"""What the seam's tests share: clients of the real worker with a light engine, and what became of processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from llmboost.io.image import Image
from LLMBoostLib.worker.client import Client
from LLMBoostLib.worker.launcher import defaultCommand

HERE = Path(__file__).parent
SECONDS = 30  # far more than anything here takes; a test that waits so long has failed


@pytest.fixture
def fake_worker() -> list[str]:
    """The command of the real worker with the handlers of fake_worker.py."""
    return [sys.executable, str(HERE / "fake_worker.py")]


@pytest.fixture
def launched(fake_worker) -> list[str]:
    """The same below a launcher that stays as parent, as PythonSlicer does."""
    return [sys.executable, str(HERE / "launcher.py"), *fake_worker[1:]]


@pytest.fixture
def connect() -> Iterator[Callable[..., Client]]:
    """``connect(command)`` gives a client, which is shut down after the test."""
    clients = []

    def make(command: list[str]) -> Client:
        clients.append(Client(command))
        return clients[-1]

    yield make
    for client in clients:
        client.shutDown()


@pytest.fixture
def client(connect, fake_worker) -> Client:
    """A client of the fake worker."""
    return connect(fake_worker)


@pytest.fixture(scope="module")
def warm() -> Iterator[Client]:
    """A client of the real worker, which stays warm for all tests of a file."""
    client = Client(defaultCommand())
    yield client
    client.shutDown()


@pytest.fixture(scope="module")
def image() -> Image:
    """A bright blob in noise, on an oblique grid whose axes are not those of the patient."""
    i, j, k = np.meshgrid(*(np.linspace(-1, 1, n) for n in (28, 24, 32)), indexing="ij")
    noise = np.random.default_rng(0).normal(0, 20, i.shape)
    array = (200 * np.exp(-3 * (i**2 + j**2 + k**2)) + noise).astype(np.int16)
    turn = np.linalg.qr(np.array([[0.1, 1.0, 0.2], [-1.0, 0.2, 0.1], [0.1, -0.2, 1.0]]))[0]
    return Image(array, (1.1, 0.9, 1.0), (10.0, -20.0, 30.0), turn)


@pytest.fixture
def script(tmp_path) -> Callable[[str], list[str]]:
    """``script(text)``: the command that runs this Python text."""

    def write(text: str) -> list[str]:
        path = tmp_path / f"script_{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text, encoding="utf-8")
        return [sys.executable, str(path)]

    return write


@pytest.fixture
def wait_for() -> Callable[..., None]:
    """``wait_for(condition, step)`` calls ``step`` (by default, it sleeps) until the condition holds."""

    def wait(condition: Callable[[], object], step: Callable[[], object] = lambda: time.sleep(0.005)) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            step()

    return wait


@pytest.fixture
def gone(wait_for) -> Callable[[int], None]:
    """``gone(pid)`` waits until the process has ended."""
    return lambda pid: wait_for(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # an ended process whose parent did not ask for its status still has a number; its streams are closed once its
        # last thread has ended
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        return state != "Z" or len(os.listdir(f"/proc/{pid}/task")) > 1
    except ProcessLookupError:
        return False
    except FileNotFoundError:  # ended in between, or no Linux
        return not Path("/proc/self").exists()
