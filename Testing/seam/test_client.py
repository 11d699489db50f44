"""The client with the real worker and a light engine: what a module sees of requests, and of all that can go wrong."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from llmboost.messages.worker import Progress, StepEvent
from llmboost.wire import PROTOCOL
from LLMBoostLib.worker import client as client_module
from LLMBoostLib.worker import troubles
from LLMBoostLib.worker.client import Client, WorkerError
from LLMBoostLib.worker.connection import Connection
from LLMBoostLib.worker.launcher import descendants

from .fake_messages import Fake, Faked

FAKE = f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\nfrom fake_messages import faked\n"
ECHO = """
from llmboost import worker
worker.main(faked(echo=lambda job: (job.request.fields, job.request.arrays)))
"""
# no worker of ours: says hello, reads a request, and then whatever the test adds
STRANGE = """
import os, sys, time
from llmboost.messages.codec import to_parts
from llmboost.service import introduction
from llmboost.wire import Message, read_message, write_message
output = os.fdopen(1, "wb", 0)
def send(id, kind, fields=None):
    write_message(output, Message(id, kind, fields or {}, {}))
send(0, "hello", to_parts(introduction())[0])
request = read_message(sys.stdin.buffer)
"""


class Outcome:
    """What the callbacks of a request were told."""

    def __init__(self) -> None:
        self.progress: list[Progress] = []
        self.answers: list[Faked] = []
        self.errors: list[WorkerError] = []

    @property
    def callbacks(self) -> dict:
        append = (self.progress.append, self.answers.append, self.errors.append)
        return dict(zip(("onProgress", "onDone", "onError"), append, strict=True))

    @property
    def error(self) -> WorkerError:
        assert (len(self.answers), len(self.errors)) == (0, 1)
        return self.errors[0]


def start(client: Client, kind: str, fields=None, arrays=None) -> Outcome:
    """Send a request; the outcome is to be."""
    outcome = Outcome()
    client.start(Fake(kind, fields or {}, arrays or {}), **outcome.callbacks)
    return outcome


@pytest.fixture
def finish(wait_for):
    """``finish(client)`` polls until the request has ended."""
    return lambda client: wait_for(lambda: not client.busy, client.poll)


def children() -> set[int]:
    return set(descendants(os.getpid()))


def pid(client: Client) -> int:
    """Its worker's process."""
    return client.call(Fake("inspect")).fields["pid"]


def test_an_answer_comes_once_through_poll(client, finish):
    array = np.arange(12, dtype=np.int16).reshape(3, 4)
    outcome = start(client, "echo", {"text": "ä"}, {"array": array})
    assert client.busy
    assert not outcome.answers, "callbacks are called within poll"
    finish(client)
    (answer,) = outcome.answers
    assert answer.fields == {"text": "ä"}
    np.testing.assert_array_equal(answer.arrays["array"], array)
    client.poll()
    assert len(outcome.answers) == 1
    assert not outcome.errors


def test_call_waits_and_tells_progress(client):
    progress: list[Progress] = []
    answer = client.call(Fake("compute", {"steps": 3, "seconds": 0.15}), onProgress=progress.append)
    assert answer.arrays["labelmap"].shape == (64, 128, 128)
    assert Progress(0.0, "computing", 1000) in progress
    assert [p.fraction for p in progress] == sorted(p.fraction for p in progress)


def test_the_worker_stays_between_requests(client):
    assert pid(client) == pid(client)


def test_one_request_at_a_time(client, finish):
    first = start(client, "compute", {"steps": 2, "seconds": 0})
    with pytest.raises(WorkerError) as refused:
        client.start(Fake("echo"))
    assert refused.value.kind == "busy"
    finish(client)
    assert len(first.answers) == 1


def test_a_request_can_follow_from_a_callback(client, finish):
    second = Outcome()
    client.start(Fake("echo"), onDone=lambda _: client.start(Fake("echo", {"n": 2}), **second.callbacks))
    finish(client)
    assert second.answers[0].fields == {"n": 2}


