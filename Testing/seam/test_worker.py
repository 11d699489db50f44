"""The worker process, spoken to byte by byte."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llmboost.messages.codec import Request, from_message, to_message
from llmboost.messages.images import Volume
from llmboost.messages.strokes import StrokesAnswer, StrokesOpened, StrokesOpenRequest, StrokesUpdateRequest
from llmboost.messages.words import Device
from llmboost.messages.worker import Progress
from llmboost.wire import PROTOCOL, Message, read_hello, read_message, write_message
from LLMBoostLib.worker.launcher import workerEnvironment

from .fake_messages import Fake, Faked

HEAVY = {"torch", "monai", "transformers", "SimpleITK", "scipy"}
FAKE = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom fake_messages import faked\n"
ENGINE = f"""
{FAKE}
from llmboost import worker
from llmboost.handlers import Engine
modules = lambda job: ({{"modules": list(sys.modules)}}, {{}})
worker.main({{**Engine().handlers, **faked(modules=modules)}})
"""


class Worker:
    """A worker process with its pipes."""

    def __init__(self, command: list[str]) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(command, env=workerEnvironment(command), bufsize=0, **pipes)
        self.output, self.log = (io.BufferedReader(s) for s in (self.process.stdout, self.process.stderr))
        self.hello = read_hello(self.output)
        self.ids = 0

    def send(self, request: Request | str, fields=None) -> int:
        """Send a request; or of a kind, with fields that need not be a request's."""
        self.ids += 1
        isKind = isinstance(request, str)
        message = Message(self.ids, request, fields or {}, {}) if isKind else to_message(self.ids, request)
        write_message(self.process.stdin, message)
        return self.ids

    def read(self) -> Message:
        return read_message(self.output)

    def ask(self, request: Request | str, fields=None) -> tuple[list[Message], Message]:
        """The progress of a request, and its end."""
        id, news = self.send(request, fields), []
        while (message := self.read()).kind == "progress":
            news.append(message)
        assert {message.id, *(word.id for word in news)} == {id}
        return news, message

    def fake(self, what: str, **fields) -> dict:
        """What a request to the light worker gives."""
        return from_message(Faked, self.ask(Fake(what, fields))[1]).fields

    def end(self) -> tuple[int, str]:
        """Exit status and stderr of a worker that ends by itself."""
        log = self.log.read().decode()
        return self.process.wait(30), log


@pytest.fixture
def run(fake_worker) -> Iterator:
    """``run(command)`` starts a worker, by default the fake one."""
    workers = []

    def start(command: list[str] = fake_worker) -> Worker:
        workers.append(Worker(command))
        return workers[-1]

    yield start
    for worker in workers:
        with worker.process as process:
            process.kill()


