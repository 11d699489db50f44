"""Cancels and kills at random moments: one outcome each time, the next request works, and no process is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from llmboost.messages.worker import HelloRequest
from LLMBoostLib.worker.client import Client, WorkerError
from LLMBoostLib.worker.launcher import Process, descendant, killTree, workerEnvironment

from .fake_messages import Fake

HERE = str(Path(__file__).parent)
CANCELS, KILLS = 50, 20
IMAGE = np.arange(2**20, dtype=np.int16)  # takes a moment to send

# Slicer's part: a process with a client and a request that runs
PARENT = """
import sys, time
sys.path[:0] = [{path!r}, {here!r}]
import numpy as np
from fake_messages import Fake
from LLMBoostLib.worker.client import Client
client = Client({command!r})
print(client.call(Fake("inspect")).fields["pid"], flush=True)
client.start(Fake({kind!r}, {{"steps": 100000, "seconds": 600}}, {{"array": np.zeros(2**26, np.uint8)}}))
if {how!r} == "kill":
    while True:
        client.poll()
client.poll()
"""


@pytest.fixture
def outcomes(wait_for):
    """``outcomes(client, kind, fields, trouble, delay)``: what a request's callbacks are told that meets trouble."""

    def run(client: Client, kind: str, fields: dict, trouble, delay: float) -> list:
        found: list = []
        client.start(Fake(kind, fields, {"image": IMAGE}), onDone=found.append, onError=found.append)
        end = time.monotonic() + delay
        while time.monotonic() < end:
            client.poll()
        trouble()
        wait_for(lambda: not client.busy, client.poll)
        return found

    return run


def test_cancels_at_random_moments(client, outcomes):
    moments = random.Random(0)
    worker = client.call(Fake("inspect")).fields["pid"]
    for _ in range(CANCELS):
        delay = moments.uniform(0, 0.03)
        (error,) = outcomes(client, "compute", {"steps": 1000, "seconds": 0.002}, client.cancel, delay)
        assert isinstance(error, WorkerError)
        assert error.kind == "cancelled"
    assert client.call(Fake("inspect")).fields["pid"] == worker, "it took the hint each time"


def test_kills_at_random_moments(client, outcomes, gone):
    moments = random.Random(0)
    workers = []
    for _ in range(KILLS):
        workers.append(client.call(Fake("inspect")).fields["pid"])
        delay = moments.uniform(0, 0.05)
        kill = (lambda pid: lambda: os.kill(pid, signal.SIGKILL))(workers[-1])
        (error,) = outcomes(client, "compute", {"steps": 1000, "seconds": 1}, kill, delay)
        assert isinstance(error, WorkerError)
        assert error.kind == "crashed"
        assert "signal 9" in error.message
    assert len(set(workers)) == KILLS, "each time, a fresh one took the next request"
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}
    for pid in workers:
        gone(pid)


def test_a_worker_that_was_killed_while_idle_is_replaced(client, gone):
    worker = client.call(Fake("inspect")).fields["pid"]
    os.kill(worker, signal.SIGKILL)
    gone(worker)
    assert client.call(Fake("inspect")).fields["pid"] != worker


@pytest.mark.parametrize(
    ("how", "kind", "command"),
    [
        ("kill", "compute", "fake_worker"),
        ("kill", "sleep", "launched"),
        ("kill", "echo", "launched"),
        ("end", "compute", "launched"),
        ("end", "echo", "fake_worker"),
    ],
)
def test_no_worker_outlives_its_parent(request, script, gone, how, kind, command):
    command = request.getfixturevalue(command)
    path = workerEnvironment(command)["PYTHONPATH"].split(os.pathsep)[0]
    text = PARENT.format(path=path, here=HERE, command=command, kind=kind, how=how)
    with subprocess.Popen(script(text), stdout=subprocess.PIPE) as parent:
        worker = int(parent.stdout.readline())
        if how == "kill":
            time.sleep(random.Random(kind).uniform(0, 0.1))
            parent.kill()
    gone(worker)
    assert parent.returncode == (-signal.SIGKILL if how == "kill" else 0)


@pytest.mark.parametrize("how", ["close", "kill"])
@pytest.mark.parametrize("first", ["worker", "launcher"])
@pytest.mark.parametrize("kind", ["stopped", "hung"])
def test_no_worker_stays_below_a_launcher_that_was_killed(connect, launched, gone, wait_for, first, how, kind):
    """One that is stopped, or hangs with Python's lock in its hands, does not leave at the end of its input."""
    client, told = connect(launched), []
    worker, process = client.call(Fake("inspect")).fields["pid"], client._connection._process
    steps = {
        "worker": lambda: os.kill(worker, signal.SIGSTOP),
        "launcher": lambda: (process.kill(), process.wait()),
    }
    if kind == "hung":
        client.start(Fake("hang"), onProgress=told.append)
        wait_for(lambda: told, client.poll)
        steps["worker"] = lambda: time.sleep(0.2)
    for step in sorted(steps, key=lambda name: name != first):
        steps[step]()
    if how == "close":
        client.shutDown()
    else:
        client._killWorker()
    gone(worker)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can continue a stopped process at the end of its input")
@pytest.mark.parametrize("command", ["fake_worker", "launched"])
def test_a_stopped_worker_does_not_outlive_its_parent(request, script, gone, wait_for, command):
    command = request.getfixturevalue(command)
    path = workerEnvironment(command)["PYTHONPATH"].split(os.pathsep)[0]
    text = PARENT.format(path=path, here=HERE, command=command, kind="sleep", how="kill")
    with subprocess.Popen(script(text), stdout=subprocess.PIPE) as parent:
        worker = int(parent.stdout.readline())
        # what still arrives continues it, and of a thread that waits for data until it is stopped, Linux tells no end
        threads = Path(f"/proc/{worker}/task")
        wait_for(
            lambda: all(_state(thread) == "T" for thread in threads.iterdir()),
            lambda: (os.kill(worker, signal.SIGSTOP), time.sleep(0.01)),
        )
        parent.kill()
    gone(worker)


def _state(thread: Path) -> str:
    """As ps shows it."""
    return (thread / "stat").read_text().rpartition(")")[2].split()[0]


def test_a_number_of_another_machine_is_no_process_of_ours(connect, script, launched):
    """A worker that claims to be a process that the client did not start: that one is left alone."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        lie = f"import os\nos.getpid = lambda: {stranger.pid}\nfrom llmboost import worker\nworker.main({{}})"
        for command in (
            script(lie),
            script(lie.replace(f"lambda: {stranger.pid}", "lambda told=iter('x'): next(told, 1)")),  # at first
            script(lie.replace("lambda: ", "lambda: -")),
        ):
            client = connect(command)
            client.call(HelloRequest())
            assert client._connection._worker is None
            client._killWorker()
        assert stranger.poll() is None
        stranger.stdin.close()
    assert descendant(stranger, stranger.pid) is None, "it has ended"


def test_a_process_is_told_from_a_later_one_of_its_number():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = descendant(child, child.pid)
        assert process.runs
        assert not Process(child.pid, process.started + "1").runs
        killTree(subprocess.Popen([sys.executable, "-c", ""]), Process(child.pid, process.started + "1"))
        assert child.poll() is None
        child.stdin.close()
    assert not process.runs


def test_the_parents_streams_are_not_left_open_by_other_children(client, gone):
    """A program that Slicer starts meanwhile must not hold the worker's input open."""
    worker = client.call(Fake("inspect")).fields["pid"]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        client.shutDown()
        gone(worker)
        other.stdin.close()