def test_a_callback_that_raises_leaves_the_client_usable(client, wait_for):
    client.start(Fake("echo"), onDone=lambda answer: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        wait_for(lambda: False, client.poll)
    assert not client.busy
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}


def test_errors_of_the_engine_arrive_with_hint_and_log(client):
    with pytest.raises(WorkerError, match=r"not yet\. Wait") as error:
        client.call(Fake("fail", {"error": "RequestError"}))
    assert (error.value.kind, error.value.message, error.value.hint) == ("not_available", "not yet", "Wait")
    with pytest.raises(WorkerError) as error:
        client.call(Fake("fail", {"error": "defect"}))
    assert error.value.kind == "internal"
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}


@pytest.mark.parametrize(
    ("fields", "array"),
    [
        ({}, np.array(["text"])),
        ({}, np.broadcast_to(np.uint8(0), 2**32 + 1)),
        ({"model": Path("model.safetensors")}, np.zeros(1)),
    ],
    ids=["type", "size", "field"],
)
def test_what_cannot_be_sent_is_an_error_and_costs_no_worker(client, fields, array):
    before = pid(client)
    with pytest.raises(WorkerError) as error:
        client.call(Fake("echo", fields, {"array": array}))
    assert error.value.kind == "bad_input"
    assert pid(client) == before


@pytest.mark.skipif(sys.platform == "win32", reason="holds the lock by a C function that Windows lacks")
@pytest.mark.parametrize("useSocket", [True, False], ids=["socket", "pipes"])
def test_arrays_arrive_although_the_loop_holds_the_lock(client, monkeypatch, useSocket):
    """As in Slicer, other threads only run while poll waits: a piece of 64 KiB a tick would need 512 ticks."""
    monkeypatch.setattr(client_module, "Connection", functools.partial(Connection, useSocket=useSocket))
    usleep = ctypes.PyDLL(None).usleep
    array = np.random.default_rng(0).integers(0, 1000, (16, 512, 1024), np.int16)
    client.call(Fake("echo"))
    outcome = start(client, "echo", {}, {"array": array})
    ticks = 0
    while client.busy:
        usleep(20_000)
        client.poll()
        ticks += 1
    np.testing.assert_array_equal(outcome.answers[0].arrays["array"], array)
    assert ticks < 128


def test_cancel_stops_the_computation_and_keeps_the_worker(client, finish, wait_for):
    before = pid(client)
    outcome = start(client, "compute", {"steps": 10_000, "seconds": 0.01})
    wait_for(lambda: outcome.progress, client.poll)
    client.cancel()
    client.cancel()
    finish(client)
    assert outcome.error.kind == "cancelled"
    assert pid(client) == before


def test_cancel_without_a_request_does_nothing(client):
    client.cancel()
    client.call(Fake("echo"))
    client.cancel()
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}


def test_cancel_before_the_worker_is_there(client, finish):
    outcome = start(client, "echo")
    client.cancel()
    finish(client)
    assert outcome.error.kind == "cancelled"
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}


def test_a_worker_that_just_starts_stays_when_its_request_is_cancelled(client, finish):
    before = children()  # of other tests, in this process
    outcome = start(client, "echo")
    (worker,) = children() - before
    client.cancel()
    finish(client)
    assert outcome.error.kind == "cancelled"
    assert pid(client) == worker


def test_a_worker_that_loads_stays_however_often_it_is_cancelled(client, finish, wait_for):
    """Nothing answers within cancelSeconds while torch is imported."""
    client.cancelSeconds = 0.01
    before = pid(client)
    first = start(client, "load", {"seconds": 1.5})
    wait_for(lambda: first.progress, client.poll)
    assert first.progress[0].text == "starting"
    client.cancel()
    finish(client)
    second = start(client, "load", {"seconds": 600})  # waits for the first one's end, and is not begun then
    client.poll()
    client.cancel()
    finish(client)
    assert (first.error.kind, second.error.kind) == ("cancelled", "cancelled")
    assert pid(client) == before


