"""Files that appear whole or not at all, and folders that one process writes into at a time."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from llmboost import __file__ as package
from llmboost.errors import LLMBoostError
from llmboost.files import locked

COUNT = """
import sys
from pathlib import Path
from llmboost.files import locked
folder = Path(sys.argv[1])
for _ in range(100):
    with locked(folder):
        number = int((folder / "number").read_text())
        (folder / "number").write_text(str(number + 1))
"""
HOLD = """
import sys, time
from pathlib import Path
from llmboost.files import locked
with locked(Path(sys.argv[1])):
    print("in", flush=True)
    time.sleep(600)
"""


def start(code, folder):
    environment = {**os.environ, "PYTHONPATH": str(Path(package).parents[1])}
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], env=environment, stdout=subprocess.PIPE)


def test_nothing_is_lost_between_processes(tmp_path):
    (tmp_path / "number").write_text("0")
    children = [start(COUNT, tmp_path) for _ in range(4)]
    assert [child.wait(60) for child in children] == [0] * 4
    assert (tmp_path / "number").read_text() == "400"
    assert [path.name for path in tmp_path.iterdir()] == ["number"], "no lock is left"


def test_nothing_is_lost_between_threads(tmp_path):
    inside, most = 0, 0

    def work():
        nonlocal inside, most
        for _ in range(50):
            with locked(tmp_path):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert most == 1


def test_a_killed_process_holds_nothing(tmp_path):
    child = start(HOLD, tmp_path)
    assert child.stdout.readline() == b"in\n"
    waiting = threading.Event()

    def enter():
        with locked(tmp_path):
            waiting.set()

    thread = threading.Thread(target=enter, daemon=True)
    thread.start()
    assert not waiting.wait(0.2), "the other one is in there"
    child.send_signal(signal.SIGKILL)
    child.wait(10)
    assert waiting.wait(10)
    thread.join(10)
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_lifts_the_lock(tmp_path):
    with pytest.raises(ValueError, match="inside"), locked(tmp_path):
        raise ValueError("inside")
    with locked(tmp_path):
        pass


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(LLMBoostError, match="absent: cannot be written"), locked(tmp_path / "absent"):
        pass
