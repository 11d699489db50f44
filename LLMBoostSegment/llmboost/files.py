"""Files that are safe to open, and files that appear whole or not at all, whatever happens meanwhile."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import LLMBoostError

if sys.platform == "win32":
    import msvcrt

    def _wait_for(handle: int) -> None:
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
                return
            except PermissionError:  # taken
                time.sleep(0.01)
else:
    import fcntl

    def _wait_for(handle: int) -> None:
        # network file systems may know no locks: whoever writes there alone is as safe as ever
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise


WINDOWS = os.name == "nt"
LOCK = ".llmboost.lock"

# what a killed process leaves behind
TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.")

# a message about such a name is more than one line, or cannot be printed
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def check_regular(path: Path) -> None:
    """Refuse what is no file of bytes: opening a pipe or a device may never end.

    Raises:
        LLMBoostError: nothing is there, it cannot be read, it is empty, or its name cannot be shown in a line.
    """
    escaped = _UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], str(path))
    if escaped != str(path):
        raise LLMBoostError(f"{escaped}: a line break or an unreadable character is in its name; rename it")
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise LLMBoostError(f"{path}: a folder, but a file is needed here")
        if not stat.S_ISREG(status.st_mode):
            raise LLMBoostError(f"{path}: a pipe or a device, not a file; copy its content into a file")
        path.open("rb").close()
    except FileNotFoundError as error:
        if path.is_symlink():
            raise LLMBoostError(f"{path}: a link to a file that is not there; mend or remove it") from error
        raise LLMBoostError(f"{path}: no such file") from error
    except OSError as error:
        raise LLMBoostError(f"{path}: cannot be read ({error.strerror})") from error
    if not status.st_size:
        raise LLMBoostError(f"{path}: an empty file; copy it again")


def printable(text: str) -> str:
    """Words from a file for a message: short, in one line, and without the power to confuse a terminal."""
    text = text if len(text) <= 100 else text[:100] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path in the folder and with the extension of ``path``; it replaces ``path`` on success only.

    The folder is made if missing.

    Raises:
        LLMBoostError: writing failed; nothing is left behind, and an older file at ``path`` is untouched.
    """
    # in small letters: ITK's NIfTI writer does not know .NII
    # not tempfile: its files are readable by their owner alone, results lie in shared folders
    temporary = path.with_name(f".{uuid.uuid4().hex}{''.join(path.suffixes[-2:]).lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except (OSError, RuntimeError, LLMBoostError) as error:
        reason = f" ({error.strerror})" if isinstance(error, OSError) and error.strerror else ""
        raise LLMBoostError(
            f"{path}: cannot be written{reason}; check the folder's permissions and free space"
        ) from error
    finally:
        with suppress(OSError):  # such as a parent that is no folder
            temporary.unlink()


def write_whole(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``; raises LLMBoostError as :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Wait until no other process or thread is in here for the same folder, and keep them out meanwhile.

    The system lifts the lock of a process that dies; the lock's file is removed by whoever holds it.

    Raises:
        LLMBoostError: nothing can be written into the folder.
    """
    path = folder / LOCK
    try:
        handle = _take(path)
    except OSError as error:
        raise LLMBoostError(
            f"{folder}: cannot be written ({error.strerror}); check the folder's permissions and free space"
        ) from error
    try:
        yield
    finally:
        # removed while it is locked: those who wait for it see that it is the folder's no more; Windows removes no
        # open file, and none that another has open
        if WINDOWS:
            os.close(handle)
        with suppress(OSError):
            path.unlink()
        if not WINDOWS:
            os.close(handle)


def _take(path: Path) -> int:
    """The open file ``path``, locked; closing it lifts the lock."""
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError:
            if not (WINDOWS and path.exists()):
                raise
            time.sleep(0.01)  # just being removed
            continue
        try:
            _wait_for(handle)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass  # removed by the one before
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