def test_a_worker_that_loads_for_ever_is_killed(client, finish, gone, wait_for):
    client.cancelSeconds, client.loadSeconds = 0.01, 0.3
    before = pid(client)
    outcome = start(client, "load", {"seconds": 600})
    wait_for(lambda: outcome.progress, client.poll)
    time.sleep(0.4)
    client.cancel()
    finish(client)
    assert outcome.error.kind == "cancelled"
    gone(before)
    assert pid(client) != before


def test_an_answer_that_crosses_cancel_is_dropped(client, finish):
    client.call(Fake("echo"))
    outcome = start(client, "echo")
    time.sleep(0.2)  # it is there, but nobody has looked
    client.cancel()
    finish(client)
    assert outcome.error.kind == "cancelled"


@pytest.mark.parametrize("command", ["fake_worker", "launched"])
def test_a_worker_that_does_not_stop_is_killed(request, connect, finish, gone, wait_for, command):
    client = connect(request.getfixturevalue(command))
    client.cancelSeconds = 0.1
    before = pid(client)
    outcome = start(client, "sleep", {"seconds": 600})
    wait_for(lambda: outcome.progress, client.poll)  # a request that has not begun is cancelled without a kill
    client.cancel()
    finish(client)
    assert outcome.error.kind == "cancelled"
    gone(before)
    assert pid(client) != before


def test_the_processes_that_a_worker_started_are_killed_with_it(connect, launched, finish, gone, wait_for):
    client = connect(launched)
    client.cancelSeconds = 0.1
    outcome = start(client, "spawn")
    wait_for(lambda: outcome.progress, client.poll)
    client.cancel()
    finish(client)
    gone(int(outcome.progress[0].text))


def test_a_stranger_is_no_descendant(connect, launched):
    before = children()
    worker = pid(connect(launched))
    (launcher,) = children() - before - {worker}
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        assert worker in descendants(launcher)
        assert stranger.pid not in descendants(launcher)
        assert {launcher, worker, stranger.pid} <= children()
        stranger.stdin.close()
    assert os.getpid() not in descendants(launcher)


@pytest.mark.parametrize(
    ("how", "status"), [("kill", "signal 9"), ("segfault", "signal 11"), ("exit", "exit status 7")]
)
def test_a_crash_is_one_message_with_the_last_words(client, how, status):
    with pytest.raises(WorkerError) as error:
        client.call(Fake("crash", {"how": how}))
    assert error.value.kind == "crashed"
    assert status in error.value.message
    assert "the GPU fell off the bus" in error.value.message
    assert error.value.hint
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}


def test_a_crash_below_a_launcher(connect, launched, gone):
    client = connect(launched)
    before = pid(client)
    with pytest.raises(WorkerError, match="exit status 1: the GPU fell off the bus"):
        client.call(Fake("crash", {"how": "kill"}))
    gone(before)
    assert pid(client) != before


def test_a_flood_on_stderr_blocks_nothing_and_only_its_end_is_kept(client):
    assert client.call(Fake("flood", {"megabytes": 4})).fields == {"read": ""}
    with pytest.raises(WorkerError) as error:
        client.call(Fake("crash", {"how": "exit"}))
    lines = error.value.details.splitlines()
    assert lines[-2:] == ["the last word", "the GPU fell off the bus"]
    assert len(lines) <= 20


@pytest.mark.parametrize("protocol", [PROTOCOL - 1, PROTOCOL + 1])
def test_another_protocol_is_refused_with_advice(connect, script, gone, finish, protocol):
    client = connect(script(f"import llmboost.service\nllmboost.service.PROTOCOL = {protocol}\n" + FAKE + ECHO))
    with pytest.raises(WorkerError) as error:
        client.call(Fake("echo"))
    assert error.value.kind == "version"
    assert f"(protocol {protocol})" in error.value.message
    assert f"(protocol {PROTOCOL})" in error.value.message
    assert error.value.hint.startswith(
        "Update LLMBoost for the worker" if protocol < PROTOCOL else "Update the extension"
    )


