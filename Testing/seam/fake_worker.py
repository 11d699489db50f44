"""The real worker with handlers that need no torch, for faults that come at once: `python fake_worker.py`."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from llmboost import worker
from llmboost.errors import LLMBoostError
from llmboost.messages.words import ErrorKind
from llmboost.messages.worker import Done, ReleaseRequest
from llmboost.service import RequestError

sys.path.insert(0, str(Path(__file__).parent))
from fake_messages import faked

ERRORS = {
    "LLMBoostError": LLMBoostError("scan.nii: truncated; copy it again"),
    "MemoryError": MemoryError(),
    "torch's": RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
    "RequestError": RequestError(ErrorKind.NOT_AVAILABLE, "not yet", "Wait"),
    "defect": ZeroDivisionError("division by zero"),
}
released = 0


def echo(job):
    return job.request.fields, job.request.arrays


def compute(job):
    """A cooperative computation: fields ``steps`` and ``seconds`` for each."""
    for n in range(job.request.fields["steps"]):
        if job.cancelled():
            raise KeyError("the engine's own way to stop")
        job.progress(n / job.request.fields["steps"], "computing", 1000)
        time.sleep(job.request.fields["seconds"])
    return {}, {"labelmap": np.ones((64, 128, 128), np.uint8)}


def sleep(job):
    """A computation that says nothing after its start, and cannot be cancelled."""
    job.progress(None, "sleeping")
    time.sleep(job.request.fields["seconds"])
    return {}, {}


def load(job):
    """As importing torch does: nothing else runs in this process for ``seconds``, not even what listens for cancel."""
    with job.loading("starting"):
        ctypes.PyDLL(None).usleep(int(job.request.fields["seconds"] * 1e6))
        while job.request.fields.get("until cancelled") and not job.cancelled():
            time.sleep(0.001)
    return {}, {}


def hang(job):
    """The same for ever, and unannounced."""
    job.progress(None, "hanging")
    time.sleep(0.1)  # until that was sent
    while True:
        ctypes.PyDLL(None).sleep(600)


def chatter(job):
    """As many words as possible for a while; gives the seconds that it took."""
    started = time.monotonic()
    for n in range(2000):
        job.progress(n / 2000, f"step {n}")
        time.sleep(0.0001)
    return {"seconds": time.monotonic() - started}, {}


def spawn(job):
    """Start a process of one's own, as data loaders do, and wait for it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    job.progress(None, str(child.pid))
    child.wait()
    return {}, {}


def crash(job):
    """End in the way of field ``how``, after a last word on stderr."""
    print("the GPU fell off the bus", file=sys.stderr, flush=True)
    if job.request.fields["how"] == "segfault":
        ctypes.string_at(0)
    if job.request.fields["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(7)


def flood(job):
    """Print ``megabytes`` on stderr and as much on stdout, by all ways that a library may take."""
    for n in range(job.request.fields["megabytes"] * 16):
        os.write(2, (f"warning {n} " + "x" * 2**16 + "\n").encode())
        os.write(1, b"y" * 2**15)
        print("z" * 2**14)
    sys.stdout.flush()
    subprocess.run(["echo", "from a child"], check=True)
    print("the last word", file=sys.stderr, flush=True)
    return {"read": sys.stdin.read()}, {}


def fail(job):
    raise ERRORS[job.request.fields["error"]]


def inspect(job):
    """What a test wants to know about the process."""
    modules = [name for name in sys.modules if "." not in name]
    return {"pid": os.getpid(), "group": os.getpgid(0), "modules": modules, "released": released}, {}


def bad_answer(job):
    """What no frame can hold."""
    return ({}, {"array": np.array(["text"])}) if job.request.fields["array"] else ({"field": {1, 2}}, {})


def release(job):
    global released
    released += 1
    return Done()


HANDLERS = (echo, compute, sleep, load, hang, chatter, spawn, crash, flood, fail, inspect, bad_answer)

if __name__ == "__main__":
    worker.main({**faked(**{handler.__name__: handler for handler in HANDLERS}), ReleaseRequest: release})
