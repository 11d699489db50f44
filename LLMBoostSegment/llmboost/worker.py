"""The process that Slicer talks to, through its standard input and output: ``python -m llmboost.worker``."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, BinaryIO

from .machine import share_cores

if TYPE_CHECKING:
    from .service import Handlers


def main(handlers: Handlers | None = None) -> None:
    """Answer requests until the input ends.

    Args:
        handlers: what answers each kind of request; by default, the engine.
    """
    requests, answers = _take_streams()
    # a group of its own, so that nothing meant for Slicer's (such as Ctrl-C in its terminal) ends the worker
    if hasattr(os, "setpgid"):
        with suppress(PermissionError):  # the leader of a session has one
            os.setpgid(0, 0)
    _wake_at_input(requests)
    share_cores()
    # imported only now, when no library can print into the protocol any more
    from .handlers import Engine
    from .service import Service

    Service(requests, answers, Engine().handlers if handlers is None else handlers).run()


def _take_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, for the protocol alone: whatever else reads finds nothing, and prints to stderr."""
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb", 0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return requests, answers


def _wake_at_input(requests: BinaryIO) -> None:
    """Let what arrives, and the end of the input too, continue a process that was stopped, so that it can leave.

    Else it stays for ever once Slicer is gone. Only Linux can do that.
    """
    if sys.platform == "linux":
        import fcntl

        with suppress(OSError):  # an input that tells no news, such as a file
            fcntl.fcntl(requests, fcntl.F_SETOWN, os.getpid())
            fcntl.fcntl(requests, fcntl.F_SETSIG, signal.SIGCONT)
            fcntl.fcntl(requests, fcntl.F_SETFL, fcntl.fcntl(requests, fcntl.F_GETFL) | os.O_ASYNC)


if __name__ == "__main__":
    main()