def test_noise_before_hello_is_skipped(connect, script):
    noise = "sys.stdout.write('Welcome to gpu-box!\\n{\"id\": 1}\\n\\x00\\nLast login: never {'); sys.stdout.flush()\n"
    assert connect(script(FAKE + noise + ECHO)).call(Fake("echo", {"a": 1})).fields == {"a": 1}


@pytest.mark.parametrize(
    "rubbish",
    [
        "b'rubbish\\n'",
        "b'x' * 3_000_000",
        """b'{"id":1,"kind":"answer","fields":{},"arrays":[["a","object",[1]]]}\\n'""",
        """b'{"id":1,"kind":"answer","fields":{},"arrays":[["a","uint8",[1000000000000]]]}\\n'""",
    ],
    ids=["rubbish", "oversized line", "type", "oversized array"],
)
def test_rubbish_after_hello_is_one_message_and_the_end_of_the_worker(connect, script, finish, gone, rubbish):
    client = connect(script(STRANGE + f"output.write({rubbish}); time.sleep(600)"))
    before = children()
    outcome = start(client, "echo")
    (worker,) = children() - before
    finish(client)
    assert outcome.error.kind == "protocol"
    gone(worker)


def test_a_truncated_answer_is_a_crash(connect, script):
    text = """b'{"id":1,"kind":"answer","fields":{},"arrays":[["a","uint8",[100]]]}\\n123'"""
    with pytest.raises(WorkerError) as error:
        connect(script(STRANGE + f"output.write({text})")).call(Fake("echo"))
    assert error.value.kind == "crashed"


HALF = """
{"arrays": [["a", "uint8", [1000000]], ["b", "int16", [300]]], "id": 1, "kind": "answer", "fields": {}}
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no socket there")
@pytest.mark.parametrize("useSocket", [True, False], ids=["socket", "pipes"])
@pytest.mark.parametrize(
    "sent",
    ["bytes(500_000)", "bytes(1_000_000)", "bytes(1_000_100)", "b''"],
    ids=["in a large array", "before a small one", "in a small one", "after the line"],
)
def test_a_worker_that_stops_in_an_answer_is_ended(connect, script, finish, gone, monkeypatch, useSocket, sent):
    monkeypatch.setattr(client_module, "Connection", functools.partial(Connection, useSocket=useSocket))
    text = f"line = {HALF!r}.strip().encode() + b'\\n'\noutput.write(line + {sent}); time.sleep(600)"
    client = connect(script(STRANGE + text))
    client.stallSeconds = 0.3
    before = children()
    outcome = start(client, "echo")
    (worker,) = children() - before
    finish(client)
    assert outcome.error.kind == "crashed"
    assert "stopped in the middle of an answer" in outcome.error.message
    assert outcome.error.hint
    gone(worker)


def test_a_worker_that_stops_in_a_line_is_ended(connect, script):
    client = connect(script(STRANGE + "output.write(b'{\"id\": 1,'); time.sleep(600)"))
    client.stallSeconds = 0.3
    with pytest.raises(WorkerError, match="stopped in the middle of an answer"):
        client.call(Fake("echo"))


@pytest.mark.skipif(sys.platform == "win32", reason="no socket there")
@pytest.mark.parametrize("useSocket", [True, False], ids=["socket", "pipes"])
def test_slow_bytes_and_slow_thought_are_no_stop(connect, script, monkeypatch, useSocket):
    monkeypatch.setattr(client_module, "Connection", functools.partial(Connection, useSocket=useSocket))
    slow = """
time.sleep(2.5)
output.write(b'{"id":1,"kind":"answer","fields":{"arrays":{"a":"a"}},"arrays":[["a","uint8",[300000]]]}\\n')
for n in range(30):
    output.write(bytes([n]) * 10000)
    time.sleep(0.1)
