"""Folders of small images, some of which are bad, end the process that reads them, or are never read to their end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

import llmboost as package
from llmboost.io.image import Image, write_image

SHAPE = (14, 16, 15)
LIMIT = 20  # seconds a case, where one hangs
ENGINE = str(Path(package.__file__).parents[1])

# Of all processes, those that do a batch's cases alone meet it.
TRAPS = """
import os, sys, time

def trap(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        name = os.path.basename(arguments[0])
        if name.startswith("crash"):
            os.abort()
        if name.startswith("hang"):
            time.sleep(100000)

if "llmboost.jobs.child" in sys.orig_argv:
    sys.addaudithook(trap)
"""


def write_cases(folder, good, bad=0, crashing=0, hanging=0):
    """Write images; gives the ids of the good ones, and of the others."""
    folder.mkdir()
    kinds = {"case": good, "bad": bad, "crash": crashing, "hang": hanging}
    ids = {kind: [f"{kind}{number:03d}" for number in range(count)] for kind, count in kinds.items()}
    for number, id in enumerate(id for kind in ids.values() for id in kind):
        array = np.random.default_rng(number).normal(100, 20, SHAPE).astype(np.int16)
        write_image(Image(array, (1, 1, 1), (number, 0, 0), np.eye(3)), folder / f"{id}.nrrd")
    for number, id in enumerate(ids["bad"]):
        path = folder / f"{id}.nrrd"
        path.write_bytes((b"", b"garbage", path.read_bytes()[:-50])[number % 3])
    return ids["case"], [*ids["bad"], *ids["crash"], *ids["hang"]]


def environment(traps):
    """Of a process in which the traps work, which are written into a folder of this name."""
    traps.mkdir(exist_ok=True)
    (traps / "sitecustomize.py").write_text(TRAPS)
    paths = os.pathsep.join([str(traps), ENGINE])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "LLMBOOST_MODELS": str(traps)}


class Process:
    """A process with all that it starts, and what it has told so far."""

    def __init__(self, module, *arguments, env):
        self.log = Path(env["LLMBOOST_MODELS"]) / f"log{time.monotonic_ns()}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, arguments)],
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def runs(self):
        return self.process.poll() is None

    def wait(self, seconds=1500):
        return self.process.wait(seconds)

    def kill(self, *, alone=False):
        """By SIGKILL; ``alone``: not what it has started."""
        if self.runs():
            (os.kill if alone else os.killpg)(self.process.pid, signal.SIGKILL)
            self.process.wait()


def wait_for_results(out, number, process):
    deadline = time.monotonic() + 1500
    while len(list(out.glob("case*.seg.nrrd"))) < number:
        assert process.runs(), process.text
        assert time.monotonic() < deadline, process.text
        time.sleep(0.01)


def stamps(out):
    """What changes if a result is written again."""
    status = {path.name.split(".")[0]: path.stat() for path in out.glob("case*.seg.nrrd")}
    return {id: (found.st_ino, found.st_mtime_ns) for id, found in status.items()}
