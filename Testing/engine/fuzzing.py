"""Damaged files for the tests: how they are damaged, and the child process that reads them.

A child process reads, so that a crash of ITK, a hang or a hunger for memory fails the test alone. It also tells if a
file made it import, execute or start anything.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from pathlib import Path

from hypothesis import strategies as st

import llmboost

PATIENCE = 60  # seconds a file may take; they take milliseconds, and the first one imports torch
EXAMPLES, SLOW_EXAMPLES = 60, 3000
SLOW_SECONDS = 60  # of each reader, after which no more is tried

NASTY = [
    b"-1",
    b"0",
    b"1",
    b"3.7",
    b"2147483648",
    b"18446744073709551616",
    b"1e999",
    b"nan",
    b"-inf",
    b"",
    b" ",
    b"x" * 2000,
]
NASTY += [
    b"%n%n%s",
    b"LIST",
    b"LOCAL",
    b"../a.raw",
    b"/dev/zero",
    b"-",
    b"0 0 0",
    b"4294967296 4294967296 4",
    b"\xff\0\n",
]
NASTY += [b"raw", b"gzip", b"float", b"True", b"a.raw", b"a.raw 1 4 1", b"%d.raw 1 4 1", b"(nan,0,0) (0,1,0) (0,0,1)"]
EDGES = [0, 1, 0x7F, 0x80, 0xFF]

places = st.floats(0, 1) | st.floats(0, 0.1)  # of a file: headers come first
mutations = st.lists(
    st.tuples(st.just("set"), places, st.sampled_from(EDGES) | st.integers(0, 255))
    | st.tuples(st.just("cut"), places, st.integers(1, 64) | st.integers(1, 10**6))
    | st.tuples(st.just("insert"), places, st.sampled_from(NASTY) | st.binary(min_size=1, max_size=16))
    | st.tuples(st.just("value"), places, st.sampled_from(NASTY))
    | st.tuples(st.just("repeat"), places, st.integers(1, 5000)),
    min_size=1,
    max_size=5,
)


def mutated(data, changes):
    for kind, place, what in changes:
        at = int(place * len(data))
        match kind:
            case "set":
                data = data[:at] + bytes([what]) + data[at + 1 :]
            case "cut":
                data = data[:at] + data[at + what :]
            case "insert":
                data = data[:at] + what + data[at:]
            case "repeat":
                data = data[: at + what] + data[at:]
            case "value":  # of a header's line "key: value" or "key = value"
                end = data.find(b"\n", at)
                start = max(data.rfind(mark, 0, end) for mark in (b":", b"=", b"\n")) + 1
                data = data[:start] + what + data[end:] if end >= 0 else data
    return data


class Reader:
    """The child process, started again after it died."""

    def __init__(self):
        self.process = None

    def __call__(self, reader, path):
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, Path(__file__).with_name("fuzz_reader.py")],
                env={"PYTHONPATH": str(Path(llmboost.__file__).parents[1]), "OMP_NUM_THREADS": "1"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        self.process.stdin.write(f"{reader}: {path}\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.close()
            return f"no answer within {PATIENCE} s"
        answer = self.process.stdout.readline().strip()
        if not answer:
            answer = f"the process died ({self.close()})"
        return answer

    def close(self):
        if self.process is None:
            return None
        self.process.kill() if self.process.poll() is None else None
        self.process.communicate()
        status, self.process = self.process.returncode, None
        return status


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from([10**9, -1, 1e300]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=5,
)


def replaced(value, place, new):
    """``value`` with the part at ``place`` (a number for each level) replaced."""
    if not place or not isinstance(value, (dict, list)) or not value:
        return new
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[place[0] % len(keys)]
    changed = value.copy()
    changed[key] = replaced(value[key], place[1:], new)
    return changed


def model_file(header, tensors):
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    return len(text).to_bytes(8, "little") + text + tensors