time.sleep(600)
"""
    client = connect(script(STRANGE + slow))
    client.stallSeconds = 2.0  # less than either takes, and far more than the pauses
    array = client.call(Fake("echo")).arrays["a"]
    np.testing.assert_array_equal(array, np.repeat(np.arange(30, dtype=np.uint8), 10000))


def test_what_a_stranger_wants_to_be_shown_is_one_plain_line(connect, script):
    words = r"""
send(request.id, "progress", {"text": "a\n\x1b[31mb\u202e" + "c" * 10**5, "fraction": "half", "memory": -1, "event": 3})
send(request.id, "progress", {"text": ["x"], "fraction": float("nan"), "memory": True, "event": {"step": 3, "loss": 1}})
print("\x1b]0;title\x07last", file=sys.stderr, flush=True)
time.sleep(0.3)
send(request.id, "error", {"kind": "internal", "message": "two\nlines\x1b[2J", "hint": {"no": "text"}})
time.sleep(600)
"""
    progress: list[Progress] = []
    with pytest.raises(WorkerError) as error:
        connect(script(STRANGE + words)).call(Fake("echo"), onProgress=progress.append)
    assert progress[0].text.startswith("a [31mb c")
    assert len(progress[0].text) <= troubles.MAX_TEXT
    assert (progress[0].fraction, progress[0].memory, progress[0].event) == (None, None, None)
    assert progress[1] == Progress(None, "?", None, StepEvent(3, 1.0))
    assert (error.value.message, error.value.hint) == ("two lines [2J", "?")
    assert error.value.details == "]0;title last"


def test_late_words_about_an_earlier_request_are_dropped(connect, script):
    words = """
for n in (1, 0):
    send(request.id - n, "progress", {"text": str(n)})
    send(request.id - n, "answer", {"fields": {"n": n}})
"""
    progress: list[Progress] = []
    assert connect(script(STRANGE + words)).call(Fake("echo"), onProgress=progress.append).fields == {"n": 0}
    assert [p.text for p in progress] == ["0"]


@pytest.mark.parametrize(
    "text", ["import time; time.sleep(600)", "import time\nwhile True: print('noise'); time.sleep(0.01)"]
)
def test_a_worker_that_never_says_hello_is_given_up(connect, script, finish, gone, text):
    client = connect(script(text))
    client.startSeconds = 0.2
    before = children()
    outcome = start(client, "echo")
    (worker,) = children() - before
    finish(client)
    assert outcome.error.kind == "not_started"
    assert "did not start" in outcome.error.message
    gone(worker)


def test_a_worker_that_cannot_start_says_why(connect, script):
    with pytest.raises(WorkerError, match="No module named llmboost") as error:
        connect(script("import sys; sys.exit('No module named llmboost')")).call(Fake("echo"))
    assert error.value.kind == "not_started"
    assert "LLMBoost/WorkerCommand" in error.value.hint


def test_a_command_that_does_not_exist(connect, finish):
    client = connect(["no-such-program", "-m", "llmboost.worker"])
    outcome = start(client, "echo")
    finish(client)
    assert outcome.error.kind == "not_started"
    assert "no-such-program" in outcome.error.message


def test_silence_is_told_and_nothing_else_happens(client):
    client.silenceSeconds = 0.1
    progress: list[Progress] = []
    client.call(Fake("sleep", {"seconds": 1.2}), onProgress=progress.append)
    assert any("no news" in p.text for p in progress)


def test_shut_down_ends_the_worker_and_cancels_what_runs(client, gone):
    before = pid(client)
    outcome = start(client, "sleep", {"seconds": 600})
    client.shutDown()
    assert outcome.error.kind == "cancelled"
    gone(before)
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}, "it can be used again"


def test_an_interrupted_call_ends_its_worker(client, gone):
    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    before = pid(client)
    with pytest.raises(KeyboardInterrupt):
        client.call(Fake("compute", {"steps": 10_000, "seconds": 0.01}), onProgress=interrupt)
    gone(before)
    assert not client.busy
    assert client.call(Fake("echo", {"a": 1})).fields == {"a": 1}