def test_hello_introduces_the_worker(run):
    worker = run()
    fields = worker.hello.fields
    assert fields["protocol"] == PROTOCOL
    assert fields["pid"] == worker.process.pid
    assert fields["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
    assert set(fields) >= {"llmboost", "host", "torch", "monai"}
    assert worker.ask("hello")[1].fields == fields


def test_hello_and_the_models_come_before_anything_heavy_is_imported(run, script):
    worker = run(script(ENGINE))
    assert worker.hello.fields["torch"], "the tests' environment has torch"
    assert "hippocampus" in worker.ask("models")[1].fields["models"]
    assert worker.ask("show", {"model": "hippocampus"})[1].fields["card"]["name"] == "hippocampus"
    assert not HEAVY & set(worker.fake("modules")["modules"])


def test_a_random_walk_needs_nothing_of_models(run, script):
    worker = run(script(ENGINE))
    image = np.zeros((8, 9, 10), np.float32)
    image[2:6, 2:6, 2:6] = 100
    strokes = np.zeros(image.shape, np.uint16)
    strokes[4, 3:5, 4] = 1
    volume = Volume(image, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    opened = worker.ask(StrokesOpenRequest(volumes=(volume,), model="hippocampus", device=Device.CPU))[1]
    answer = worker.ask(StrokesUpdateRequest(session=from_message(StrokesOpened, opened).session, strokes=strokes))[1]
    assert from_message(StrokesAnswer, answer).labels.sum() == 64
    assert "torch" in (modules := worker.fake("modules")["modules"])
    assert not {"monai", "llmboost.model"} & set(modules)


def test_a_missing_torch_is_none_in_hello(run, script):
    # what metadata finds for a package that is not there
    hide = "import importlib.metadata as m\ndef no(name): raise m.PackageNotFoundError(name)\nm.version = no\n"
    assert run(script(hide + ENGINE)).hello.fields["torch"] is None


def test_the_streams_are_the_protocols_alone(run):
    worker = run()
    worker.send(Fake("flood", {"megabytes": 1}))
    # the log has to be drained for the worker to get on
    log = []
    while b"the last word" not in (text := worker.log.readline()):
        log.append(text)
    assert from_message(Faked, worker.read()).fields == {"read": ""}
    text = b"".join(log)
    assert b"yyy" in text
    assert b"zzz" in text
    assert b"from a child" in text


def test_a_group_of_its_own(run):
    worker = run()
    fields = worker.fake("inspect")
    assert fields["group"] == fields["pid"] != os.getpgid(0)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' OpenMP tells its settings in other words")
@pytest.mark.parametrize("chosen", ["", "ACTIVE"])
def test_its_threads_leave_the_cores_to_others_while_they_wait(run, script, monkeypatch, chosen):
    monkeypatch.setenv("OMP_DISPLAY_ENV", "VERBOSE")  # OpenMP tells its settings as it is loaded
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    loading = "def load(job):\n    import torch\n    return {}, {}\n"
    worker = run(script(f"{FAKE}{loading}from llmboost import worker\nworker.main(faked(load=load))\n"))
    worker.fake("load")
    worker.process.stdin.close()
    assert ("GOMP_SPINCOUNT = '0'" in worker.end()[1]) != bool(chosen)


def test_end_of_input_ends_an_idle_worker(run):
    worker = run()
    worker.process.stdin.close()
    assert worker.process.wait(30) == 0


@pytest.mark.parametrize("kind", ["compute", "sleep"])
def test_end_of_input_ends_a_worker_that_computes(run, kind):
    worker = run()
    worker.send(Fake(kind, {"steps": 10_000, "seconds": 600}))
    worker.process.stdin.close()
    assert worker.process.wait(30) == 0


def test_shut_down_ends_a_worker_that_computes(run):
    worker = run()
    worker.send(Fake("sleep", {"seconds": 600}))
    worker.send("shut_down")
    assert worker.process.wait(30) == 0


def test_a_closed_output_ends_the_worker(run):
    worker = run()
    worker.output.close()
    worker.send(Fake("echo"))
    assert worker.process.wait(30) == 0


def test_cancel_reaches_a_computation(run):
    worker = run()
    id = worker.send(Fake("compute", {"steps": 10_000, "seconds": 0.01}))
    assert worker.read().kind == "progress"
    write_message(worker.process.stdin, Message(id, "cancel", {}, {}))
    while (message := worker.read()).kind == "progress":
        pass
    assert (message.kind, message.id, message.fields["kind"]) == ("error", id, "cancelled")
    assert worker.fake("echo", a=1) == {"a": 1}


def test_cancel_of_another_request_changes_nothing(run):
    worker = run()
    for id in (0, 1, 99):
        write_message(worker.process.stdin, Message(id, "cancel", {}, {}))
    worker.ids = 1
    assert worker.ask(Fake("compute", {"steps": 2, "seconds": 0}))[1].kind == "answer"


def test_progress_comes_at_most_ten_times_a_second(run):
    news, answer = run().ask(Fake("chatter"))
    assert 1 <= len(news) <= 1 + from_message(Faked, answer).fields["seconds"] / 0.1
    assert from_message(Progress, news[0]) == Progress(0.0, "step 0", None, None)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ("LLMBoostError", "bad_input", "scan.nii: truncated; copy it again"),
        ("MemoryError", "out_of_memory", "memory"),
        ("torch's", "out_of_memory", "can't allocate"),
        ("RequestError", "not_available", "not yet"),
        ("defect", "internal", "ZeroDivisionError: division by zero"),
    ],
)
def test_errors_are_data(run, error, kind, message):
    worker = run()
    fields = worker.ask(Fake("fail", {"error": error}))[1].fields
    assert fields["kind"] == kind
    assert message in fields["message"]
    assert worker.fake("inspect")["released"] == (kind == "out_of_memory")
    worker.process.stdin.close()
    assert ("Traceback" in worker.end()[1]) == (kind == "internal")


def test_an_unknown_request_and_an_answer_that_cannot_be_sent_are_errors(run):
    worker = run()
    assert worker.ask("dance")[1].fields["kind"] == "bad_input"
    for array in (True, False):
        assert worker.ask(Fake("bad_answer", {"array": array}))[1].fields["kind"] == "internal"
    assert worker.fake("echo", a=1) == {"a": 1}


