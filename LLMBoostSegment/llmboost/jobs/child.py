"""The process that does jobs, see :mod:`.keeper`: it answers on the pipe that was its standard output, and ends with
whoever keeps it."""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from ..errors import LLMBoostError

IDLE = 600  # seconds without a job, after which it gives its memory back


class _Link:
    """To the keeper."""

    def __init__(self, told: BinaryIO, out: BinaryIO) -> None:
        self.inbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._out = out
        threading.Thread(target=self._listen, args=[told], daemon=True).start()

    def _listen(self, told: BinaryIO) -> None:
        try:
            while True:
                self.inbox.put(pickle.load(told))
        except EOFError:
            os._exit(0)  # in the midst of a job, too: nobody waits any more

    def say(self, *what: Any) -> None:
        pickle.dump(what, self._out)
        self._out.flush()

    def needs(self, seconds: float | None, memory: float) -> None:
        self.say("needs", seconds, memory)
        self.inbox.get()


def main() -> None:
    """Do what comes in until nobody waits any more."""
    # not sys.stdin itself, which Python could not close at the end while a thread waits for it
    told, out = os.fdopen(os.dup(sys.stdin.fileno()), "rb"), os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the keeper's
    link = _Link(told, out)
    begin, seat = link.inbox.get()
    try:
        do = pickle.loads(begin)(seat, link)
    except LLMBoostError as error:
        link.say("refused", str(error))
        return
    link.say("ready")
    while True:
        try:
            job = link.inbox.get(timeout=IDLE)
        except queue.Empty:
            return
        link.say("done", pickle.dumps(do(pickle.loads(job))))


if __name__ == "__main__":
    main()