def test_an_idle_worker_releases_its_memory(run, wait_for):
    worker = run()
    assert worker.fake("inspect")["released"] == 0
    worker.ask("hello", {"idle_seconds": 0.01})
    # each question ends the worker's rest
    wait_for(lambda: worker.fake("inspect")["released"] > 0, lambda: time.sleep(0.1))


@pytest.mark.parametrize(
    "seconds",
    [-1, 0, -0.0, float("nan"), float("inf"), float("-inf"), 1e300, 10**400, "60", "", True, None, [], {}],
    ids=lambda seconds: repr(seconds)[:10],
)
def test_a_rest_of_no_sensible_length_is_refused_and_the_worker_goes_on(run, seconds):
    worker = run()
    fields = worker.ask("hello", {"idle_seconds": seconds})[1].fields
    assert fields["kind"] == "bad_input"
    assert fields["message"].startswith("idle_seconds is ")
    assert len(fields["message"]) < 200
    assert worker.ask("hello", {"idle_seconds": 60})[1].kind == "answer"
    assert worker.fake("echo", a=1) == {"a": 1}
    worker.process.stdin.close()
    assert worker.end() == (0, "")


def test_memory_is_released_once_in_a_rest(run, script):
    rest = """
from llmboost import worker
from llmboost.messages.worker import Done, ReleaseRequest
count = 0
def release(job):
    global count
    count += 1
    return Done()
worker.main({ReleaseRequest: release, **faked(count=lambda job: ({"count": count}, {}))})
"""
    worker = run(script(FAKE + rest))
    worker.ask("hello", {"idle_seconds": 0.01})
    time.sleep(0.5)  # as often as it could in that time, if it did so again and again
    assert worker.fake("count")["count"] == 1


def test_each_of_several_cancelled_requests_is_dropped(run):
    worker = run()
    first = worker.send(Fake("compute", {"steps": 10_000, "seconds": 0.01}))
    second, third = (worker.send(Fake("compute", {"steps": 10_000, "seconds": 0.01})) for _ in range(2))
    for id in (third, second, first):
        write_message(worker.process.stdin, Message(id, "cancel", {}, {}))
    ends: list[tuple[int, str]] = []
    while len(ends) < 3:
        message = worker.read()
        if message.kind != "progress":
            ends.append((message.id, message.fields["kind"]))
    assert ends == [(first, "cancelled"), (second, "cancelled"), (third, "cancelled")]


def test_what_cannot_be_interrupted_says_so(run):
    worker = run()
    id = worker.send(Fake("load", {"seconds": 0.01, "until cancelled": True}))
    assert worker.read().fields["loading"] is True
    write_message(worker.process.stdin, Message(id, "cancel", {}, {}))
    assert worker.read().fields["loading"] is False
    message = worker.read()
    assert (message.kind, message.id, message.fields["kind"]) == ("error", id, "cancelled")
    assert worker.fake("echo", a=1) == {"a": 1}


ANNOUNCED = '{"id":1,"kind":"fake","fields":{},"arrays":[["a",%s]]}\n'


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n", "not a frame"),
        (b"x" * 2**20, "too long"),
        ((ANNOUNCED % '"object",[1]').encode(), "not allowed"),
        ((ANNOUNCED % '"uint8",[1000000000000]').encode(), "allowed"),
        ((ANNOUNCED % '"float64",[-1]').encode(), "not a frame"),
        ((ANNOUNCED % f'"uint8",[{10**4000},{10**4000}]').encode(), "announced"),
        (b"[" * 10**5 + b"\n", "not a frame"),
    ],
    ids=["rubbish", "oversized line", "type", "oversized array", "negative size", "endless number", "depth"],
)
def test_a_bad_frame_ends_the_worker_with_a_line(run, data, reason):
    worker = run()
    worker.process.stdin.write(data)
    status, log = worker.end()
    assert status == 1
    assert reason in log
    assert len(log.splitlines()) == 1


@pytest.mark.parametrize("data", [b'{"id":1,', (ANNOUNCED % '"uint8",[100]').encode() + bytes(99)])
def test_a_truncated_frame_ends_the_worker_quietly(run, data):
    worker = run()
    worker.process.stdin.write(data)
    worker.process.stdin.close()
    assert worker.end() == (0, "")
